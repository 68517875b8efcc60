package nftjson

import (
	"github.com/portgrave/portgrave/firewall/exposure"
)

// noEffect are statements that change nothing about where a first packet goes.
var noEffect = map[string]bool{
	"counter": true, "log": true, "dup": true, "flow": true, "last": true, "ct helper": true,
	"ct timeout": true, "ct expectation": true,
	"secmark": true, "tunnel": true, "comment": true, "reset": true, "optstrip": true,
}

// unknownMatches are statements that hold or not, depending on what can't be known.
var unknownMatches = map[string]bool{
	"limit":     true,
	"quota":     true,
	"ct count":  true,
	"connlimit": true,
}

// statement translates one statement of a rule. last: it is the rule's last.
func (r *ruleReader) statement(s map[string]any, last bool) {
	if v, ok := verdictOf(s); ok {
		r.add(v)
		return
	}
	if len(s) != 1 {
		r.add(exposure.Unknown{Text: text(s), Effect: true})
		return
	}
	for name, body := range s {
		args, _ := body.(map[string]any)
		switch {
		case name == "match":
			r.match(s, args)
		case name == "vmap":
			r.verdictMap(s, args)
		case name == "mangle":
			r.mangle(s, args)
		case name == "snat" || name == "dnat" || name == "masquerade" || name == "redirect":
			r.nat(name, args)
		case name == "tproxy":
			r.tproxy(args)
		case name == "reject":
			r.reject(args)
		case name == "queue":
			r.add(exposure.Verdict{Kind: exposure.VerdictQueue, With: text(args["num"])})
		case name == "fwd":
			r.add(exposure.Verdict{Kind: exposure.VerdictStolen, With: text(args["dev"])})
		case name == "notrack":
			r.add(exposure.NoTrack{})
		case name == "set" || name == "map":
			r.update(s, args[name], args)
		case name == "meter":
			r.meter(s, args)
		case name == "xt":
			r.xt(s, args, last)
		case name == "quota" && isNoByte(args):
			// Any packet is more than no byte (nft_overquota in net/netfilter/nft_quota.c).
			if args["inv"] == true {
				r.add(exposure.NoEffect{Text: text(s)})
			} else {
				r.add(exposure.In(exposure.Const(exposure.Value{})))
			}
		case unknownMatches[name]:
			r.add(exposure.Unknown{Text: text(s), Rate: rateOf(s)})
		case noEffect[name]:
			r.add(exposure.NoEffect{Text: text(s)})
		default: // synproxy, and statements newer than this reader
			r.add(exposure.Unknown{Text: text(s), Effect: true})
		}
	}
}

// isNoByte reports whether a quota is of 0 bytes.
func isNoByte(quota map[string]any) bool { return text(quota["val"]) == "0" }

// verdictOf reads {"accept": null}, {"jump": {"target": "x"}}, as a statement or in a map.
func verdictOf(m map[string]any) (exposure.Verdict, bool) {
	if len(m) != 1 {
		return exposure.Verdict{}, false
	}
	for name, body := range m {
		switch name {
		case "accept":
			return exposure.Verdict{Kind: exposure.VerdictAccept}, true
		case "drop":
			return exposure.Verdict{Kind: exposure.VerdictDrop}, true
		case "continue":
			return exposure.Verdict{Kind: exposure.VerdictContinue}, true
		case "return":
			return exposure.Verdict{Kind: exposure.VerdictReturn}, true
		case "jump", "goto":
			args, _ := body.(map[string]any)
			kind := exposure.VerdictJump
			if name == "goto" {
				kind = exposure.VerdictGoto
			}
			return exposure.Verdict{Kind: kind, Chain: textOf(args["target"])}, true
		}
	}
	return exposure.Verdict{}, false
}

func (r *ruleReader) verdictMap(s any, args map[string]any) {
	key, in, _ := r.lookup(args)
	if in == nil || in.Width != len(key) ||
		in.Unknown == "" && in.Len() > 0 && len(in.Verdicts) == 0 {
		r.add(exposure.Unknown{Text: text(s), Effect: true})
		return
	}
	r.add(exposure.VerdictMap{Key: key, In: in})
}

// reject restores the implied match: an ICMP error implies its IP version, a reset implies TCP.
func (r *ruleReader) reject(args map[string]any) {
	kind := textOf(args["type"])
	switch kind {
	case "icmp":
		r.addImplied(exposure.FamilyIPv4, -1)
	case "icmpv6":
		r.addImplied(exposure.FamilyIPv6, -1)
	case "tcp reset":
		r.addImplied(exposure.FamilyUnspec, 6)
	}
	with := kind
	if args["expr"] != nil {
		with += " " + text(args["expr"])
	}
	r.add(exposure.Verdict{Kind: exposure.VerdictReject, With: with})
}

// update translates "add @s { … }", for sets and maps: {"set": {"op", "elem", "set": "@s",
// "stmt"}}.
func (r *ruleReader) update(s, name any, args map[string]any) {
	op, known := map[string]exposure.SetOp{"add": exposure.SetAdd, "update": exposure.SetAdd, "delete": exposure.SetDelete}[textOf(args["op"])]
	target := textOf(name)
	var in *set
	if len(target) > 1 {
		in = r.table.sets[target[1:]]
	}
	key := r.key(args["elem"])
	if in == nil && len(target) > 1 {
		r.missing(target[1:])
	}
	if in == nil || !known {
		r.add(exposure.Unknown{Text: text(s), Effect: true})
		return
	}
	r.addUpdate(in, op, key, conditionOf(statementsOf(args["stmt"])))
}

func (r *ruleReader) addUpdate(in *set, op exposure.SetOp, key []read, asks condition) {
	if asks.text == "" && op == exposure.SetAdd {
		asks = in.condition // the set's own statements apply where the rule has none
	}
	r.add(exposure.SetUpdate{
		Set:          in.model,
		Op:           op,
		Key:          operandsOf(key),
		Condition:    asks.text,
		Rate:         asks.rate,
		EndsWhenFull: op == exposure.SetAdd,
	})
}

func statementsOf(v any) []map[string]any {
	var out []map[string]any
	for _, x := range listOf(v) {
		if m, ok := x.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// meter is the old form of an update, with a set of the rule's own.
func (r *ruleReader) meter(s any, args map[string]any) {
	key := r.key(args["key"])
	name := textOf(args["name"])
	in := r.table.sets[name]
	if in == nil {
		in = &set{
			model: &exposure.Set{
				Name:    name,
				Width:   len(key),
				Unknown: "the elements of a meter aren't in the listing",
			},
		}
	}
	size, _ := intOf(args["size"])
	in.model.Size = max(in.model.Size, size)
	r.addUpdate(in, exposure.SetAdd, key, conditionOf(statementsOf(args["stmt"])))
}
