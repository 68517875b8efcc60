package exposure

import (
	"cmp"
	"math"
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
)

// Family is the family of a table: the kernel's NFPROTO_* numbers (include/uapi/linux/netfilter.h).
type Family uint8

const (
	FamilyUnspec Family = 0
	FamilyInet   Family = 1 // IPv4 and IPv6
	FamilyIPv4   Family = 2
	FamilyARP    Family = 3 // kept, but never sees an IP packet: see walk.linkRules
	FamilyNetdev Family = 5
	// FamilyBridge is kept. It matters only to packets that come in by a bridge, or leave by one:
	// they pass one of its ports, and every bridge chain that isn't empty is an unknown effect.
	FamilyBridge Family = 7
	FamilyIPv6   Family = 10
)

func (f Family) String() string {
	switch f {
	case FamilyInet:
		return "inet"
	case FamilyIPv4:
		return "ip"
	case FamilyARP:
		return "arp"
	case FamilyNetdev:
		return "netdev"
	case FamilyBridge:
		return "bridge"
	case FamilyIPv6:
		return "ip6"
	}
	return "unspec"
}

// ParseFamily reads nft's word for a family; false for any other word.
func ParseFamily(s string) (Family, bool) {
	for _, f := range []Family{FamilyInet, FamilyIPv4, FamilyARP, FamilyNetdev, FamilyBridge, FamilyIPv6} {
		if f.String() == s {
			return f, true
		}
	}
	return FamilyUnspec, false
}

// Sees reports whether chains of the family see packets of an IP version.
func (f Family) Sees(v address.Family) bool {
	switch f {
	case FamilyInet, FamilyNetdev:
		return true
	case FamilyIPv4:
		return v == address.IPv4
	case FamilyIPv6:
		return v == address.IPv6
	}
	return false
}

// Hook is a place in the kernel's packet path where chains are called.
type Hook uint8

const (
	HookIngress Hook = iota // family netdev or inet, of named devices
	HookPrerouting
	HookInput
	HookForward
	HookOutput // for answers only
	HookPostrouting
	HookEgress // family netdev, of named devices
)

var hookNames = []string{
	"ingress", "prerouting", "input", "forward", "output", "postrouting", "egress",
}

func (h Hook) String() string {
	if int(h) < len(hookNames) {
		return hookNames[h]
	}
	return "unknown"
}

// ParseHook reads nft's word for a hook; false for any other word.
func ParseHook(s string) (Hook, bool) {
	i := slices.Index(hookNames, s)
	return Hook(max(i, 0)), i >= 0
}

// ChainType is the type of a base chain.
type ChainType uint8

const (
	TypeFilter ChainType = iota
	// TypeNAT chains see the first packet of a connection only, never an untracked one, and don't
	// run at their own priority: see Base.Priority. Where nothing asks for connection tracking,
	// they do nothing at all, their policy included: see Ruleset.tracksConnections.
	TypeNAT
	// TypeRoute is a filter chain at output. A packet that it changes is routed again. It matters
	// for answers only.
	TypeRoute
)

var typeNames = []string{"filter", "nat", "route"}

func (t ChainType) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "unknown"
}

// ParseChainType reads nft's word for a chain type; false for any other word.
func ParseChainType(s string) (ChainType, bool) {
	i := slices.Index(typeNames, s)
	return ChainType(max(i, 0)), i >= 0
}

// Priorities at a hook: enum nf_ip_hook_priorities (include/uapi/linux/netfilter_ipv4.h; IPv6 has
// the same numbers). Legacy x_tables uses them too, so both systems merge into one order.
const (
	// NF_IP_PRI_RAW_BEFORE_DEFRAG: raw with the module parameter raw_before_defrag
	PriorityRawBeforeDefrag = -450
	PriorityDefrag          = -400 // NF_IP_PRI_CONNTRACK_DEFRAG
	PriorityRaw             = -300 // NF_IP_PRI_RAW
	PrioritySELinuxFirst    = -225 // NF_IP_PRI_SELINUX_FIRST
	PriorityConntrack       = -200 // NF_IP_PRI_CONNTRACK: chains below it find no connection
	PriorityMangle          = -150 // NF_IP_PRI_MANGLE
	PriorityNATDestination  = -100 // NF_IP_PRI_NAT_DST: prerouting and output
	PriorityFilter          = 0    // NF_IP_PRI_FILTER
	PrioritySecurity        = 50   // NF_IP_PRI_SECURITY
	PriorityNATSource       = 100  // NF_IP_PRI_NAT_SRC: input and postrouting
	PriorityConfirm         = math.MaxInt32
)

