package exposure

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
	ex "github.com/portgrave/portgrave/firewall/exposure"
)

// effect draws a statement that changes something.
func (g *generator) effect(t *table, b *ex.Base) piece {
	v := uint64(1 + g.IntN(3))
	if f := g.family(t); g.IntN(8) == 0 {
		x := g.prefix(f)
		lookup := ex.Operand{
			Field: ex.FieldMap,
			Lookup: &ex.Lookup{Key: []ex.Operand{ex.Of(sourceField(f))},
				In: &ex.Set{
					Width:     1,
					Keys:      []ex.Range{ex.Prefix(x)},
					Data:      []ex.Value{ex.Number(v)},
					DataWidth: 1,
				}},
		}
		return p(
			fmt.Sprintf("meta mark set %s saddr map { %s : %d }", word(f), x, v),
			append(only(t, f), ex.Assign{To: ex.FieldMark, Value: []ex.Operand{lookup}})...)
	}
	set := func(to ex.Field, o ...ex.Operand) ex.Statement { return ex.Assign{To: to, Value: o} }
	mark, ct := ex.Of(ex.FieldMark), ex.Of(ex.FieldCTMark)
	early := b != nil && b.Hook == ex.HookPrerouting && b.Priority < -200 || t.early()
	switch g.IntN(9) {
	case 8:
		if g.IntN(4) > 0 {
			break
		}
		o := ex.Operand{Field: ex.FieldUnknown, Text: "numgen", Max: ex.Number(1)}
		return p("meta mark set numgen random mod 2", set(ex.FieldMark, o))
	case 0:
		return p(fmt.Sprintf("meta mark set %d", v), set(ex.FieldMark, ex.Const(ex.Number(v))))
	case 1:
		return p(
			fmt.Sprintf("meta mark set meta mark or %d", v),
			set(ex.FieldMark, mark.Or(ex.Number(v))),
		)
	case 2:
		return p(
			fmt.Sprintf("meta mark set meta mark and %d", v),
			set(ex.FieldMark, mark.And(ex.Number(v))),
		)
	case 3:
		return p(
			fmt.Sprintf("meta mark set meta mark xor %d", v),
			set(ex.FieldMark, mark.XorWith(ex.Number(v))),
		)
	}
	if t.early() {
		return p("counter", ex.NoEffect{Text: "counter"})
	}
	switch g.IntN(4) {
	case 0:
		return p(fmt.Sprintf("ct mark set %d", v), set(ex.FieldCTMark, ex.Const(ex.Number(v))))
	case 1:
		return p("ct mark set meta mark", set(ex.FieldCTMark, mark))
	case 2:
		return p("meta mark set ct mark", set(ex.FieldMark, ct))
	}
	if early && !t.early() && g.IntN(3) == 0 {
		return p("ct original zone set 1", set(ex.FieldCTZone, ex.Const(ex.Number(1))))
	}
	if early {
		return p("notrack", ex.NoTrack{})
	}
	if g.IntN(3) == 0 {
		return p("meta mark set ct mark & 1", set(ex.FieldMark, ct.And(ex.Number(1))))
	}
	return p(
		fmt.Sprintf("meta mark set meta mark << %d", v%2+1),
		set(ex.FieldMark, mark.ShiftBy(int(v%2+1))),
	)
}

// verdict draws the end of a rule; "" if it has no verdict.
func (g *generator) verdict(t *table, b *ex.Base, chains []string) piece {
	simple := func(k ex.VerdictKind) piece { return p(k.String(), ex.Verdict{Kind: k}) }
	switch n := g.IntN(12); {
	case n < 3:
		return simple(ex.VerdictAccept)
	case n < 6:
		return simple(ex.VerdictDrop)
	case n == 6:
		return simple(ex.VerdictReturn)
	case n == 7 && b != nil && (b.Hook == ex.HookInput || b.Hook == ex.HookForward || b.Hook == ex.HookPrerouting) && b.Type == ex.TypeFilter:
		return p("reject", ex.Verdict{Kind: ex.VerdictReject})
	case n <= 9 && len(chains) > 0:
		to := pick(g, chains...)
		if g.IntN(3) == 0 {
			return p("goto "+to, ex.Verdict{Kind: ex.VerdictGoto, Chain: to})
		}
		return p("jump "+to, ex.Verdict{Kind: ex.VerdictJump, Chain: to})
	case n == 10:
		return g.vmap(t, chains)
	case n == 11 && g.proxies && b != nil && b.Hook == ex.HookPrerouting && b.Type == ex.TypeFilter:
		return g.proxied(t)
	}
	return g.effect(t, b)
}

