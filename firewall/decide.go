package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
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

// Decide says what the State does with the first packet of a flow at a moment: the same question
// that the kernel answers per packet. Replies, ICMP but for Ping, and routed traffic are outside
// its domain.
func (s State) Decide(f Flow, now time.Time) Decision {
	if f.Interface == "lo" {
		return Decision{Allowed, "", "loopback traffic is never filtered"}
	}
	if s.passesToIPVS(f) {
		return ignoredForIPVS(f)
	}
	refused := decideUnlisted(s.Unlisted, s.Essentials, f)
	for _, svc := range s.Services {
		if !slices.ContainsFunc(
			svc.Ports,
			func(r PortRange) bool { return r.Contains(f.Protocol, f.Port) },
		) {
			continue
		}
		switch {
		case f.Interface != "" && !svc.OnInterface(f.Interface):
			if refused.Service == "" {
				refused = Decision{
					Refused,
					svc.Name,
					fmt.Sprintf("service %s is not open on interface %s", svc.Name, f.Interface),
				}
			}
		case f.Destination.IsValid() && !svc.OnAddress(f.Destination):
			if refused.Service == "" {
				refused = Decision{
					Refused,
					svc.Name,
					fmt.Sprintf("service %s is not open on address %s", svc.Name, f.Destination),
				}
			}
		case svc.Allows(f.Source, now):
			return Decision{Allowed, svc.Name, fmt.Sprintf("service %s allows %s", svc.Name, f.Source)}
		default:
			refused = Decision{
				Refused,
				svc.Name,
				fmt.Sprintf("service %s does not allow %s", svc.Name, f.Source),
			}
		}
	}
	return refused
}

// decideUnlisted is what becomes of a flow that no service lists.
func decideUnlisted(unlisted Unlisted, essentials Essentials, f Flow) Decision {
	switch {
	case f.Protocol.HasPorts() && unlisted == UnlistedDeny:
		return Decision{Refused, "", "no service lists the port and unlisted ports are denied"}
	case f.Protocol.HasPorts():
		return Decision{Verdict: Ignored, Reason: "no service lists the port"}
	case unlisted != UnlistedDeny:
		return Decision{Verdict: Ignored, Reason: fmt.Sprintf("no service lists %s", f.Protocol)}
	}
	if essentials.Keep(f.Protocol) {
		return Decision{Allowed, "", fmt.Sprintf("essentials keep %s open", f.Protocol)}
	}
	return Decision{
		Refused,
		"",
		fmt.Sprintf("no service lists %s, and what is unlisted is denied", f.Protocol),
	}
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

// Allows reports whether a source may use the service at a moment, interface and address aside.
func (svc Service) Allows(source netip.Addr, now time.Time) bool {
	if svc.Sources.Contains(source) {
		return true
	}
	source = source.Unmap().WithZone("")
	return slices.ContainsFunc(
		svc.Expiring,
		func(e ExpiringSource) bool { return e.Until.After(now) && e.Prefix.Contains(source) },
	)
}

// Listed reports whether some service lists the port, on whatever interface or address.
func (s State) Listed(p Protocol, port uint16) bool {
	return slices.ContainsFunc(s.Services, func(svc Service) bool {
		return slices.ContainsFunc(svc.Ports, func(r PortRange) bool { return r.Contains(p, port) })
	})
}

// AllowedAt is every source that may use the service at a moment, interface and address aside.
func (svc Service) AllowedAt(now time.Time) Prefixes {
	var b PrefixesBuilder
	for _, e := range svc.Expiring {
		if e.Until.After(now) {
			_ = b.Add(
				e.Prefix,
			) // refused only where the policy reader has reported it; a bad source allows nobody
		}
	}
	return svc.Sources.Union(b.Set())
}
