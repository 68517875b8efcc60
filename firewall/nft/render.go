package nft

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables/expr"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/netlink/nftables"
	"github.com/portgrave/portgrave/firewall/pipeline"
	"golang.org/x/sys/unix"
)

// The rules of package pipeline in the words of nf_tables.

// draw makes a chain; service is the one that it serves.
func (c *compiler) draw(ch pipeline.Chain, service string) {
	c.chain(chainName(ch.Name), service, c.render(ch.Rules...)...)
}

// render writes rules. One with a condition or an action that takes several forms is written once
// for each.
func (c *compiler) render(rules ...pipeline.Rule) (out []rule) {
	for _, r := range rules {
		for _, exprs := range pipeline.Forms(r, c.condition, c.action) {
			out = append(out, (&builder{exprs}).end(r.End))
		}
	}
	return out
}

// forms are ways to say something: the expressions of each.
type forms = [][]nftables.Expr

func formsOf(list ...*builder) (out forms) {
	for _, b := range list {
		out = append(out, b.exprs)
	}
	return out
}

// condition is the forms of a condition: a packet meets at most one.
func (c *compiler) condition(when pipeline.Condition) (out forms) {
	b := newRule()
	switch x := when.(type) {
	case pipeline.Fact:
		return c.fact(x)
	case pipeline.ArrivesBy:
		b.iifname(string(x))
	case pipeline.ArrivesThrough:
		// Where it is in a VRF, iifname is the VRF's name, and sdifname its own.
		slave := newRule().meta(nftables.MetaSDIFName, interfaceData(string(x)))
		return formsOf(b.iifname(string(x)), slave)
	case pipeline.LeavesBy:
		b.meta(expr.MetaKeyOIFNAME, interfaceData(string(x)))
	case pipeline.Has:
		b.label(int(x), make([]byte, 16))
	case pipeline.Lacks:
		b.label(int(x), labelBytes(int(x)))
	case pipeline.Only:
		b.family(address.Family(x))
	case pipeline.From:
		b.saddr(familyOf(netip.Prefix(x)), netip.Prefix(x))
	case pipeline.To:
		b.daddr(familyOf(netip.Prefix(x)), netip.Prefix(x))
	case pipeline.DialledAt:
		for _, f := range address.Families {
			if set := addressSet(x.Name, f); x.Addresses.Has(f) {
				out = append(out, formsOf(newRule().originalDaddrIn(f, set),
					newRule().noConnection().daddrIn(f, set))...)
			}
		}
		return out
	case pipeline.Listed:
		if firewall.Protocol(x) == firewall.Ping {
			for _, f := range address.Families {
				out = append(out, newRule().icmpType(f, firewall.EchoRequest(f).Type).exprs)
			}
			return out
		}
		b.l4proto(byte(x))
	case pipeline.Carries:
		b.l4proto(byte(x))
		if f, one := pipeline.VersionOf(firewall.Protocol(x)); one {
			b.family(f)
		}
	case pipeline.Message:
		b.icmpType(x.Family, x.Type)
	case pipeline.UDP:
		b.udp(x.Source, x.Destination)
	case pipeline.OverRate:
		for _, f := range address.Families {
			full := counterName(serviceChain(x.Name), "full", f)
			over, unknown := c.limit(f, rateSet(x.Name, f), full, *x.Rate,
				firewall.RateMemorySize, true)
			out = append(out, formsOf(over, unknown)...)
		}
		return out
	case pipeline.Note: // netlink could carry it, and nobody needs it
	default:
		panic(fmt.Sprintf("nft: no form of condition %T", x))
	}
	return formsOf(b)
}

