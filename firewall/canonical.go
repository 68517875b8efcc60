package firewall

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
)

// Canonical returns the State in its one minimal form, or every reason why no kernel could
// enforce it, joined. It does not modify s.
func (s State) Canonical() (State, error) {
	c := s
	if c.Unlisted != UnlistedDeny {
		c.Essentials = 0
	}
	if !c.Essentials.Has(EssentialMulticastAnswers) {
		c.Connected = address.Set{}
	}
	c.Services = make([]Service, 0, len(s.Services))
	errs := s.checkModes()
	var err error
	if c.Direct, err = canonicalInterfaces(s.Direct); err != nil {
		errs = append(errs, fmt.Errorf("direct: %w", err))
	} else if len(c.Direct) == 0 && len(s.Direct) > 0 {
		errs = append(errs, errors.New(`direct: "*" is every interface, the uplink among them`))
	}
	if c.Virtual, err = s.canonicalVirtual(s.Virtual); err != nil {
		errs = append(errs, err)
	}
	for _, svc := range s.Services {
		canonical, err := svc.canonical()
		if err != nil {
			errs = append(errs, fmt.Errorf("service %q: %w", svc.Name, err))
		}
		c.Services = append(c.Services, canonical)
	}
	slices.SortFunc(c.Services, func(a, b Service) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(c.Services); i++ {
		if c.Services[i].Name == c.Services[i-1].Name {
			errs = append(
				errs,
				fmt.Errorf("service %q: the name is used twice", c.Services[i].Name),
			)
		}
	}
	for _, clash := range Clashes(c.Services) {
		errs = append(errs, clash)
	}
	return c, errors.Join(errs...)
}

func (s State) checkModes() (errs []error) {
	if s.Unlisted != UnlistedIgnore && s.Unlisted != UnlistedDeny {
		errs = append(errs, fmt.Errorf("unlisted: %q is neither ignore nor deny", s.Unlisted))
	}
	if s.Refuse != RefuseDrop && s.Refuse != RefuseReject {
		errs = append(errs, fmt.Errorf("refuse: %q is neither drop nor reject", s.Refuse))
	}
	if s.Established != EstablishedCut && s.Established != EstablishedKeep {
		errs = append(errs, fmt.Errorf("established: %q is neither cut nor keep", s.Established))
	}
	return errs
}

func (svc Service) canonical() (Service, error) {
	var errs []error
	if !NamePattern.MatchString(svc.Name) {
		errs = append(errs, fmt.Errorf("the name must match %s", NamePattern))
	}
	ports, err := mergePorts(svc.Ports)
	errs = append(errs, err)
	svc.Ports = ports
	if svc.Interfaces, err = canonicalInterfaces(svc.Interfaces); err != nil {
		errs = append(errs, err)
	}
	svc.Expiring = canonicalExpiring(svc.Sources, svc.Expiring)
	if len(svc.Leases) > 0 && ports != nil {
		svc, err = svc.canonicalLeases()
		errs = append(errs, err)
	}
	switch svc.Log {
	case LogNone, LogDenied, LogAll:
	default:
		errs = append(errs, fmt.Errorf("log: %q is none of none, denied, all", svc.Log))
	}
	if r := svc.Rate; r != nil {
		switch r.Per {
		case time.Second, time.Minute, time.Hour, 24 * time.Hour:
		default:
			errs = append(errs, fmt.Errorf("rate: %v is not a second, minute, hour or day", r.Per))
		}
		if r.Count == 0 || r.Burst == 0 {
			errs = append(errs, errors.New("rate: count and burst must be at least 1"))
		}
		if r.IPv6Prefix > 128 {
			errs = append(
				errs,
				fmt.Errorf("rate: /%d is longer than an IPv6 address", r.IPv6Prefix),
			)
		}
		if r.IPv6Prefix == DefaultRatePrefix {
			plain := *r
			plain.IPv6Prefix = 0
			svc.Rate = &plain
		}
	}
	return svc, errors.Join(errs...)
}

// mergePorts orders ranges and merges those that touch.
func mergePorts(in []PortRange) ([]PortRange, error) {
	if len(in) == 0 {
		return nil, errors.New("no ports")
	}
	sorted := slices.Clone(in)
	slices.SortFunc(sorted, comparePortRanges)
	var out []PortRange
	for _, r := range sorted {
		if !r.valid() {
			return nil, fmt.Errorf("%s is not a range of ports", r)
		}
		if n := len(out) - 1; n >= 0 && out[n].Protocol == r.Protocol &&
			int(r.First) <= int(out[n].Last)+1 {
			out[n].Last = max(out[n].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out, nil
}

// Equal reports whether two canonical States enforce the same.
func (s State) Equal(o State) bool {
	return s.Unlisted == o.Unlisted && s.Refuse == o.Refuse && s.Established == o.Established &&
		s.Essentials == o.Essentials &&
		slices.Equal(s.Direct, o.Direct) &&
		s.Connected.Equal(o.Connected) &&
		slices.Equal(s.Virtual, o.Virtual) &&
		slices.EqualFunc(s.Services, o.Services, Service.Equal)
}

// Equal reports whether two canonical services enforce the same.
func (svc Service) Equal(o Service) bool {
	return svc.Name == o.Name && slices.Equal(svc.Ports, o.Ports) &&
		slices.Equal(svc.Interfaces, o.Interfaces) &&
		svc.Addresses.Equal(o.Addresses) && svc.Sources.Equal(o.Sources) &&
		svc.Log == o.Log &&
		reflect.DeepEqual(svc.Rate, o.Rate) &&
		slices.EqualFunc(svc.Expiring, o.Expiring, sameExpiring) &&
		slices.EqualFunc(svc.Leases, o.Leases, Lease.Equal)
}
