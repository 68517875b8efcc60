package audit

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Broadcasts and multicast. A service without addresses is for them too, and one with addresses for
// those that it lists. Rules may treat them otherwise than packets to the host's own addresses. The
// import lists broadcast addresses and groups that rules name; of other groups, it notes what
// changes, since it doesn't know which of them programs have joined.

// spreading is a kind of packets that reach several hosts, and how the policy differs there from
// the rules.
type spreading struct {
	what, by string // for people: "multicast", and the interface
	wider    bool   // the rules let in more than the policy
}

// examples are groups that stand for those that no rule names: of the link, and of a site.
var examples = map[address.Family][]netip.Addr{
	address.IPv4: {netip.MustParseAddr("224.0.0.200"), netip.MustParseAddr("239.255.77.7")},
	address.IPv6: {netip.MustParseAddr("ff02::7777"), netip.MustParseAddr("ff05::7777")},
}

// spreads reports whether a protocol's packets may be broadcasts or multicast. (Hosts don't answer
// such pings, and an essential decides about IGMP.)
func spreads(p firewall.Protocol) bool {
	switch p {
	case firewall.TCP, firewall.SCTP, firewall.Ping, firewall.IGMP:
		return false
	}
	return true
}

// tellsGroups reports whether a rule may distinguish broadcasts or multicast from other packets.
func tellsGroups(rs *exposure.Ruleset) bool {
	reads := func(key []exposure.Operand) bool {
		return slices.ContainsFunc(key, func(o exposure.Operand) bool {
			switch o.Field {
			case exposure.FieldDest4, exposure.FieldDest6, exposure.FieldPacketType:
				return true
			case exposure.FieldFib:
				return o.Fib.Of == exposure.FibDest
			case exposure.FieldRaw:
				return o.Raw.Base == exposure.RawNetwork
			}
			return false
		})
	}
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				for _, st := range r.Statements {
					switch st := st.(type) {
					case exposure.Match:
						if reads(st.Key) {
							return true
						}
					case exposure.VerdictMap:
						if reads(st.Key) {
							return true
						}
					}
				}
			}
		}
	}
	return false
}

// spreadAddresses are the addresses of several hosts that a service may list for a subject: those
// that rules name and, if rules may distinguish them and somebody takes them, all broadcast
// addresses.
func (s *survey) spreadAddresses(x *subject) []netip.Addr {
	if !spreads(x.Protocol) && x.Protocol != firewall.IGMP {
		return nil
	}
	if !s.telling || !s.takesGroups(x) {
		return s.groups
	}
	return s.withBroadcasts(s.groups)
}

