// Package input reads ports and sources as people write them on a command line.
//
// Beside numbers and addresses it takes names: of services and networks of the policy, and of ports
// in services(5). A name stands for what its list says and for nothing else: a name that is not
// known is an error, and the error never offers more than was written.
//
// The package is pure but for the file of services, whose path it is given. What the policy has is
// asked of functions, at the first name, so that a command line without names reads no policy.
package input

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/host/lease"
	"github.com/portgrave/portgrave/firewall/iana"
)

// Policy has the names of a policy.
type Policy interface {
	// ServicePorts are the ports of a service; none if the policy has no such service.
	ServicePorts(name string) []firewall.PortRange
	// Network is what a network holds; false if the policy has no such network, and it is none of
	// the built-in ones.
	Network(name string) (set address.Set, known bool, err error)
	// Meant is the service and the network that a mistyped word looks like; "" if none does. It
	// offers no network of everybody.
	Meant(word string) (service, network string)
	// Called is how messages call it: "the policy in force".
	Called() string
}

// Reader reads ports and sources. Its errors are mistakes of who typed them.
type Reader struct {
	// Policy returns the policy that names belong to; nil knows no names of a policy.
	Policy func() (Policy, error)
	// ServicesFile is the path of services(5). One that can't be read has no names.
	ServicesFile string
}

