package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// settings of `proxy run`. What the environment says is the default, a flag overrides it.
type settings struct {
	xds                      string
	pod, namespace, uid      string
	self                     netip.Addr
	source, revision         string
	state                    string
	drain, grace             time.Duration
	outbound, inbound, admin uint
	listen                   []listen
	certificate, key         string
	zone                     string
	maxConnections           int
	logLevel                 slog.Level
	profiling                bool
}

// listen is an address at which connections are taken as if they had been captured on their way to another.
type listen struct{ at, to netip.AddrPort }

func parseListen(text string) ([]listen, error) {
	var all []listen
	for pair := range strings.SplitSeq(text, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		at, to, _ := strings.Cut(pair, "=")
		from, err := netip.ParseAddrPort(at)
		if err != nil {
			return nil, fmt.Errorf("%q is not ADDRESS:PORT=ADDRESS:PORT: %w", pair, err)
		}
		dst, err := netip.ParseAddrPort(to)
		if err != nil {
			return nil, fmt.Errorf("%q is not ADDRESS:PORT=ADDRESS:PORT: %w", pair, err)
		}
		all = append(all, listen{from, dst})
	}
	return all, nil
}

// variable is a setting that environment and flag share.
type variable struct {
	env, flag, otherwise, usage string
	set                         func(string) error
}

func (s *settings) variables() []variable {
	text := func(into *string) func(string) error {
		return func(v string) error { *into = v; return nil }
	}
	duration := func(into *time.Duration) func(string) error {
		return func(v string) (err error) {
			if *into, err = time.ParseDuration(v); err == nil && *into <= 0 {
				err = errors.New("must be above zero")
			}
			return err
		}
	}
	port := func(into *uint) func(string) error {
		return func(v string) error {
			n, err := strconv.ParseUint(v, 10, 16)
			*into = uint(n)
			return err
		}
	}
	return []variable{
		{"SLUICE_XDS_ADDRESS", "xds", "", "host:port of the control plane; empty: none, everything passes through", text(&s.xds)},
		{"POD_NAME", "pod", "", "name of the pod", text(&s.pod)},
		{"POD_NAMESPACE", "namespace", "", "namespace of the pod", text(&s.namespace)},
		{"POD_UID", "pod-uid", "", "UID of the pod", text(&s.uid)},
		{"POD_IP", "pod-ip", "", "address of the pod", func(v string) (err error) {
			if v != "" {
				s.self, err = netip.ParseAddr(v)
			}
			return err
		}},
		{"SLUICE_SOURCE", "source", "unknown", "who calls, in the metrics", text(&s.source)},
		{"SLUICE_REVISION", "revision", "", "pod-template-hash of the pod", text(&s.revision)},
		{"SLUICE_STATE", "state", "/var/lib/sluice", "directory of the last good configuration; empty: none is kept", text(&s.state)},
		{"SLUICE_DRAIN", "drain", "10s", "the one drain deadline", duration(&s.drain)},
		{"SLUICE_STARTUP_GRACE", "startup-grace", "5s", "how long the application waits for a first configuration", duration(&s.grace)},
		{"SLUICE_OUTBOUND_PORT", "outbound-port", "15001", "port for the pod's own connections", port(&s.outbound)},
		{"SLUICE_INBOUND_PORT", "inbound-port", "15006", "port for connections to the pod", port(&s.inbound)},
		{"SLUICE_ADMIN_PORT", "admin-port", "15020", "port for metrics, probes and /config", port(&s.admin)},
		{"SLUICE_LISTEN", "listen", "", "ADDRESS:PORT=ADDRESS:PORT, comma-separated: connections to the first are taken as " +
			"the pod's own to the second, without capture", func(v string) (err error) {
			s.listen, err = parseListen(v)
			return err
		}},
		{"SLUICE_TLS_CERTIFICATE", "tls-certificate", "", "file (PEM): end TLS to services of the mesh whose name it is for; empty: TLS passes through", text(&s.certificate)},
		{"SLUICE_TLS_KEY", "tls-key", "", "file (PEM) of the certificate's key", text(&s.key)},
		{"SLUICE_ZONE", "zone", "", "zone that the pod runs in; endpoints in it are preferred", text(&s.zone)},
		{"SLUICE_MAX_CONNECTIONS", "max-connections", "16384", "open connections per direction", func(v string) (err error) {
			s.maxConnections, err = strconv.Atoi(v)
			if err == nil && s.maxConnections < 1 {
				err = errors.New("must be at least 1")
			}
			return err
		}},
		{"SLUICE_LOG_LEVEL", "log-level", "info", "debug, info, warn or error", func(v string) error {
			return s.logLevel.UnmarshalText([]byte(v))
		}},
		{"SLUICE_PROFILING", "profiling", "false", "serve /debug/pprof/ on the admin port", func(v string) (err error) {
			s.profiling, err = strconv.ParseBool(v)
			return err
		}},
	}
}

// parse reads environment and flags; flags go to set for their usage.
func (s *settings) parse(set *flag.FlagSet, args []string, getenv func(string) string) error {
	var errs []error
	for _, v := range s.variables() {
		value := getenv(v.env)
		if value == "" {
			value = v.otherwise
		}
		if err := v.set(value); err != nil {
			errs = append(errs, fmt.Errorf("%s=%q: %w", v.env, value, err))
		}
		set.Func(v.flag, fmt.Sprintf("%s (environment %s, default %q)", v.usage, v.env, v.otherwise), v.set)
	}
	if err := set.Parse(args); err != nil {
		return err
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	if (s.certificate == "") != (s.key == "") {
		return errors.New("read settings: SLUICE_TLS_CERTIFICATE and SLUICE_TLS_KEY go together; set both or none")
	}
	if set.NArg() > 0 {
		return fmt.Errorf("read settings: unexpected argument %q", set.Arg(0))
	}
	return nil
}
