package nftjson

import (
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtables"
)

// xt translates an extension of iptables-nft: {"xt": {"type": "match", "name": "recent"}}. nft
// omits its options; older versions print null. It is Unknown unless the name alone determines its
// effect.
//
// Only iptables-nft makes such statements. It writes matches first, then a counter, then the
// target, so one without a type that another statement follows is a match.
func (r *ruleReader) xt(s any, args map[string]any, last bool) {
	name := textOf(args["name"])
	switch kind := textOf(args["type"]); {
	case kind == "match" && name == "comment" || kind == "watcher":
		r.add(exposure.NoEffect{Text: text(s)})
	case kind == "match" || kind == "" && !last:
		r.add(exposure.Unknown{Text: r.textWithHint(s)})
	case kind == "target":
		r.add(r.xtTarget(s, name))
	default:
		r.add(exposure.Unknown{Text: r.textWithHint(s), Effect: true})
	}
}

// textWithHint says that the listing omits the options, and which program prints them.
func (r *ruleReader) textWithHint(s any) string {
	program := "iptables-nft-save"
	if r.table.Family == exposure.FamilyIPv6 {
		program = "ip6tables-nft-save"
	}
	return text(s) + " (nft doesn't print its options: give what " + program +
		" prints instead of this table, or run audit on the host)"
}

// xtTarget translates a target whose options aren't known.
func (r *ruleReader) xtTarget(s any, name string) exposure.Statement {
	switch name {
	case "REJECT":
		return exposure.Verdict{Kind: exposure.VerdictReject}
	case "NFQUEUE":
		return exposure.Verdict{Kind: exposure.VerdictQueue}
	case "NOTRACK":
		return exposure.NoTrack{}
	case "MASQUERADE":
		return exposure.NAT{Kind: exposure.NATMasquerade, Family: r.natFamily(nil)}
	case "MARK":
		o := unknown(s)
		o.Max = exposure.Ones(32)
		return exposure.Assign{To: exposure.FieldMark, Value: []exposure.Operand{o.Operand}}
	case "DNAT", "REDIRECT":
		if r.table.Family == exposure.FamilyIPv4 {
			return exposure.NAT{
				Kind:   exposure.NATDestination,
				Family: exposure.FamilyIPv4,
				Addr:   unknownOperand(s, 32),
				Port:   unknownOperand(s, 16),
			}
		}
	}
	if xtables.NoEffect(name) {
		return exposure.NoEffect{Text: text(s)}
	}
	return exposure.Unknown{Text: r.textWithHint(s), Effect: true}
}
