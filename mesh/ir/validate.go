package ir

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
)

// What names may look like. They become parts of resource names, where '/' and ':' separate, and "-"
// and "*" have a meaning of their own as subsets.
var (
	dnsLabel   = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	labelValue = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)
	ownerName  = regexp.MustCompile(`^[!-~]{0,253}$`)
)

// Validate says all that is wrong with a mesh, every error naming its service: names that cannot be
// resource names, a service twice, an address claimed by two services, and what Service.Validate and
// Settings.Validate find. Order does not matter to it. A route's backend that is not in the mesh is allowed:
// services come and go without the routes that name them, and requests for it are answered with an error.
func Validate(mesh Mesh) error {
	var errs []error
	names := map[string]bool{}
	claimed := map[netip.Addr]string{}
	for _, service := range mesh.Services {
		if err := service.Validate(); err != nil {
			errs = append(errs, err)
		}
		if names[service.Key()] {
			errs = append(errs, fmt.Errorf("service %s: listed twice", service.Key()))
		}
		names[service.Key()] = true
		for _, address := range service.Addresses {
			if other, taken := claimed[address.Unmap()]; taken && other != service.Key() {
				errs = append(errs, fmt.Errorf("service %s: address %s is also that of %s", service.Key(), address, other))
			}
			claimed[address.Unmap()] = service.Key()
		}
	}
	if err := mesh.Settings.Validate(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Validate says all that is wrong with one service on its own, in one line that names it.
func (s Service) Validate() error {
	var errs []error
	var report reporter = func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !dnsLabel.MatchString(s.Namespace) {
		report("namespace %q is not a DNS label", s.Namespace)
	}
	if !dnsLabel.MatchString(s.Name) {
		report("name %q is not a DNS label", s.Name)
	}
	s.validateAddresses(report)
	ports := s.validatePorts(report)
	s.validateSubsets(ports, report)
	s.validateSplit(report)
	s.validateRoutes(report)
	s.Policy.validate(report.in("policy"))
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("service %s: %w", s.Key(), joined(errs))
}

func (s Service) validateAddresses(report reporter) {
	seen := map[netip.Addr]bool{}
	for _, address := range s.Addresses {
		if problem := badAddress(address); problem != "" {
			report("address %s %s", address, problem)
		}
		if seen[address.Unmap()] {
			report("address %s is listed twice", address)
		}
		seen[address.Unmap()] = true
	}
}

func (s Service) validatePorts(report reporter) map[string]bool {
	if len(s.Ports) == 0 {
		report("has no port")
	}
	names, numbers := map[string]bool{}, map[uint16]bool{}
	for _, port := range s.Ports {
		if port.Number == 0 {
			report("port %q has number 0", port.Name)
		}
		if port.Name != "" && !labelValue.MatchString(port.Name) {
			report("port name %q is malformed", port.Name)
		}
		if names[port.Name] || numbers[port.Number] {
			report("port %q (%d) is listed twice", port.Name, port.Number)
		}
		names[port.Name], numbers[port.Number] = true, true
		if !port.Protocol.Known() {
			report("port %d has unknown protocol %q", port.Number, port.Protocol)
		}
	}
	return names
}

func (s Service) validateSubsets(ports map[string]bool, report reporter) {
	names, addresses := map[string]bool{}, map[netip.Addr]bool{}
	for _, subset := range s.Subsets {
		if subset.Name != "" && !labelValue.MatchString(subset.Name) {
			report("subset name %q is malformed", subset.Name)
		}
		if names[subset.Name] {
			report("subset %q is listed twice", subset.Name)
		}
		names[subset.Name] = true
		for _, endpoint := range subset.Endpoints {
			if problem := badAddress(endpoint.Address); problem != "" {
				report("endpoint %s %s", endpoint.Address, problem)
			}
			if addresses[endpoint.Address.Unmap()] {
				report("endpoint %s is listed twice", endpoint.Address)
			}
			addresses[endpoint.Address.Unmap()] = true
			if endpoint.Zone != "" && !labelValue.MatchString(endpoint.Zone) {
				report("endpoint %s is in malformed zone %q", endpoint.Address, endpoint.Zone)
			}
			for name, number := range endpoint.Ports {
				if number == 0 {
					report("endpoint %s has port %q with number 0", endpoint.Address, name)
				}
				if !ports[name] {
					report("endpoint %s has port %q that the service has not", endpoint.Address, name)
				}
			}
		}
	}
}

func (s Service) validateSplit(report reporter) {
	split := s.Split
	if !ownerName.MatchString(split.Owner) {
		report("split owner %q is malformed", split.Owner)
	}
	if split.Epoch < 0 {
		report("split epoch %d is negative", split.Epoch)
	}
	if split.Weight > 100 {
		report("split weight %d is above 100", split.Weight)
	}
	if split.Canary != "" && split.Canary == split.Stable {
		report("split has %q as stable and canary", split.Stable)
	}
	if split.Baseline != "" && (split.Baseline == split.Stable || split.Baseline == split.Canary || split.Canary == "") {
		report("split has %q as baseline of %q beside %q", split.Baseline, split.Stable, split.Canary)
	}
	if split.BaselineWeight > 100 || split.Baseline == "" && split.BaselineWeight > 0 {
		report("split has a baseline weight of %d for %q", split.BaselineWeight, split.Baseline)
	}
	for _, subset := range []string{split.Stable, split.Canary, split.Baseline} {
		if subset != "" && !labelValue.MatchString(subset) {
			report("split names malformed subset %q", subset)
		}
	}
	sum, seen := uint64(0), map[string]bool{}
	for _, share := range split.Shares {
		if seen[share.Subset] {
			report("share of subset %q is listed twice", share.Subset)
		}
		seen[share.Subset] = true
		if share.Subset != "" && !labelValue.MatchString(share.Subset) {
			report("share names malformed subset %q", share.Subset)
		}
		if share.Weight == 0 {
			report("share of subset %q is zero", share.Subset)
		}
		sum += uint64(share.Weight)
	}
	if len(split.Shares) > 0 && sum != 100 {
		report("shares sum to %d instead of 100", sum)
	}
}

func badAddress(address netip.Addr) string {
	switch {
	case !address.IsValid():
		return "is not an address"
	case address.Zone() != "":
		return "has a zone"
	case address.IsUnspecified(), address.IsMulticast():
		return "is not a unicast address"
	default:
		return ""
	}
}

// joined keeps a service's errors on one line.
func joined(errs []error) error {
	text := ""
	for i, err := range errs {
		if i > 0 {
			text += "; "
		}
		text += err.Error()
	}
	return errors.New(text)
}