// withBroadcasts adds the broadcast addresses to groups.
func (s *survey) withBroadcasts(groups []netip.Addr) []netip.Addr {
	out := append(slices.Clone(groups), netip.AddrFrom4([4]byte{255, 255, 255, 255}))
	for _, r := range s.Host.Routes {
		if a := r.Dest.Addr(); s.group(a) && !a.IsMulticast() && len(out) < 2*maxGroups {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// askBroadcasts adds the answers for broadcasts to a port where nobody listens, if a service for it
// would be for single addresses. It would refuse them to a program that listens later.
func (s *survey) askBroadcasts(
	x *subject, iface string, spots []addressAnswer, mu *sync.Mutex,
) ([]addressAnswer, error) {
	var four, six []addressAnswer
	for _, o := range spots {
		if o.family == address.IPv4 {
			four = append(four, o)
		} else {
			six = append(six, o)
		}
	}
	if !s.telling || !spreads(x.Protocol) || !x.Protocol.HasPorts() || x.receiver.there ||
		!areApart(spots) || len(four) == 0 {
		return spots, nil
	}
	more := slices.DeleteFunc(s.withBroadcasts(nil), func(a netip.Addr) bool {
		return slices.Contains(s.groups, a) // asked already
	})
	q := exposure.Question{
		Family: address.IPv4, Protocol: x.Protocol, Interface: iface, Port: x.First,
		NoExtensions: true,
	}
	four, err := s.askGroups(x, q, four, more, mu)
	return append(four, six...), err
}

// askSpread compares the rules with the policy about packets to several hosts, by one interface.
// spots are the answers that the policy expresses.
func (s *survey) askSpread(
	x *subject,
	on exposure.Interface,
	spots []addressAnswer,
	mu *sync.Mutex,
) error {
	if !s.telling || !spreads(x.Protocol) || dhcpClient(x.PortRange) || !s.takesGroups(x) {
		return nil
	}
	apart := areApart(spots)
	for _, f := range address.Families {
		if !slices.ContainsFunc(spots, func(o addressAnswer) bool { return o.family == f }) {
			continue
		}
		for _, to := range slices.Concat(s.spreadAddresses(x), examples[f]) {
			if to.Is4() != (f == address.IPv4) {
				continue
			}
			q := exposure.Question{
				Family: f, Protocol: x.Protocol, Interface: on.Name, Port: x.First,
				Destination: to, NoExtensions: true,
			}
			there, _, err := s.answer(x, q, mu)
			if err != nil {
				return err
			}
			var policy admission
			for _, o := range spots {
				if o.family == f && (!apart || o.address == to || slices.Contains(o.also, to)) {
					policy = o.admission
				}
			}
			what := "multicast"
			if !to.IsMulticast() {
				what = "broadcasts"
			} else if !slices.Contains(examples[f], to) {
				what = "packets to " + to.String()
			}
			maybe := there.withheld.Union(there.ending)
			mu.Lock()
			if !policy.sources.Intersect(there.stopped).Minus(there.sources).Minus(maybe).Empty() {
				x.spreading = append(x.spreading, spreading{what, on.Name, false})
			}
			if !there.sources.Minus(policy.sources).Empty() {
				x.spreading = append(x.spreading, spreading{what, on.Name, true})
			}
			mu.Unlock()
		}
	}
	return nil
}

// areApart reports whether the answers of one interface become openings at single addresses.
func areApart(spots []addressAnswer) bool {
	asked := map[address.Family]int{}
	for _, x := range spots {
		asked[x.family]++
	}
	return asked[address.IPv4] > 1 || asked[address.IPv6] > 1
}

// noteSpreading names the ports where the policy differs from the rules about broadcasts and
// multicast.
func (w *importWriter) noteSpreading() {
	for _, wider := range []bool{false, true} {
		var order []string
		ports := map[string][]firewall.PortRange{}
		for _, x := range w.subjects {
			unlisted := w.deny() && !x.Protocol.HasPorts() && w.usualEverywhere(x)
			if unlisted && !wider {
				continue
			}
			if what := w.spreadingOf(x, wider); what != "" {
				if ports[what] == nil {
					order = append(order, what)
				}
				ports[what] = append(ports[what], x.PortRange)
			}
		}
		for _, what := range order {
			names := portNames(ports[what])
			if wider {
				w.note("the rules let in %s to %s, and this policy refuses that: write the groups "+
					"that programs have joined there (ip maddr lists them) in addresses of the "+
					"service", what, names)
				continue
			}
			w.note("the rules refuse %s to %s, and this policy lets that in, as a service is for "+
				"them too: write this host's own addresses in its addresses to refuse it",
				what, names)
		}
	}
}

// portNames names ports, and protocols without ports if they are few.
func portNames(ports []firewall.PortRange) string {
	var names, portless []string
	for _, p := range ports {
		if p.Protocol.HasPorts() {
			names = append(names, p.String())
		} else {
			portless = append(portless, p.String())
		}
	}
	if len(portless) >= severalProtocols {
		portless = []string{"protocols without ports"}
	}
	return shortList(append(names, portless...))
}

// spreadingOf says what differs for a subject: "broadcasts and multicast by eth0"; "" for nothing.
func (w *importWriter) spreadingOf(x *subject, wider bool) string {
	var what []string
	by := map[string][]string{}
	for _, d := range x.spreading {
		if d.wider == wider {
			what = appendOnce(what, d.what)
			by[d.what] = appendOnce(by[d.what], d.by)
		}
	}
	for i, name := range what {
		what[i] = name + byInterfaces(by[name], len(w.interfaces))
	}
	return strings.Join(what, " and ")
}

// takesGroups reports whether somebody may take broadcasts and multicast of a subject: a program
// that listens at all addresses or at a group.
func (s *survey) takesGroups(x *subject) bool {
	if !x.Protocol.HasPorts() {
		return !strings.HasPrefix(x.Protocol.String(), "protocol-")
	}
	return x.receiver.there && s.takes(x.First, func(a netip.Addr) bool {
		return a.IsUnspecified() || s.group(a)
	})
}