func (c *compiler) fact(x pipeline.Fact) (out forms) {
	b := newRule()
	switch x {
	case pipeline.FirstPacket:
		// Unlike "ct state new" this doesn't match the next packets of an unanswered UDP flow: ct
		// status lacks IPS_CONFIRMED only until the first packet has passed.
		b.ctBits(expr.CtKeySTATUS, statusConfirmed, expr.CmpOpEq)
	case pipeline.Reply:
		b.direction(directionReply)
	case pipeline.Running:
		b.direction(directionOriginal).ctState(stateEstablished)
	case pipeline.NoConnection:
		b.noConnection()
	case pipeline.Beginning:
		b.ctState(stateInvalid | stateNew | stateUntracked)
	case pipeline.Expected:
		b.ctBits(expr.CtKeySTATUS, statusExpected, expr.CmpOpNeq)
	case pipeline.Translated:
		b.translated()
	case pipeline.Redirected:
		b.translated().direction(directionOriginal)
	case pipeline.ByVRF:
		b.meta(nftables.MetaIIFKind, interfaceData("vrf"))
	case pipeline.FromOwn, pipeline.FromOwnHere, pipeline.ToOwn, pipeline.ToOwnHere:
		b.addressIsLocal(x == pipeline.FromOwn || x == pipeline.FromOwnHere,
			x == pipeline.FromOwnHere || x == pipeline.ToOwnHere)
	case pipeline.ToVirtual:
		for _, f := range address.Families {
			if len(c.state.VirtualIn(f)) > 0 {
				out = append(out, newRule().servedByIPVS(f).exprs)
			}
		}
		return out
	default:
		panic(fmt.Sprintf("nft: no form of fact %d", x))
	}
	return formsOf(b)
}

// action is the forms of an action: all are done.
func (c *compiler) action(do pipeline.Action) (out forms) {
	switch x := do.(type) {
	case pipeline.Label:
		return formsOf(newRule().setLabel(int(x)))
	case pipeline.LogAllowed:
		return formsOf(newRule().log(firewall.LogPrefixAllowed + string(x)))
	case pipeline.CountAllowed:
		return c.countEach(serviceChain(string(x)), "allowed")
	case pipeline.Record:
		if x.Log {
			out = c.logDenied(x.Label)
		}
		return append(out, c.countEach(chainName(x.For), "refused")...)
	}
	panic(fmt.Sprintf("nft: no form of action %T", do))
}

// end ends a rule.
func (b *builder) end(e pipeline.End) rule {
	switch e.Kind {
	case pipeline.GoesOn:
		return b.done()
	case pipeline.GoesTo:
		return b.gotoChain(chainName(e.To))
	case pipeline.Jumps:
		return b.jump(chainName(e.To))
	case pipeline.Return:
		return b.verdict(expr.VerdictReturn, "")
	case pipeline.Accept:
		return b.accept()
	case pipeline.Drop:
		return b.drop()
	case pipeline.Reset:
		return b.add(&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}).done()
	case pipeline.Unreachable: // in ICMP or ICMPv6
		return b.add(&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH,
			Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}).done()
	}
	panic(fmt.Sprintf("nft: no verdict for end %d", e.Kind))
}

// countEach counts the packets of each IP version by itself.
func (c *compiler) countEach(chain, what string) (out forms) {
	for _, f := range address.Families {
		name := counterName(chain, what, f)
		c.counters[name] = counter{}
		out = append(out, newRule().family(f).count(name).exprs)
	}
	return out
}

// logDenied logs refused packets, as many of one source as firewall.DeniedLogRate lets through.
func (c *compiler) logDenied(label string) (out forms) {
	for _, f := range address.Families {
		set := logSet(f)
		within, unknown := c.limit(f, set, counterName(set, "full", f), firewall.DeniedLogRate,
			firewall.LogMemorySize, false)
		out = append(out, formsOf(within.log(firewall.LogPrefixDenied+label), unknown)...)
	}
	return out
}

// limit matches what keeps within a rate, or exceeds it, and what comes from a source that the
// rate's set has no room for. Packets fill the set. While it is full it forgets nobody and learns
// nobody: further sources are refused by a rate, and not logged.
func (c *compiler) limit(f address.Family, name, full string, r firewall.Rate, size uint32,
	over bool) (limited, unknown *builder) {
	spec := specOf(kindDynamic, f)
	spec.Timeout, spec.Size = r.Memory(), size
	c.set(name, &set{family: f, kind: kindDynamic, spec: spec})
	c.counters[full] = counter{}
	return newRule().perSource(f, name, r, over), newRule().notRemembered(f, name, r).count(full)
}
