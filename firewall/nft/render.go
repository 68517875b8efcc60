package nft

import (
	"fmt"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/pipeline"
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
		written := []*builder{newRule()}
		for _, when := range r.When {
			written = each(written, c.condition(when))
		}
		if r.Do != nil {
			written = each(written, c.action(r.Do))
		}
		for _, b := range written {
			out = append(out, b.end(r.End))
		}
	}
	return out
}

// each adds each form to each rule.
func each(rules, forms []*builder) (out []*builder) {
	for _, b := range rules {
		for _, form := range forms {
			out = append(out, &builder{slices.Concat(b.exprs, form.exprs)})
		}
	}
	return out
}

// condition is the forms of a condition: a packet meets at most one.
func (c *compiler) condition(when pipeline.Condition) (forms []*builder) {
	b := newRule()
	switch x := when.(type) {
	case pipeline.Fact:
		return c.fact(x)
	case pipeline.ArrivesBy:
		b.iifname(string(x))
	case pipeline.ArrivesThrough:
		return []*builder{b.iifname(string(x)), newRule().slaveName(string(x))}
	case pipeline.LeavesBy:
		b.oifname(string(x))
	case pipeline.Has:
		b.hasLabel(int(x))
	case pipeline.Lacks:
		b.lacksLabel(int(x))
	case pipeline.Only:
		b.family(firewall.Family(x))
	case pipeline.From:
		b.saddr(familyOf(firewall.Prefix(x)), firewall.Prefix(x))
	case pipeline.To:
		b.daddr(familyOf(firewall.Prefix(x)), firewall.Prefix(x))
	case pipeline.DialledAt:
		for _, f := range firewall.Families {
			if set := addressSet(x.Name, f); x.Addresses.Has(f) {
				forms = append(forms, newRule().originalDaddrIn(f, set),
					newRule().noConnection().daddrIn(f, set))
			}
		}
		return forms
	case pipeline.Listed:
		if firewall.Protocol(x) == firewall.Ping {
			for _, f := range firewall.Families {
				forms = append(forms, newRule().icmpType(f, firewall.EchoRequest(f).Type))
			}
			return forms
		}
		b.l4proto(byte(x))
	case pipeline.Carries:
		b.l4proto(byte(x))
	case pipeline.Message:
		b.icmpType(x.Family, x.Type)
	case pipeline.UDP:
		b.udp(x.Source, x.Destination)
	case pipeline.OverRate:
		for _, f := range firewall.Families {
			full := counterName(serviceChain(x.Name), "full", f)
			over, unknown := c.limit(f, rateSet(x.Name, f), full, *x.Rate, firewall.RateMemorySize, true)
			forms = append(forms, over, unknown)
		}
		return forms
	default:
		panic(fmt.Sprintf("nft: no form of condition %T", x))
	}
	return []*builder{b}
}

func (c *compiler) fact(x pipeline.Fact) (forms []*builder) {
	b := newRule()
	switch x {
	case pipeline.FirstPacket:
		b.firstPacket()
	case pipeline.Reply:
		b.reply()
	case pipeline.Running:
		b.original().ctState(stateEstablished)
	case pipeline.NoConnection:
		b.noConnection()
	case pipeline.Beginning:
		b.ctState(stateInvalid | stateNew | stateUntracked)
	case pipeline.Expected:
		b.expected()
	case pipeline.Translated:
		b.translated()
	case pipeline.Redirected:
		b.translated().original()
	case pipeline.ByVRF:
		b.fromVRF()
	case pipeline.FromOwn, pipeline.FromOwnHere, pipeline.ToOwn, pipeline.ToOwnHere:
		b.addressIsLocal(x == pipeline.FromOwn || x == pipeline.FromOwnHere,
			x == pipeline.FromOwnHere || x == pipeline.ToOwnHere)
	case pipeline.ToVirtual:
		for _, f := range firewall.Families {
			if len(c.state.VirtualIn(f)) > 0 {
				forms = append(forms, newRule().servedByIPVS(f))
			}
		}
		return forms
	default:
		panic(fmt.Sprintf("nft: no form of fact %d", x))
	}
	return []*builder{b}
}

// action is the forms of an action, all of which are done.
func (c *compiler) action(do pipeline.Action) (forms []*builder) {
	switch x := do.(type) {
	case pipeline.Label:
		return []*builder{newRule().setLabel(int(x))}
	case pipeline.LogAllowed:
		return []*builder{newRule().log(firewall.LogPrefixAllowed + string(x))}
	case pipeline.CountAllowed:
		return c.countEach(serviceChain(string(x)), "allowed")
	case pipeline.Record:
		if x.Log {
			forms = c.logDenied(x.Label)
		}
		return append(forms, c.countEach(chainName(x.For), "refused")...)
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
		return b.returns()
	case pipeline.Accept:
		return b.accept()
	case pipeline.Drop:
		return b.drop()
	case pipeline.Reset:
		return b.rejectReset()
	case pipeline.Unreachable:
		return b.rejectUnreachable()
	}
	panic(fmt.Sprintf("nft: no verdict for end %d", e.Kind))
}

// countEach counts the packets of each IP version by itself.
func (c *compiler) countEach(chain, what string) (forms []*builder) {
	for _, f := range firewall.Families {
		name := counterName(chain, what, f)
		c.counters[name] = counter{}
		forms = append(forms, newRule().family(f).count(name))
	}
	return forms
}

// logDenied logs refused packets, as many of one source as firewall.DeniedLogRate lets through.
func (c *compiler) logDenied(label string) (forms []*builder) {
	for _, f := range firewall.Families {
		set := logSet(f)
		within, unknown := c.limit(f, set, counterName(set, "full", f), firewall.DeniedLogRate,
			firewall.LogMemorySize, false)
		forms = append(forms, within.log(firewall.LogPrefixDenied+label), unknown)
	}
	return forms
}

// limit matches what keeps within a rate, or exceeds it, and what comes from a source that the
// rate's set has no room for. Packets fill the set. While it is full it forgets nobody and learns
// nobody: further sources are refused by a rate, and not logged.
func (c *compiler) limit(f firewall.Family, name, full string, r firewall.Rate, size uint32,
	over bool) (limited, unknown *builder) {
	spec := specOf(kindDynamic, f)
	spec.Timeout, spec.Size = r.Memory(), size
	c.set(name, &set{family: f, kind: kindDynamic, spec: spec})
	c.counters[full] = counter{}
	return newRule().perSource(f, name, r, over), newRule().notRemembered(f, name, r).count(full)
}
