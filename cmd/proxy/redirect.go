package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"github.com/sluice-mesh/sluice/mesh/proxy/capture"
)

// redirect installs the capture rules. Environment: HOST_IP (one address or several, comma-separated),
// from which, like from the default gateways, probes are left alone; POD_IP, to refuse a pod in the
// node's network.
func redirect(args []string, getenv func(string) string, stderr io.Writer) error {
	set := flag.NewFlagSet("proxy redirect", flag.ContinueOnError)
	set.SetOutput(stderr)
	if err := set.Parse(args); err != nil {
		return err
	}
	rules := capture.Defaults()
	hosts, err := addresses(getenv("HOST_IP"))
	if err != nil {
		return fmt.Errorf("read HOST_IP: %w", err)
	}
	pod, err := addresses(getenv("POD_IP"))
	if err != nil {
		return fmt.Errorf("read POD_IP: %w", err)
	}
	for _, host := range hosts {
		for _, own := range pod {
			if host == own {
				return errors.New("redirect connections: the pod is in the node's network (hostNetwork), where this " +
					"would capture the whole node; label the pod sluice.dev/inject=disabled")
			}
		}
	}
	gateways, err := capture.Gateways()
	if err != nil {
		return err
	}
	rules.Node = slices.Concat(hosts, gateways)
	if err := capture.Install(rules); err != nil {
		return err
	}
	logger(stderr, slog.LevelInfo).Info("connections are redirected",
		"outbound", rules.Outbound, "inbound", rules.Inbound, "exempt_uid", rules.UID, "node", rules.Node)
	return nil
}

func addresses(list string) ([]netip.Addr, error) {
	var all []netip.Addr
	for text := range strings.SplitSeq(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, err
		}
		all = append(all, addr.Unmap())
	}
	return all, nil
}
