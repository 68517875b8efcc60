package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
)

// Flow is a packet as the filter sees it: addressed to this host, before any address translation.
type Flow struct {
	Protocol    Protocol
	Source      netip.Addr
	Destination netip.Addr // one of the host's; the zero Addr means "whichever would be allowed"
	Port        uint16     // the port that the client dialled; 0 if the protocol has none
	Interface   string     // where it arrives; "" means "whichever would be allowed"
}

// Verdict is what a State says about a Flow.
type Verdict int

const (
	// Ignored: no service lists the port and unlisted ports are left alone. Portgrave says nothing.
	Ignored Verdict = iota
	// Allowed by a service, or loopback.
	Allowed
	// Refused: listed, but not for this source, interface or address; or unlisted under deny.
	Refused
)

func (v Verdict) String() string { return [...]string{"ignored", "allowed", "refused"}[v] }

// Decision is a Verdict with its reason.
type Decision struct {
	Verdict Verdict
	Service string // the deciding service; "" when none lists the port
	Reason  string // one clause for people, without a full stop
}

// Decide says what the State, which is canonical, does with the first packet of a flow at a
// moment. Who asks more than once about a State keeps its Index and asks that.
func (s State) Decide(f Flow, now time.Time) Decision { return s.Index().Decide(f, now) }

// Decide says what becomes of the first packet of a flow at a moment: the question that the kernel
// answers per packet. Replies, ICMP but for Ping, and routed traffic are outside its domain.
func (x *Index) Decide(f Flow, now time.Time) Decision {
	if f.Interface == "lo" {
		return Decision{Allowed, "", "loopback traffic is never filtered"}
	}
	if x.passesToIPVS(f) {
		return Decision{
			Verdict: Ignored,
			Reason:  fmt.Sprintf("IPVS serves %s at %s", f.Protocol, f.Destination),
		}
	}
	at := x.At(f.Protocol, f.Port, f.Interface, f.Destination)
	for _, i := range at {
		if svc := x.services[i]; svc.allowsAt(f.Protocol, f.Port, f.Source, now) {
			return Decision{
				Allowed,
				svc.Name,
				fmt.Sprintf("service %s allows %s", svc.Name, f.Source),
			}
		}
	}
	if n := len(at); n > 0 {
		name := x.services[at[n-1]].Name
		return Decision{Refused, name, fmt.Sprintf("service %s does not allow %s", name, f.Source)}
	}
	if first := x.First(f.Protocol, f.Port); first >= 0 {
		svc := x.services[first]
		if f.Interface != "" && !svc.OnInterface(f.Interface) {
			return Decision{
				Refused,
				svc.Name,
				fmt.Sprintf("service %s is not open on interface %s", svc.Name, f.Interface),
			}
		}
		return Decision{
			Refused,
			svc.Name,
			fmt.Sprintf("service %s is not open on address %s", svc.Name, f.Destination),
		}
	}
	return Decision{Verdict: x.Unlisted(f.Protocol), Reason: x.whyUnlisted(f.Protocol)}
}

// Answer is what a State says of a port at a place to all sources at once. A source that one of
// Services allows gets in. Any other is refused if the port is Listed, and else fares as Unlisted
// says.
type Answer struct {
	Listed   bool      // some service lists the port, on whatever interface or address
	First    string    // the first of those
	Services []Service // those that are open at the place, in order, as they decide on the port
	Unlisted Verdict
}

// Ask is Decide for all sources: at a port on an interface ("" is any) and some addresses (none is
// any). Virtual services are left to who asks.
func (x *Index) Ask(p Protocol, port uint16, iface string, addresses ...netip.Addr) Answer {
	a := Answer{Unlisted: x.Unlisted(p)}
	first := x.First(p, port)
	if first < 0 {
		return a
	}
	a.Listed, a.First = true, x.services[first].Name
	if len(addresses) == 0 {
		addresses = []netip.Addr{{}}
	}
	var at []int32
	for _, address := range addresses {
		at = append(at, x.At(p, port, iface, address)...)
	}
	slices.Sort(at)
	for _, i := range slices.Compact(at) {
		a.Services = append(a.Services, x.services[i].At(p, port))
	}
	return a
}

// Unlisted is what becomes of packets to a port that no service lists.
func (x *Index) Unlisted(p Protocol) Verdict {
	switch {
	case x.state.Unlisted != UnlistedDeny:
		return Ignored
	case x.state.Essentials.Keep(p):
		return Allowed
	}
	return Refused
}

// whyUnlisted is the reason of that verdict, for people.
func (x *Index) whyUnlisted(p Protocol) string {
	switch verdict := x.Unlisted(p); {
	case verdict == Allowed:
		return fmt.Sprintf("essentials keep %s open", p)
	case verdict == Refused && p.HasPorts():
		return "no service lists the port and unlisted ports are denied"
	case verdict == Refused:
		return fmt.Sprintf("no service lists %s, and what is unlisted is denied", p)
	case p.HasPorts():
		return "no service lists the port"
	}
	return fmt.Sprintf("no service lists %s", p)
}

// Keep reports whether essentials keep a protocol without ports open that no service lists.
func (s Essentials) Keep(p Protocol) bool {
	switch p {
	case Ping:
		return s.Has(EssentialEcho)
	case IGMP:
		return s.Has(EssentialMulticastMembership)
	}
	return false
}

// OnInterface reports whether the service is open on an interface.
func (svc Service) OnInterface(name string) bool {
	return len(svc.Interfaces) == 0 ||
		slices.ContainsFunc(svc.Interfaces, func(p string) bool { return MatchInterface(p, name) })
}

// OnAddress reports whether the service is open on a local address.
func (svc Service) OnAddress(a netip.Addr) bool {
	return svc.Addresses.Len() == 0 || svc.Addresses.Contains(a)
}

// Allows reports whether a source may use all ports of a canonical service at a moment, interface
// and address aside.
func (svc Service) Allows(source netip.Addr, now time.Time) bool {
	if svc.Sources.Contains(source) {
		return true
	}
	end, expires := until(svc.Expiring, source)
	return expires && end.After(now)
}

// allowsAt is Allows at one of the service's ports, which a lease may open.
func (svc Service) allowsAt(p Protocol, port uint16, source netip.Addr, now time.Time) bool {
	if svc.Allows(source, now) {
		return true
	}
	for _, l := range svc.Leases {
		if l.opens(p, port) {
			end, expires := until(l.Expiring, source)
			return expires && end.After(now)
		}
	}
	return false
}

// Listed reports whether some service lists the port, on whatever interface or address.
func (s State) Listed(p Protocol, port uint16) bool {
	return slices.ContainsFunc(s.Services, func(svc Service) bool {
		return slices.ContainsFunc(svc.Ports, func(r PortRange) bool { return r.Contains(p, port) })
	})
}

// AllowedAt is every source that may use all ports of the service at a moment, interface and
// address aside.
func (svc Service) AllowedAt(now time.Time) address.Set {
	var b address.Builder
	for _, e := range svc.Expiring {
		if e.Until.After(now) {
			_ = b.Add(
				e.Prefix,
			) // refused only where the policy reader has reported it; a bad source allows nobody
		}
	}
	return svc.Sources.Union(b.Set())
}
