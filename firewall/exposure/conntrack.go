package exposure

import (
	"github.com/portgrave/portgrave/firewall/address"
)

// tracksConnections reports whether connections of an IP version are tracked. The kernel enables
// conntrack only where something asks for it (nf_ct_netns_get in
// net/netfilter/nf_conntrack_proto.c): a rule that reads or sets something of a connection, or
// translates, in a table that sees the version, dormant or not. A chain of type nat alone doesn't
// ask: it is then never consulted, and its policy drops nothing (tried on Linux 6.18). Other things
// may ask too (Open vSwitch, tc), so without such a rule the answer is Maybe.
func (rs *Ruleset) tracksConnections(v address.Family) Tri {
	for _, t := range rs.Tables {
		if t.Family == FamilyNetdev || !t.Family.Sees(v) {
			continue
		}
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				for _, s := range r.Statements {
					if asksConntrack(s, v) {
						return Yes
					}
				}
			}
		}
	}
	return Maybe
}

func asksConntrack(s Statement, v address.Family) bool {
	switch s := s.(type) {
	case Match:
		return readsConnection(s.Key, 0)
	case VerdictMap:
		return readsConnection(s.Key, 0)
	case Assign:
		return s.To == FieldCTMark || s.To == FieldCTZone || readsConnection(s.Value, 0)
	case Unknown:
		return s.NotStatus != 0
	case SetUpdate:
		return readsConnection(s.Key, 0)
	case NAT:
		// "dnat ip to" in a table of family inet asks for IPv4 only (nft_nat_init in
		// net/netfilter/nft_nat.c).
		return s.Family == FamilyInet || s.Family.Sees(v)
	}
	return false
}

func readsConnection(ops []Operand, depth int) bool {
	for _, o := range ops {
		if o.Field >= FieldCTState && o.Field <= FieldCTReplyDport {
			return true
		}
		if o.Field == FieldMap && o.Lookup != nil && depth < maxNested &&
			readsConnection(o.Lookup.Key, depth+1) {
			return true
		}
	}
	return false
}
