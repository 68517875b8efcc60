package xtables

import (
	"net/netip"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtmatch"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// noEffect are the targets that let the packet go on as it is, or change what doesn't decide where
// it goes: its TOS, TTL, MSS.
var noEffect = map[string]bool{
	"LOG": true, "NFLOG": true, "ULOG": true, "AUDIT": true, "TRACE": true, "TEE": true, "TCPMSS": true, "TCPOPTSTRIP": true, "CHECKSUM": true,
	"DSCP": true, "TOS": true, "TTL": true, "HL": true, "ECN": true, "CLASSIFY": true, "IDLETIMER": true, "LED": true, "RATEEST": true,
	"SECMARK": true, "CONNSECMARK": true,
}

// NoEffect reports whether a target lets every packet go on as it is, as far as it decides where
// the packet goes: "LOG", "TCPMSS". Readers of nf_tables ask it about iptables-nft's targets.
func NoEffect(target string) bool { return noEffect[target] }

// target translates -j and -g with what belongs to them. nil is a rule without a target, which does
// nothing but count.
func (x *translator) target(e *iptsave.Extension) []exposure.Statement {
	if e == nil {
		return nil
	}
	if x.chain(e.Name) || e.Goto {
		kind := exposure.VerdictJump
		if e.Goto {
			kind = exposure.VerdictGoto
		}
		return one(exposure.Verdict{Kind: kind, Chain: e.Name})
	}
	switch e.Name {
	case "ACCEPT":
		return one(exposure.Verdict{Kind: exposure.VerdictAccept})
	case "DROP":
		return one(exposure.Verdict{Kind: exposure.VerdictDrop})
	case "RETURN":
		return one(exposure.Verdict{Kind: exposure.VerdictReturn})
	case "REJECT":
		return one(reject(e))
	case "QUEUE", "NFQUEUE":
		return one(exposure.Verdict{Kind: exposure.VerdictQueue, With: withoutJump(e)})
	case "MARK":
		return mark(*e)
	case "CONNMARK":
		return connmark(*e)
	case "DNAT", "SNAT", "MASQUERADE", "REDIRECT":
		return x.nat(*e)
	case "NETMAP":
		return x.netmap(*e)
	case "TPROXY":
		return x.tproxy(*e)
	case "CT", "NOTRACK":
		return ct(*e)
	case "SET":
		return x.setUpdate(*e)
	case "HMARK": // a mark made of a hash over the packet
		return one(assignUnknown(exposure.FieldMark, e.String()))
	}
	if noEffect[e.Name] {
		return one(exposure.NoEffect{Text: withoutJump(e), Header: xtmatch.WritesHeader(e.Name)})
	}
	return effect(*e)
}

// isKnownTarget reports whether target has a meaning for a name that is no chain's.
func isKnownTarget(name string) bool {
	switch name {
	case "ACCEPT",
		"DROP",
		"RETURN",
		"REJECT",
		"QUEUE",
		"NFQUEUE",
		"MARK",
		"CONNMARK",
		"DNAT",
		"SNAT",
		"MASQUERADE",
		"REDIRECT",
		"NETMAP",
		"TPROXY",
		"CT",
		"NOTRACK",
		"SET",
		"HMARK",
		// These are known to have any effect.
		"SYNPROXY",
		"CLUSTERIP",
		"DNPT",
		"SNPT":
		return true
	}
	return noEffect[name]
}

func one(s exposure.Statement) []exposure.Statement { return []exposure.Statement{s} }

// effect is an unknown target. SYNPROXY, CLUSTERIP, DNPT and the like end here too.
func effect(e iptsave.Extension) []exposure.Statement {
	return one(exposure.Unknown{Text: e.String(), Effect: true})
}

// withoutJump is the target as it was written, without "-j".
func withoutJump(e *iptsave.Extension) string {
	return strings.TrimPrefix(strings.TrimPrefix(e.String(), "-j "), "--jump ")
}

func reject(e *iptsave.Extension) exposure.Statement {
	v := exposure.Verdict{Kind: exposure.VerdictReject}
	for _, o := range e.Options {
		if o.Name == "--reject-with" {
			v.With = o.Value()
			if v.With == "tcp-reset" {
				v.With = "tcp reset"
			}
		}
	}
	return v
}

// tproxy: net/netfilter/xt_TPROXY.c. Port 0 is the packet's own, the address of zeros the
// interface's.
func (x *translator) tproxy(e iptsave.Extension) []exposure.Statement {
	var port, value, mask uint64
	var address netip.Addr
	for _, o := range e.Options {
		ok := true
		switch o.Name {
		case "--on-port":
			port, ok = parseNumber(o.Value(), 16)
		case "--on-ip":
			address, ok = parseAddress(x.family, o.Value())
		case "--tproxy-mark":
			value, mask, ok = parseMark(o.Value())
		default:
			ok = false
		}
		if !ok {
			return effect(e)
		}
	}
	return xtmatch.TProxy(x.version(), address, uint16(port), uint32(value), uint32(mask))
}

// ct is the targets CT and NOTRACK: net/netfilter/xt_CT.c. Whatever else CT sets, it attaches a
// connection template with a zone, 0 if none is given; a packet that has one is not marked
// untracked by a later rule. So the zone is assigned in every case.
func ct(e iptsave.Extension) []exposure.Statement {
	if e.Name == "NOTRACK" {
		return one(exposure.NoTrack{})
	}
	zone := exposure.Const(exposure.Value{})
	for _, o := range e.Options {
		switch o.Name {
		case "--notrack":
			return one(exposure.NoTrack{})
		case "--zone", "--zone-orig", "--zone-reply":
			if o.Value() == "mark" { // the lower half of the packet's mark (nf_ct_zone_tmpl)
				zone = exposure.Of(exposure.FieldMark).And(exposure.Number(0xffff))
				continue
			}
			n, ok := parseNumber(o.Value(), 16)
			if !ok {
				return effect(e)
			}
			zone = exposure.Const(exposure.Number(n))
		case "--helper", "--ctevents", "--expevents", "--timeout":
		default:
			return effect(e)
		}
	}
	return []exposure.Statement{
		exposure.NoEffect{Text: withoutJump(&e)},
		exposure.Assign{To: exposure.FieldCTZone, Value: []exposure.Operand{zone}},
	}
}

// setUpdate is the target SET: set_target_v3 in net/netfilter/xt_set.c.
func (x *translator) setUpdate(e iptsave.Extension) []exposure.Statement {
	var out []exposure.Statement
	mapped, mapMark := false, false
	for _, o := range e.Options {
		switch o.Name {
		case "--add-set", "--del-set":
			op := exposure.SetAdd
			if o.Name == "--del-set" {
				op = exposure.SetDelete
			}
			updates, ok := x.sets.Update(x.family, o.Values[0], o.Values[1], op)
			if !ok {
				return effect(e)
			}
			out = append(out, updates...)
		case "--map-set": // takes mark, priority, queue from the element, if there is one
			mapped = true
		case "--map-mark":
			mapMark = true
		case "--exist", "--timeout", "--map-prio", "--map-queue":
		default:
			return effect(e)
		}
	}
	if mapped && mapMark {
		out = append(out, assignUnknown(exposure.FieldMark, e.String()))
	}
	if len(out) == 0 || mapped && !mapMark {
		out = append(out, exposure.NoEffect{Text: withoutJump(&e)})
	}
	return out
}