// Base is how a base chain is hooked in.
type Base struct {
	Type ChainType
	Hook Hook
	// Priority orders the chains of a hook, lowest first, across tables, families and both systems.
	//
	// TypeNAT chains are the exception. The kernel has one NAT hook for each hook, at
	// PriorityNATDestination (prerouting, output) or PriorityNATSource (input, postrouting), and
	// all nat chains run inside it, in the order of their own priorities, whatever these are: one
	// written with priority 50 still runs at −100 (net/netfilter/nf_nat_core.c, nf_nat_register_fn;
	// tried on Linux 6.18). The first chain that sets up a translation, even one without effect,
	// ends the hook: the others aren't consulted.
	Priority int32
	// Policy is the verdict at the chain's end: VerdictAccept or VerdictDrop.
	Policy VerdictKind
	// Devices of HookIngress and HookEgress; empty elsewhere. A name may end in "*". The chain runs
	// only for packets of these devices.
	Devices []string
	// Rank orders chains of the same priority: lower runs first. The kernel puts the chain that was
	// registered LAST first (nf_hook_entries_grow in net/netfilter/core.c; tried on Linux 6.18). A
	// reader numbers chains in the order of the kernel's hook dump (nfnetlink_hook) or, without
	// one, backwards from the order of the ruleset's dump.
	Rank int
	// RankKnown: Rank comes from the kernel's hook dump. Where chains have one priority, a rank
	// isn't known and the order makes a difference, the evaluator tries both orders.
	RankKnown bool
}

// xtables are the tables of x_tables: where each is hooked (valid_hooks in
// net/ipv4/netfilter/iptable_*.c, ip6table_*.c).
var xtables = map[string]struct {
	chainType ChainType
	hooks     map[string]int32 // built-in chain → priority
}{
	"raw": {TypeFilter, map[string]int32{"PREROUTING": PriorityRaw, "OUTPUT": PriorityRaw}},
	"mangle": {
		TypeFilter,
		map[string]int32{
			"PREROUTING":  PriorityMangle,
			"INPUT":       PriorityMangle,
			"FORWARD":     PriorityMangle,
			"OUTPUT":      PriorityMangle,
			"POSTROUTING": PriorityMangle,
		},
	},
	"nat": {
		TypeNAT,
		map[string]int32{"PREROUTING": PriorityNATDestination, "INPUT": PriorityNATSource,
			"OUTPUT": PriorityNATDestination, "POSTROUTING": PriorityNATSource},
	},
	"filter": {
		TypeFilter,
		map[string]int32{
			"INPUT":   PriorityFilter,
			"FORWARD": PriorityFilter,
			"OUTPUT":  PriorityFilter,
		},
	},
	"security": {
		TypeFilter,
		map[string]int32{
			"INPUT":   PrioritySecurity,
			"FORWARD": PrioritySecurity,
			"OUTPUT":  PrioritySecurity,
		},
	},
}

var xtablesHooks = map[string]Hook{
	"PREROUTING":  HookPrerouting,
	"INPUT":       HookInput,
	"FORWARD":     HookForward,
	"OUTPUT":      HookOutput,
	"POSTROUTING": HookPostrouting,
}

// XTablesBase is where x_tables hooks a built-in chain. It is nil for a user chain and for an
// unknown table.
func XTablesBase(table, chain string, policy VerdictKind) *Base {
	priority, ok := xtables[table].hooks[chain]
	if !ok {
		return nil
	}
	return &Base{
		Type:     xtables[table].chainType,
		Hook:     xtablesHooks[chain],
		Priority: priority,
		Policy:   policy,
	}
}

// Order lists the base chains that packets of an IP version meet at a hook, in the order in which
// the kernel runs them: by effective priority, then nat chains by their own, then by rank. Chains
// of dormant tables are left out. Chains of any device are included, since the device depends on
// the packet.
//
// The kernel's own hooks (conntrack, NAT) have no rank. What a chain at PriorityConntrack reads of
// the connection is unknown. Where a filter chain has the priority of the NAT hook, NAT is listed
// first and the evaluator tries both orders.
func (rs *Ruleset) Order(hook Hook, v address.Family) []*Chain {
	var chains []*Chain
	for _, t := range rs.Tables {
		if t.Dormant || !t.Family.Sees(v) {
			continue
		}
		for _, c := range t.Chains {
			if c.Base != nil && c.Base.Hook == hook {
				chains = append(chains, c)
			}
		}
	}
	slices.SortStableFunc(chains, func(a, b *Chain) int {
		return cmp.Or(
			cmp.Compare(a.Base.EffectivePriority(), b.Base.EffectivePriority()),
			-cmp.Compare(a.Base.Type&TypeNAT, b.Base.Type&TypeNAT),
			cmp.Compare(a.Base.Priority, b.Base.Priority),
			cmp.Compare(a.Base.Rank, b.Base.Rank))
	})
	return chains
}

// EffectivePriority is the priority at which the chain runs: the NAT hook's for a nat chain.
func (b *Base) EffectivePriority() int32 {
	switch {
	case b.Type != TypeNAT:
		return b.Priority
	case b.Hook == HookPrerouting || b.Hook == HookOutput:
		return PriorityNATDestination
	}
	return PriorityNATSource
}