func (g *generator) vmap(t *table, chains []string) piece {
	f := g.family(t)
	verdict := func() (string, ex.Verdict) {
		if len(chains) > 0 && g.IntN(2) == 0 {
			to := pick(g, chains...)
			return "jump " + to, ex.Verdict{Kind: ex.VerdictJump, Chain: to}
		}
		k := pick(g, ex.VerdictAccept, ex.VerdictDrop, ex.VerdictContinue, ex.VerdictReturn)
		return k.String(), ex.Verdict{Kind: k}
	}
	set := &ex.Set{Width: 1}
	var elements []string
	if g.IntN(3) == 0 {
		for _, x := range []uint64{80, 8080} {
			s, v := verdict()
			set.Keys, set.Verdicts = append(set.Keys, number(x)), append(set.Verdicts, v)
			elements = append(elements, fmt.Sprintf("%d : %s", x, s))
		}
		return p(
			"th dport vmap { "+strings.Join(elements, ", ")+" }",
			ex.VerdictMap{Key: []ex.Operand{ex.Of(ex.FieldDport)}, In: set},
		)
	}
	if g.IntN(5) == 0 {
		for x := range uint64(2) {
			s, v := verdict()
			set.Keys, set.Verdicts = append(set.Keys, number(x)), append(set.Verdicts, v)
			elements = append(elements, fmt.Sprintf("%d : %s", x, s))
		}
		return p(
			"numgen random mod 2 vmap { "+strings.Join(elements, ", ")+" }",
			ex.VerdictMap{
				Key: []ex.Operand{
					{Field: ex.FieldUnknown, Text: "numgen random mod 2", Max: ex.Number(1)},
				},
				In: set,
			},
		)
	}
	text, list := g.ranges(f, 1+g.IntN(3))
	for i, r := range list {
		s, v := verdict()
		set.Keys, set.Verdicts = append(set.Keys, r), append(set.Verdicts, v)
		elements = append(elements, text[i]+" : "+s)
	}
	if g.IntN(4) == 0 && !strings.Contains(strings.Join(elements, ""), "/1 ") {
		s, v := verdict()
		set.Verdicts, set.Default = append(set.Verdicts, v), true
		elements = append(elements, "* : "+s)
	}
	return p(
		word(f)+" saddr vmap { "+strings.Join(elements, ", ")+" }",
		append(only(t, f), ex.VerdictMap{Key: []ex.Operand{ex.Of(sourceField(f))}, In: set})...)
}

// translation draws a statement of NAT.
func (g *generator) translation(t *table) piece {
	f := g.family(t)
	family := map[address.Family]ex.Family{
		address.IPv4: ex.FamilyIPv4,
		address.IPv6: ex.FamilyIPv6,
	}[f]
	proto, pw := g.protocol()
	s := []ex.Statement{ex.In(ex.Of(ex.FieldProtocol), number(uint64(proto)))}
	port := pick(g, ports...)
	po := ex.Const(ex.Number(port))
	d := g.dest(f)
	addr := ex.Const(ex.Address(d))
	w := word(f)
	to := w + " to"
	if t.family != ex.FamilyInet {
		to = "to"
	} else {
		s = append(s, ex.Only(f))
	}
	nf := ""
	if t.family == ex.FamilyInet {
		nf = fmt.Sprintf("meta nfproto %s ", f)
	}
	if g.IntN(3) == 0 {
		kind, text, n := g.rareTranslation(t)
		if kind == "redirect" {
			return p(fmt.Sprintf("meta l4proto %s %sredirect to %s", pw, nf, text), append(s, n)...)
		}
		n.Family = family
		return p(fmt.Sprintf("meta l4proto %s %sdnat %s %s", pw, nf, to, text), append(s, n)...)
	}
	switch g.IntN(5) {
	case 0:
		return p(
			fmt.Sprintf("meta l4proto %s %sredirect to :%d", pw, nf, port),
			append(s, ex.NAT{Kind: ex.NATRedirect, Family: ex.FamilyInet, Port: &po})...)
	case 1:
		return p(
			fmt.Sprintf("meta l4proto %s %sdnat %s %s", pw, nf, to, d),
			append(s, ex.NAT{Family: family, Addr: &addr})...)
	case 2:
		last := ex.Const(ex.Number(81))
		first := ex.Const(ex.Number(80))
		return p(
			fmt.Sprintf("meta l4proto %s %sdnat %s %s", pw, nf, to, endpointText(d, "80-81")),
			append(s, ex.NAT{Family: family, Addr: &addr, Port: &first, PortMax: &last})...)
	case 3:
		x := g.prefix(f)
		lookup := ex.Operand{
			Field: ex.FieldMap,
			Lookup: &ex.Lookup{Key: []ex.Operand{ex.Of(sourceField(f))},
				In: &ex.Set{
					Width:     1,
					Keys:      []ex.Range{ex.Prefix(x)},
					Data:      []ex.Value{ex.Address(d)},
					DataWidth: 1,
				}},
		}
		return p(
			fmt.Sprintf("meta l4proto %s %sdnat %s %s saddr map { %s : %s }", pw, nf, to, w, x, d),
			append(s, ex.NAT{Family: family, Addr: &lookup})...)
	}
	return p(
		fmt.Sprintf("meta l4proto %s %sdnat %s %s", pw, nf, to, endpointText(d, fmt.Sprint(port))),
		append(s, ex.NAT{Family: family, Addr: &addr, Port: &po})...)
}

func endpointText(a netip.Addr, port string) string {
	if a.Is6() {
		return "[" + a.String() + "]:" + port
	}
	return a.String() + ":" + port
}
