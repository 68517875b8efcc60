package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
)

// State is everything the kernel shall enforce, independent of how it was written down and of
// the backend that enforces it.
//
// A State made by Canonical is minimal and ordered: services by name, ports merged, prefixes
// merged, redundant interface patterns removed. Two policies that mean the same compile to the
// same State, so Equal on two canonical States answers "is anything different for any packet?".
//
// A State is never modified after Canonical has returned it; it may be shared between goroutines.
type State struct {
	// Unlisted says what happens to packets for ports that no service lists.
	Unlisted Unlisted `json:"unlisted"`
	// Refuse says how a refused packet is answered.
	Refuse Refuse `json:"refuse"`
	// Established says what a revoked source's running connections may still do.
	Established Established `json:"established"`
	// Essentials stay open although Unlisted is UnlistedDeny. Empty under UnlistedIgnore,
	// where it has no meaning.
	Essentials Essentials `json:"essentials"`
	// Direct holds interfaces, names and patterns ending in "*", behind which containers or guests
	// have addresses of their own. New packets that are routed there from other interfaces without
	// DNAT by this host are refused.
	Direct []string `json:"direct,omitempty"`
	// Connected are the networks that the host is part of. EssentialMulticastAnswers takes answers
	// from them alone; empty without it.
	Connected address.Set `json:"connected,omitzero"`
	// Virtual are the services of IPVS at addresses that the host holds for it alone, in the order
	// of VirtualService.Compare. Where unlisted ports are left alone, only those on listed ports.
	Virtual []VirtualService `json:"virtual,omitempty"`
	// Services, ordered by name. No two claim the same protocol, port, interface and address.
	Services []Service `json:"services"`
}

// Service is one named opening: some ports, and who may reach them.
//
// A packet for one of Ports is accepted if it arrives on one of Interfaces, is addressed to one
// of Addresses, and comes from Sources or from an Expiring source whose time has not come: one of
// Expiring, or of the lease that opens its port.
// Every other packet for Ports is refused, whatever interface or address it uses, unless another
// service claims that very combination.
type Service struct {
	// Name matches NamePattern.
	Name string `json:"name"`
	// Ports, ordered, disjoint, never adjacent within a protocol, never empty.
	Ports []PortRange `json:"ports"`
	// Interfaces holds names and patterns ending in "*"; empty means every interface but lo.
	Interfaces []string `json:"interfaces,omitempty"`
	// Addresses of this host; empty means every local address.
	Addresses address.Set `json:"addresses"`
	// Sources that may reach Ports until the policy changes.
	Sources address.Set `json:"sources"`
	// Expiring sources, disjoint from Sources and from each other, ordered by prefix.
	Expiring []ExpiringSource `json:"expiring,omitempty"`
	// Leases open some of Ports to more sources, in the order of their ports, which are disjoint.
	// What they open on all of Ports stands in Expiring.
	Leases []Lease `json:"leases,omitempty"`
	// Log says which packets are reported to NFLOG.
	Log Log `json:"log"`
	// Rate limits new connections per source; nil means no limit.
	Rate *Rate `json:"rate,omitempty"`
}

// ExpiringSource is a source allowed until a moment in time (second precision, UTC).
type ExpiringSource struct {
	Prefix netip.Prefix `json:"prefix"`
	Until  time.Time    `json:"until"`
}

// Rate limits how many new connections one source may open: Count per Per, after an initial Burst.
// A source is an IPv4 address or an IPv6 prefix, since a host has a whole IPv6 network. Per is one
// of second, minute, hour, day: the units of the kernel's limit expression
// (include/uapi/linux/netfilter/nf_tables.h, NFTA_LIMIT_UNIT).
type Rate struct {
	Count uint32        `json:"count"`
	Per   time.Duration `json:"per"`
	Burst uint32        `json:"burst"`
	// IPv6Prefix is the length in bits of the IPv6 prefix that counts as one source; 0 stands for
	// DefaultRatePrefix, so that States recorded without it mean the same as before.
	IPv6Prefix uint8 `json:"ipv6_prefix,omitempty"`
}

// DefaultRatePrefix is the IPv6 prefix that counts as one source: what a site's single network
// gets (RFC 6177 §2).
const DefaultRatePrefix = 64

// PrefixLength is how many bits of a source's address a rate tells apart.
func (r Rate) PrefixLength(f address.Family) int {
	switch {
	case f == address.IPv4:
		return 32
	case r.IPv6Prefix == 0:
		return DefaultRatePrefix
	}
	return int(r.IPv6Prefix)
}

// Each is how many new connections in what time: "20/second".
func (r Rate) Each() string {
	unit := map[time.Duration]string{time.Second: "second", time.Minute: "minute",
		time.Hour: "hour", 24 * time.Hour: "day"}[r.Per]
	return fmt.Sprintf("%d/%s", r.Count, unit)
}

func (r Rate) String() string {
	text := fmt.Sprintf("%s burst %d", r.Each(), r.Burst)
	if n := r.PrefixLength(address.IPv6); n != DefaultRatePrefix {
		text += fmt.Sprintf(" per IPv6 /%d", n)
	}
	return text
}

// Has reports whether a canonical State has a service of that name.
func (s State) Has(service string) bool {
	_, found := slices.BinarySearchFunc(s.Services, service, func(svc Service, name string) int {
		return strings.Compare(svc.Name, name)
	})
	return found
}

// Rated are the names of services that limit rates.
func (s State) Rated() (names []string) {
	for _, svc := range s.Services {
		if svc.Rate != nil {
			names = append(names, svc.Name)
		}
	}
	return names
}

// Unlisted is the fate of packets for ports that no service lists.
type Unlisted string

const (
	UnlistedIgnore Unlisted = "ignore" // left alone: other firewalls and listeners decide
	UnlistedDeny   Unlisted = "deny"   // refused, but for Essentials and replies
)

// Refuse is how a refused packet is answered.
type Refuse string

const (
	RefuseDrop   Refuse = "drop"   // silently
	RefuseReject Refuse = "reject" // TCP reset, ICMP port unreachable
)

// Established is what becomes of running connections whose source is no longer allowed.
type Established string

const (
	EstablishedCut  Established = "cut"  // every packet is looked up; running connections are ended
	EstablishedKeep Established = "keep" // only new connections are looked up
)

// Log says which packets of a service are reported.
type Log string

const (
	LogNone   Log = "none"
	LogDenied Log = "denied" // refused packets, rate-limited per source
	LogAll    Log = "all"    // those, and each accepted new connection
)
