package firewall

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall/pattern"
)

// Protocol is an IP protocol number (IANA "Assigned Internet Protocol Numbers"), or Ping.
type Protocol uint8

const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// Protocols lists every Protocol that has ports, in ascending order.
var Protocols = []Protocol{TCP, UDP, SCTP}

func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	if name, named := portlessNames[p]; named {
		return name
	}
	return fmt.Sprintf("protocol-%d", uint8(p))
}

// ParseProtocol reads "tcp", "udp" or "sctp", the name of a protocol without ports, or its number.
func ParseProtocol(s string) (Protocol, error) {
	for _, p := range Protocols {
		if p.String() == s {
			return p, nil
		}
	}
	return parsePortless(s)
}

func (p Protocol) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

func (p *Protocol) UnmarshalText(b []byte) error {
	q, err := ParseProtocol(string(b))
	*p = q
	return err
}

// PortRange is First to Last, both included, of one protocol. 1 ≤ First ≤ Last ≤ 65535. Of a
// protocol without ports both are 0, and the range is the whole protocol.
type PortRange struct {
	Protocol Protocol `json:"protocol"`
	First    uint16   `json:"first"`
	Last     uint16   `json:"last"`
}

func (r PortRange) valid() bool {
	if !r.Protocol.HasPorts() {
		return r.First == 0 && r.Last == 0 && r.Protocol.Listable()
	}
	return r.First > 0 && r.First <= r.Last
}

// UnmarshalJSON refuses what is no range. A protocol or port that is missing would else be none,
// which can't be written again.
func (r *PortRange) UnmarshalJSON(b []byte) error {
	type plain PortRange
	var p plain
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	if *r = PortRange(p); !r.valid() {
		return fmt.Errorf(
			"%s is not a range of ports: it needs a protocol, and first and last from 1 to 65535",
			b,
		)
	}
	return nil
}

// String is "tcp/9090", "tcp/9000-9100" or, of a protocol without ports, "vrrp".
func (r PortRange) String() string {
	if !r.Protocol.HasPorts() {
		return r.Protocol.String()
	}
	if r.First == r.Last {
		return fmt.Sprintf("%s/%d", r.Protocol, r.First)
	}
	return fmt.Sprintf("%s/%d-%d", r.Protocol, r.First, r.Last)
}

// Contains reports whether the range has this protocol and port.
func (r PortRange) Contains(p Protocol, port uint16) bool {
	return r.Protocol == p && r.First <= port && port <= r.Last
}

// Overlaps reports whether both ranges share a protocol and port.
func (r PortRange) Overlaps(o PortRange) bool {
	return r.Protocol == o.Protocol && r.First <= o.Last && o.First <= r.Last
}

func comparePortRanges(a, b PortRange) int {
	return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.First, b.First),
		cmp.Compare(a.Last, b.Last))
}

// NamePattern is what a service may be called: it becomes part of kernel object names
// (nft identifiers; iptables chain names are shortened), log prefixes and metric labels.
var NamePattern = pattern.New(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,46}[A-Za-z0-9])?$`)

// Essentials is the set of things a default-deny host must still receive to have a working
// network. Each can be left out by name.
type Essentials uint8

const (
	// EssentialICMPErrors: destination unreachable, packet too big, time exceeded, parameter
	// problem. Path MTU discovery needs them (RFC 1191, RFC 8201, RFC 4890 §4.4.1).
	EssentialICMPErrors Essentials = 1 << iota
	// EssentialEcho: echo request, for ping (RFC 4890 §4.4.1).
	EssentialEcho
	// EssentialNeighbourDiscovery: router and neighbour solicitation and advertisement, redirect
	// (RFC 4861). Without it IPv6 does not work at all. IPv4's ARP is not IP and never filtered.
	EssentialNeighbourDiscovery
	// EssentialDHCP: server answers to the DHCP and DHCPv6 client (RFC 2131, RFC 8415).
	EssentialDHCP
	// EssentialMulticastMembership: IGMP and MLD (RFC 3376, RFC 3810).
	EssentialMulticastMembership
	// EssentialMulticastAnswers: answers to the host's own multicast questions (mDNS, RFC 6762;
	// LLMNR, RFC 4795; SSDP). Conntrack can't tell them: the answer comes from another address than
	// the question went to. See answers.go.
	EssentialMulticastAnswers

	AllEssentials Essentials = 1<<iota - 1
	// DefaultEssentials are those that stay open unless they are turned off.
	DefaultEssentials = AllEssentials &^ EssentialMulticastAnswers
)

var essentialNames = []string{"icmp-errors", "echo", "neighbour-discovery", "dhcp",
	"multicast-membership", "multicast-answers"}

// EssentialNames lists the names that ParseEssential takes, in bit order.
func EssentialNames() []string { return append([]string(nil), essentialNames...) }

// ParseEssential reads one name of EssentialNames.
func ParseEssential(name string) (Essentials, error) {
	for i, n := range essentialNames {
		if n == name {
			return 1 << i, nil
		}
	}
	return 0, fmt.Errorf("unknown essential %q: use one of %s", name,
		strings.Join(essentialNames, ", "))
}

// Has reports whether all of e is in the set.
func (s Essentials) Has(e Essentials) bool { return s&e == e }

// Names lists the members in bit order.
func (s Essentials) Names() []string {
	names := []string{}
	for i, n := range essentialNames {
		if s.Has(1 << i) {
			names = append(names, n)
		}
	}
	return names
}

func (s Essentials) MarshalJSON() ([]byte, error) { return json.Marshal(s.Names()) }

func (s *Essentials) UnmarshalJSON(b []byte) error {
	var names []string
	if err := json.Unmarshal(b, &names); err != nil {
		return err
	}
	*s = 0
	for _, n := range names {
		e, err := ParseEssential(n)
		if err != nil {
			return err
		}
		*s |= e
	}
	return nil
}
