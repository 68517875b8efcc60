package nftjson

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtables"
	"github.com/portgrave/portgrave/firewall/exposure/xtmatch"
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
		r.add(exposure.Unknown{Text: r.withoutOptions(s)})
	case kind == "target":
		r.add(r.xtTarget(s, name))
	default:
		r.add(exposure.Unknown{Text: r.withoutOptions(s), Effect: true})
	}
}

// withoutOptions is an extension whose options the listing omits: see Document.omitted.
func (r *ruleReader) withoutOptions(s any) string {
	r.omits = true
	return text(s)
}

// omissions says where rules have no options, and how to get an answer; nil if they have them.
func (d *Document) omissions() []string {
	var tables, programs []string
	rules := 0
	for _, t := range d.tables {
		n := d.omitted[t]
		if n == 0 {
			continue
		}
		rules += n
		tables = append(tables, t.Family.String()+" "+t.Name)
		program := "iptables-save"
		if t.Family == exposure.FamilyIPv6 {
			program = "ip6tables-save"
		}
		if !slices.Contains(programs, program) {
			programs = append(programs, program)
		}
	}
	if rules == 0 {
		return nil
	}
	count := "1 rule"
	if rules > 1 {
		count = fmt.Sprintf("%d rules", rules)
	}
	return []string{fmt.Sprintf(
		"%s: nft doesn't print the options of %s of iptables-nft (xt match, xt target), in %s, "+
			"so what depends on them is undecided: give what %s prints instead of these tables, "+
			"or run audit on that host",
		d.name, count, strings.Join(tables, ", "), strings.Join(programs, " and "),
	)}
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
		r.omits = true
		o := unknown(s)
		o.Max = exposure.Ones(32)
		return exposure.Assign{To: exposure.FieldMark, Value: []exposure.Operand{o.Operand}}
	case "DNAT", "REDIRECT":
		if r.table.Family == exposure.FamilyIPv4 {
			r.omits = true
			return exposure.NAT{
				Kind:   exposure.NATDestination,
				Family: exposure.FamilyIPv4,
				Addr:   unknownOperand(s, 32),
				Port:   unknownOperand(s, 16),
			}
		}
	}
	if xtables.NoEffect(name) {
		return exposure.NoEffect{Text: text(s), Header: xtmatch.WritesHeader(name)}
	}
	return exposure.Unknown{Text: r.withoutOptions(s), Effect: true}
}
