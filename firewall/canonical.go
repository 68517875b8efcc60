package firewall

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// maxInterfaceName is IFNAMSIZ − 1 (include/uapi/linux/if.h): the longest interface name.
const maxInterfaceName = 15

// Canonical returns the State in its one minimal form, or every reason why no kernel could
// enforce it, joined. It does not modify s.
func (s State) Canonical() (State, error) {
	c := s
	if c.Unlisted != UnlistedDeny {
		c.Essentials = 0
	}
	c.Services = make([]Service, 0, len(s.Services))
	errs := s.checkModes()
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
			errs = append(errs, fmt.Errorf("service %q: the name is used twice", c.Services[i].Name))
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
		if r.First == 0 || r.First > r.Last || !slices.Contains(Protocols, r.Protocol) {
			return nil, fmt.Errorf("%s is not a range of ports", r)
		}
		if n := len(out) - 1; n >= 0 && out[n].Protocol == r.Protocol && int(r.First) <= int(out[n].Last)+1 {
			out[n].Last = max(out[n].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out, nil
}

// canonicalInterfaces orders patterns and drops those that another one covers. "*" covers all,
// which is the same as naming none.
func canonicalInterfaces(in []string) ([]string, error) {
	sorted := slices.Clone(in)
	slices.Sort(sorted)
	var out []string
	for _, p := range sorted {
		if err := CheckInterfacePattern(p); err != nil {
			return nil, err
		}
		if p == "*" {
			return nil, nil
		}
		if !slices.ContainsFunc(sorted, func(q string) bool { return q != p && interfaceCovers(q, p) }) && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out, nil
}

// CheckInterfacePattern tells what is wrong with an interface name or pattern; nil if nothing.
func CheckInterfacePattern(p string) error {
	name := strings.TrimSuffix(p, "*")
	switch {
	case p == "":
		return errors.New("an interface name is empty")
	case p == "lo":
		return errors.New("interface lo: loopback traffic is never filtered")
	case len(name) > maxInterfaceName:
		return fmt.Errorf("interface %q is longer than the kernel's %d characters", p, maxInterfaceName)
	case strings.ContainsAny(name, "*/ \t\n\x00:\"\\"):
		return fmt.Errorf("interface %q: a name, or a prefix that ends in one *", p)
	}
	return nil
}

// MatchInterface reports whether a pattern ("eth0", "eth*") matches an interface name.
func MatchInterface(pattern, name string) bool {
	if prefix, wild := strings.CutSuffix(pattern, "*"); wild {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

// interfaceCovers reports whether every name that q matches is matched by p too.
func interfaceCovers(p, q string) bool {
	prefix, wild := strings.CutSuffix(p, "*")
	if !wild {
		return p == q
	}
	return strings.HasPrefix(strings.TrimSuffix(q, "*"), prefix)
}

func interfacesOverlap(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return true
	}
	for _, p := range a {
		for _, q := range b {
			if interfaceCovers(p, q) || interfaceCovers(q, p) {
				return true
			}
		}
	}
	return false
}

// canonicalExpiring gives every address its latest end, removes what is allowed for good,
// and splits the rest into disjoint minimal prefixes.
func canonicalExpiring(permanent Prefixes, in []ExpiringSource) []ExpiringSource {
	byEnd := map[time.Time][]Prefix{}
	for _, e := range in {
		end := e.Until.UTC().Truncate(time.Second)
		byEnd[end] = append(byEnd[end], e.Prefix)
	}
	ends := make([]time.Time, 0, len(byEnd))
	for end := range byEnd {
		ends = append(ends, end)
	}
	slices.SortFunc(ends, func(a, b time.Time) int { return b.Compare(a) }) // the latest first
	covered := permanent
	var out []ExpiringSource
	for _, end := range ends {
		all, err := NewPrefixes(byEnd[end]...)
		if err != nil {
			continue // the policy reader has reported it; a bad source allows nobody
		}
		fresh := all.Minus(covered)
		for p := range fresh.All() {
			out = append(out, ExpiringSource{Prefix: p, Until: end})
		}
		covered = covered.Union(fresh)
	}
	slices.SortFunc(out, func(a, b ExpiringSource) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	return out
}

// Clash says that two services claim the same protocol, port, interface and address.
type Clash struct {
	First, Second string // service names, in name order
	Ports         PortRange
}

func (c Clash) Error() string {
	return fmt.Sprintf("services %q and %q both claim %s on the same interface and address", c.First, c.Second, c.Ports)
}

// Clashes finds every pair of services that claim the same protocol, port, interface and
// address, by sorting ports rather than comparing all pairs of services.
func Clashes(services []Service) []Clash {
	type claim struct {
		ports PortRange
		index int
	}
	var claims []claim
	for i, svc := range services {
		for _, r := range svc.Ports {
			claims = append(claims, claim{r, i})
		}
	}
	slices.SortStableFunc(claims, func(a, b claim) int { return comparePortRanges(a.ports, b.ports) })
	var out []Clash
	seen := map[[2]int]bool{}
	for i, a := range claims {
		for _, b := range claims[i+1:] {
			if !a.ports.Overlaps(b.ports) {
				break // ordered by protocol and first port: nothing further can overlap
			}
			x, y := min(a.index, b.index), max(a.index, b.index)
			if x == y || seen[[2]int{x, y}] || !sharePlace(services[x], services[y]) {
				continue
			}
			seen[[2]int{x, y}] = true
			out = append(out, Clash{services[x].Name, services[y].Name, PortRange{
				a.ports.Protocol, max(a.ports.First, b.ports.First), min(a.ports.Last, b.ports.Last)}})
		}
	}
	return out
}

// sharePlace reports whether some interface and local address belongs to both services.
func sharePlace(a, b Service) bool {
	if !interfacesOverlap(a.Interfaces, b.Interfaces) {
		return false
	}
	return a.Addresses.Len() == 0 || b.Addresses.Len() == 0 || a.Addresses.Intersect(b.Addresses).Len() > 0
}

// Equal reports whether two canonical States enforce the same.
func (s State) Equal(o State) bool {
	return s.Unlisted == o.Unlisted && s.Refuse == o.Refuse && s.Established == o.Established && s.Essentials == o.Essentials &&
		slices.EqualFunc(s.Services, o.Services, Service.Equal)
}

// Equal reports whether two canonical services enforce the same.
func (svc Service) Equal(o Service) bool {
	return svc.Name == o.Name && slices.Equal(svc.Ports, o.Ports) && slices.Equal(svc.Interfaces, o.Interfaces) &&
		svc.Addresses.Equal(o.Addresses) && svc.Sources.Equal(o.Sources) && svc.Log == o.Log && reflect.DeepEqual(svc.Rate, o.Rate) &&
		slices.EqualFunc(svc.Expiring, o.Expiring, func(a, b ExpiringSource) bool { return a.Prefix == b.Prefix && a.Until.Equal(b.Until) })
}