// Ports reads one or several ports with commas between: "22", "22/tcp", "udp/53", "8000-8010",
// "8000:8010", a protocol without ports, the name of a service of the policy, which stands for all
// of its ports, or a name from services(5), alone or with a protocol: "domain/udp". A number
// without a protocol is tcp. A name without one is its tcp port, or, if it has none, its udp or sctp
// port.
func (r Reader) Ports(text string) ([]firewall.PortRange, error) {
	var names []string
	for _, part := range strings.Split(text, ",") {
		ranges, err := r.port(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		for _, x := range ranges {
			names = append(names, x.String())
		}
	}
	return lease.ParsePorts(strings.Join(names, ","))
}

// OnePort reads what Ports reads where it stands for one port of one protocol. want is a protocol
// that a flag names; 0 is none.
func (r Reader) OnePort(text string, want firewall.Protocol) (firewall.PortRange, error) {
	word := strings.TrimSpace(text)
	if named := name(word); want != 0 && named == word && !strings.Contains(word, ",") {
		word = want.String() + "/" + word
	}
	ranges, err := r.Ports(word)
	switch {
	case err != nil:
		return firewall.PortRange{}, err
	case len(ranges) > 1 || ranges[0].First != ranges[0].Last:
		return firewall.PortRange{}, fmt.Errorf("%q is several ports (%s): write one of them", text,
			portNames(ranges))
	case !ranges[0].Protocol.HasPorts():
		return firewall.PortRange{}, fmt.Errorf("%q is a protocol without ports", text)
	case want != 0 && ranges[0].Protocol != want:
		return firewall.PortRange{}, fmt.Errorf("%q is a %s port, and --protocol says %s", text,
			ranges[0].Protocol, want)
	}
	return ranges[0], nil
}

func (r Reader) port(word string) ([]firewall.PortRange, error) {
	ranges, wrong := lease.ParsePorts(word)
	if wrong == nil && isNumeric(word) {
		return ranges, nil
	}
	named, protocol, err := cutProtocol(word)
	if err != nil || named == "" {
		return ranges, wrong
	}
	p, problem := r.policy()
	if p != nil {
		if of := p.ServicePorts(named); len(of) > 0 {
			return only(of, protocol, named)
		}
	}
	if wrong == nil { // a protocol without ports
		return ranges, nil
	}
	if isNumeric(word) {
		return nil, wrong
	}
	known := servicesOf(r.ServicesFile, named)
	if x, found := choose(known, protocol); found {
		return []firewall.PortRange{x}, nil
	}
	if len(known) > 0 {
		return nil, fmt.Errorf("%q: %s has no %s port in %s, it has %s", word, named, protocol,
			r.ServicesFile, portNames(known))
	}
	return nil, r.unknownPort(word, named, p, problem)
}

// unknownPort says that a word is neither a port nor a name of one, and what may have been meant.
func (r Reader) unknownPort(word, named string, p Policy, problem error) error {
	hint, of := "write a number such as 9090, udp/53 or 8000-8010", "a policy"
	if ports, udp, ok := iana.Known(named); ok {
		if udp {
			ports = "udp/" + ports
		}
		hint = "write " + ports
	}
	if p != nil {
		of = p.Called()
		if near, _ := p.Meant(named); near != "" {
			hint = "did you mean " + near + "?"
		}
	}
	return errors.Join(
		fmt.Errorf("%q is neither a port, nor a service of %s, nor a name in %s: %s",
			word, of, r.ServicesFile, hint), unreadable(problem))
}

// Sources reads addresses, CIDRs and names of networks, each item one or several with commas
// between, into one set. A network is what it holds now.
func (r Reader) Sources(items ...string) (address.Set, error) {
	var all address.Set
	for _, item := range items {
		for _, part := range strings.Split(item, ",") {
			set, err := r.source(strings.TrimSpace(part))
			if err != nil {
				return address.Set{}, err
			}
			all = all.Union(set)
		}
	}
	if all.Len() == 0 {
		return lease.ParseSources()
	}
	return all, nil
}

func (r Reader) source(word string) (address.Set, error) {
	set, wrong := lease.ParseSources(word)
	if wrong == nil || word == "" || strings.ContainsAny(word, "/:% ") {
		return set, wrong
	}
	p, problem := r.policy()
	if p == nil {
		return set, errors.Join(wrong, unreadable(problem))
	}
	set, known, err := p.Network(word)
	switch {
	case err != nil:
		return set, fmt.Errorf("network %q: %w", word, err)
	case known && set.Len() == 0:
		return set, fmt.Errorf("network %q is empty: it has nobody in it", word)
	case known:
		return set, nil
	}
	hint := "write 203.0.113.7, 203.0.113.0/24 or the name of a network"
	if _, near := p.Meant(word); near != "" {
		hint = "did you mean " + near + "?"
	} else if len(p.ServicePorts(word)) > 0 {
		hint = "it is a service; write who it is to be open to"
	}
	return set, fmt.Errorf("%q is not an address, a CIDR or a network of %s: %s", word, p.Called(),
		hint)
}

func (r Reader) policy() (Policy, error) {
	if r.Policy == nil {
		return nil, nil
	}
	p, err := r.Policy()
	if err != nil {
		return nil, err
	}
	return p, nil
}

// unreadable is why the names of the policy are not known; nil if they are.
func unreadable(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the names of the policy are not known: %w", err)
}

// only are the ranges of a protocol; 0 takes all of them.
func only(
	of []firewall.PortRange, p firewall.Protocol, service string,
) ([]firewall.PortRange, error) {
	if p == 0 {
		return of, nil
	}
	kept := slices.DeleteFunc(slices.Clone(of), func(x firewall.PortRange) bool {
		return x.Protocol != p
	})
	if len(kept) == 0 {
		return nil, fmt.Errorf("service %s has no %s port: it has %s", service, p, portNames(of))
	}
	return kept, nil
}

// choose takes the port of a protocol; 0 prefers them in the order of firewall.Protocols.
func choose(known []firewall.PortRange, p firewall.Protocol) (firewall.PortRange, bool) {
	for _, want := range firewall.Protocols {
		for _, x := range known {
			if x.Protocol == want && (p == 0 || p == want) {
				return x, true
			}
		}
	}
	return firewall.PortRange{}, false
}

// cutProtocol splits tcp/ssh and ssh/tcp. A protocol that is not written is 0.
func cutProtocol(word string) (named string, p firewall.Protocol, err error) {
	before, after, both := strings.Cut(word, "/")
	if !both {
		return word, 0, nil
	}
	for _, known := range firewall.Protocols {
		switch known.String() {
		case before:
			return after, known, nil
		case after:
			return before, known, nil
		}
	}
	return "", 0, fmt.Errorf("%q has no protocol with ports", word)
}

// name is a word without its protocol; "" if it is a number.
func name(word string) string {
	named, _, err := cutProtocol(word)
	if err != nil {
		return ""
	}
	return named
}

// isNumeric reports whether a word has a number for a port, so that it is not a name. Names of
// services may begin with a digit.
func isNumeric(word string) bool {
	named, _, err := cutProtocol(word)
	return err == nil && named != "" && strings.Trim(named, "0123456789-:") == ""
}

func portNames(ranges []firewall.PortRange) string {
	var words []string
	for _, x := range ranges {
		words = append(words, x.String())
	}
	return strings.Join(words, ", ")
}
