package exposure

import (
	"net/netip"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// Host is what the kernel knows besides rules and uses to decide where a packet goes. It is plain
// data, filled by package hostview or by a test.
//
// A nil *Host stands for a ruleset read from a file: see Question.
type Host struct {
	Interfaces []Interface
	// Routes of all tables (local and main included), both families.
	Routes []Route
	// Rules of policy routing, ordered by priority, both families. Without any, the kernel looks in
	// the tables local, main and default.
	Rules []RoutingRule
	// All is net.ipv4.conf.all and net.ipv6.conf.all.
	All InterfaceSysctls
	// IPForward is net.ipv4.ip_forward. (IPv6's is All.Forwarding6.)
	IPForward bool
	// BridgeCallIPTables, BridgeCallIP6Tables: net.bridge.bridge-nf-call-*: bridged packets meet
	// the IP hooks too.
	BridgeCallIPTables, BridgeCallIP6Tables bool
	// TCPMarkAccept is net.ipv4.tcp_fwmark_accept: the answer to a SYN has the SYN's mark.
	// MarkReflect4 and MarkReflect6 are net.ipv4.fwmark_reflect and net.ipv6.fwmark_reflect: the
	// answer to a ping has the ping's mark.
	TCPMarkAccept, MarkReflect4, MarkReflect6 bool
	// NobodyAt reports whether no socket of the host takes packets for an address and port by an
	// interface, so that a rule that hands them to a transparent proxy there doesn't hold. nil: who
	// listens isn't known.
	NobodyAt func(p firewall.Protocol, at netip.AddrPort, iface string) bool
}

// Interface is a network interface.
type Interface struct {
	Name  string
	Index int
	Up    bool
	// NoCarrier: it is up, and nothing is connected to it: a bridge without a port that is up, say.
	// The kernel drops what is sent by it.
	NoCarrier bool
	Loopback  bool
	// NoNeighbours: it leads to one host, or to hosts that aren't looked for (IFF_POINTOPOINT,
	// IFF_NOARP), so that neither ARP nor neighbour discovery is used.
	NoNeighbours bool
	// Ethernet: packets from it have MAC addresses.
	Ethernet bool
	Kind     string // "veth", "bridge", "vrf", "vlan", …; "" for hardware
	Group    uint32
	Master   int // index of the bridge, bond or VRF it belongs to; 0 if none
	// Link is the index of the interface that it is connected to or built on: a veth's other end;
	// 0 if none. LinkElsewhere: that is in another namespace.
	Link          int
	LinkElsewhere bool
	// Hairpin: a port of a bridge that sends packets back where they came from.
	Hairpin  bool
	VRFTable uint32
	// Addresses with their prefix lengths, in the kernel's order. Redirect and tproxy take the
	// first of a family.
	Addresses []netip.Prefix
	// Tentative are those of Addresses that the kernel still looks for duplicates of (RFC 4862 §5.4):
	// no route makes them local until it has found none.
	Tentative []netip.Addr
	// HostScope are the IPv4 addresses of scope host, for which ARP may not answer (arp_ignore 3).
	HostScope []netip.Addr
	Sysctls   InterfaceSysctls
}

// InterfaceSysctls are an interface's own values, or those of conf.all. Host's methods combine the
// two.
type InterfaceSysctls struct {
	RPFilter      int  // 0 off, 1 strict, 2 loose; IPv4
	AcceptLocal   bool // IPv4
	RouteLocalnet bool // IPv4
	SrcValidMark  bool // IPv4: rp_filter's look-up uses the packet's mark
	ARPIgnore     int  // which of the host's addresses ARP answers for
	ARPFilter     bool // ARP answers where the route to the asking host leads out again
	Forwarding4   bool
	Forwarding6   bool
	DisableIPv6   bool
}

// Route is an entry of a routing table.
type Route struct {
	Table    uint32 // 254 main, 255 local, 253 default
	Type     RouteType
	Dest     netip.Prefix
	Source   netip.Prefix // IPv6 source routing; the zero Prefix: any
	TOS      uint8
	Metric   uint32
	NextHops []NextHop // several: multipath, any of them
}

// NextHop is where a route leads.
type NextHop struct {
	Index   int // outgoing interface; 0 if none
	Gateway netip.Addr
	Dead    bool // RTNH_F_DEAD or RTNH_F_LINKDOWN with ignore_routes_with_linkdown: not used
}

// RouteType is RTN_* (include/uapi/linux/rtnetlink.h), and the value of FibType.
type RouteType uint8

const (
	RouteUnspec      RouteType = 0
	RouteUnicast     RouteType = 1
	RouteLocal       RouteType = 2
	RouteBroadcast   RouteType = 3
	RouteAnycast     RouteType = 4
	RouteMulticast   RouteType = 5
	RouteBlackhole   RouteType = 6
	RouteUnreachable RouteType = 7
	RouteProhibit    RouteType = 8
	RouteThrow       RouteType = 9
	RouteNAT         RouteType = 10
)

// RoutingRule is a rule of policy routing (ip rule).
type RoutingRule struct {
	Family         address.Family
	Priority       uint32
	Not            bool
	Source, Dest   netip.Prefix // the zero Prefix: any
	In, Out        string       // "": any
	Mark, MarkMask uint32
	Protocol       uint8 // 0: any
	Dport, Sport   Range // the zero Range: any
	Action         RuleAction
	Table          uint32 // RuleTable
	Target         uint32 // RuleGoto: the priority to go on at
	// SuppressPrefixLength: results with a prefix of this length or shorter don't count; −1: all
	// count.
	SuppressPrefixLength int
	// L3MDev: the rule uses the table of the packet's VRF.
	L3MDev bool
	// Unknown is what else the rule asks for (TOS, source port, user, tunnel), so that it may apply
	// or not; "" for nothing.
	Unknown string
}

// RuleAction is what a routing rule does with what it matches: FR_ACT_*
// (include/uapi/linux/fib_rules.h).
type RuleAction uint8

const (
	RuleTable       RuleAction = 1
	RuleGoto        RuleAction = 2
	RuleNop         RuleAction = 3
	RuleBlackhole   RuleAction = 6
	RuleUnreachable RuleAction = 7
	RuleProhibit    RuleAction = 8
)

// Interface finds an interface by name. It is nil if there is none, and for a nil Host.
func (h *Host) Interface(name string) *Interface {
	if h == nil {
		return nil
	}
	if i := slices.IndexFunc(h.Interfaces, func(i Interface) bool { return i.Name == name }); i >= 0 {
		return &h.Interfaces[i]
	}
	return nil
}

// ByIndex finds an interface by its index.
func (h *Host) ByIndex(index int) *Interface {
	if h == nil {
		return nil
	}
	if i := slices.IndexFunc(h.Interfaces, func(i Interface) bool { return i.Index == index }); i >= 0 {
		return &h.Interfaces[i]
	}
	return nil
}

// Owns reports whether an address is one of the host's own.
func (h *Host) Owns(a netip.Addr) bool {
	if h == nil {
		return false
	}
	return slices.ContainsFunc(h.Interfaces, func(i Interface) bool {
		return slices.ContainsFunc(
			i.Addresses,
			func(p netip.Prefix) bool { return p.Addr().WithZone("") == a.WithZone("") },
		)
	})
}

// RPFilter is the mode in force on an interface: the higher of its own and conf.all's
// (IN_DEV_MAXCONF, include/linux/inetdevice.h).
func (h *Host) RPFilter(i *Interface) int { return max(h.All.RPFilter, i.Sysctls.RPFilter) }

// AcceptLocal reports whether the host takes packets from its own addresses: if either is set
// (IN_DEV_ORCONF).
func (h *Host) AcceptLocal(i *Interface) bool { return h.All.AcceptLocal || i.Sysctls.AcceptLocal }

// RouteLocalnet reports whether 127.0.0.0/8 is routed: if either is set (IN_DEV_NET_ORCONF).
func (h *Host) RouteLocalnet(i *Interface) bool {
	return h.All.RouteLocalnet || i.Sysctls.RouteLocalnet
}

// ARPIgnore is the mode in force on an interface: the higher of its own and conf.all's
// (IN_DEV_ARP_IGNORE).
func (h *Host) ARPIgnore(i *Interface) int { return max(h.All.ARPIgnore, i.Sysctls.ARPIgnore) }

// ARPFilter reports whether ARP looks at routes: if either is set (IN_DEV_ARPFILTER).
func (h *Host) ARPFilter(i *Interface) bool { return h.All.ARPFilter || i.Sysctls.ARPFilter }

// SrcValidMark reports whether rp_filter's look-up uses the packet's mark: if either is set
// (IN_DEV_SRC_VMARK).
func (h *Host) SrcValidMark(
	i *Interface,
) bool {
	return h.All.SrcValidMark || i.Sysctls.SrcValidMark
}

// Forwards reports whether packets that come in on an interface are forwarded. IPv4 asks the
// interface (IN_DEV_FORWARD), and ip_forward sets that on all interfaces; IPv6 asks conf.all
// (ip6_forward in net/ipv6/ip6_output.c).
func (h *Host) Forwards(i *Interface, f address.Family) bool {
	if f == address.IPv6 {
		return h.All.Forwarding6
	}
	return i.Sysctls.Forwarding4
}

// Gateways are the next hops of the routes that may lead to an address by an interface: the most
// specific ones of each table. A route without a gateway has the zero Addr. If the interface isn't
// known, all count.
func (h *Host) Gateways(out string, to netip.Addr) (gateways []netip.Addr) {
	type best struct {
		bits int
		hops []NextHop
	}
	tables := map[uint32]best{}
	for _, r := range h.Routes {
		if r.Type != RouteUnicast || !r.Dest.Contains(to) {
			continue
		}
		have, ok := tables[r.Table]
		for _, n := range r.NextHops {
			on := h.ByIndex(n.Index)
			if n.Dead || out != "" && (on == nil || on.Name != out) {
				continue
			}
			switch {
			case !ok || r.Dest.Bits() > have.bits:
				have, ok = best{r.Dest.Bits(), []NextHop{n}}, true
			case r.Dest.Bits() == have.bits:
				have.hops = append(have.hops, n)
			}
		}
		if ok {
			tables[r.Table] = have
		}
	}
	for _, b := range tables {
		for _, n := range b.hops {
			if !slices.Contains(gateways, n.Gateway) {
				gateways = append(gateways, n.Gateway)
			}
		}
	}
	slices.SortFunc(gateways, netip.Addr.Compare)
	return gateways
}

// OnDevice reports whether a chain of hook ingress or egress is hooked to a device.
func (b *Base) OnDevice(name string) bool {
	return slices.ContainsFunc(b.Devices, func(d string) bool {
		if n := len(d); n > 0 && d[n-1] == '*' {
			return len(name) >= n-1 && name[:n-1] == d[:n-1]
		}
		return d == name
	})
}
