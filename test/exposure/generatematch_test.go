package exposure

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	ex "github.com/portgrave/portgrave/firewall/exposure"
)

// match draws one condition of nft.
func (g *generator) match(t *table, b *ex.Base) piece {
	f := g.family(t)
	w := word(f)
	if g.IntN(4) == 0 {
		return g.rare(t, b)
	}
	if g.IntN(12) == 0 {
		return g.sendersChoice(t)
	}
	n := g.IntN(24)
	if t.early() && n >= 17 && n <= 20 {
		n = 0
	}
	switch n {
	case 0, 1, 2, 3, 4:
		x := g.prefix(f)
		m, not := g.in(ex.Of(sourceField(f)), ex.Prefix(x))
		return p(w+" saddr "+not+x.String(), append(only(t, f), m)...)
	case 5, 6:
		text, list := g.ranges(f, 1+g.IntN(3))
		m, not := g.in(ex.Of(sourceField(f)), list...)
		if g.IntN(2) == 0 {
			name := fmt.Sprintf("s%d", len(t.sets))
			t.sets = append(
				t.sets,
				fmt.Sprintf(
					"set %s { type %s; flags interval; elements = { %s }; }",
					name,
					map[string]string{"ip": "ipv4_addr", "ip6": "ipv6_addr"}[w],
					strings.Join(text, ", "),
				),
			)
			return p(w+" saddr "+not+"@"+name, append(only(t, f), m)...)
		}
		return p(w+" saddr "+not+"{ "+strings.Join(text, ", ")+" }", append(only(t, f), m)...)
	case 7:
		x := g.prefix(f)
		port := pick(g, ports...)
		proto, pw := g.protocol()
		set := &ex.Set{Width: 2, Keys: []ex.Range{ex.Prefix(x), number(port)}}
		s := append(only(t, f), ex.In(ex.Of(ex.FieldProtocol), number(uint64(proto))))
		return p(
			fmt.Sprintf("%s saddr . %s dport { %s . %d }", w, pw, x, port),
			append(
				s,
				ex.Match{Key: []ex.Operand{ex.Of(sourceField(f)), ex.Of(ex.FieldDport)}, In: set},
			)...)
	case 8:
		d := g.dest(f)
		m, not := g.in(ex.Of(destField(f)), ex.One(ex.Address(d)))
		return p(w+" daddr "+not+d.String(), append(only(t, f), m)...)
	case 9, 10:
		r, s := g.portRange()
		proto, pw := g.protocol()
		m, not := g.in(ex.Of(ex.FieldDport), r)
		return p(pw+" dport "+not+s, ex.In(ex.Of(ex.FieldProtocol), number(uint64(proto))), m)
	case 11:
		a, b := pick(g, ports...), pick(g, ports...)
		if a == b {
			return p(fmt.Sprintf("th dport %d", a), ex.In(ex.Of(ex.FieldDport), number(a)))
		}
		return p(
			fmt.Sprintf("th dport { %d, %d }", a, b),
			ex.In(ex.Of(ex.FieldDport), number(a), number(b)),
		)
	case 12:
		proto, pw := g.protocol()
		m, not := g.in(ex.Of(ex.FieldProtocol), number(uint64(proto)))
		return p("meta l4proto "+not+pw, m)
	case 13:
		name := pick(g, "eth0", "eth*", "eth1", "docker0")
		r := ex.One(ex.Name(name))
		if name == "eth*" {
			r = ex.NamePrefix("eth")
		}
		if g.IntN(2) == 0 {
			m, not := g.in(ex.Of(ex.FieldInName), r)
			return p("iifname "+not+`"`+name+`"`, m)
		}
		m, not := g.in(ex.Of(ex.FieldOutName), r)
		return p("oifname "+not+`"`+name+`"`, m)
	case 14, 15, 16:
		mask, v := pick(g, uint64(0xffffffff), 1, 2, 3), uint64(g.IntN(4))
		v &= mask
		m, not := g.in(ex.Of(ex.FieldMark).And(ex.Number(mask)), number(v))
		if not == "" {
			not = "== "
		}
		return p(fmt.Sprintf("meta mark & %#x %s%#x", mask, not, v), m)
	case 17:
		v := uint64(g.IntN(3))
		m, not := g.in(ex.Of(ex.FieldCTMark), number(v))
		return p(fmt.Sprintf("ct mark %s%d", not, v), m)
	case 18:
		state := pick(g, "new", "established,related", "invalid", "untracked")
		bits := map[string]uint64{
			"new":                 8,
			"established,related": 6,
			"invalid":             1,
			"untracked":           64,
		}[state]
		return p("ct state "+state, ex.AnyBit(ex.FieldCTState, bits))
	case 19:
		switch g.IntN(4) {
		case 0:
			return p("ct status dnat", ex.AnyBit(ex.FieldCTStatus, 32))
		case 1:
			x := pick(g, ports...)
			proto, pw := g.protocol()
			return p(
				fmt.Sprintf("meta l4proto %s ct original proto-dst %d", pw, x),
				ex.In(ex.Of(ex.FieldProtocol), number(uint64(proto))),
				ex.In(ex.Of(ex.FieldCTOrigDport), number(x)),
			)
		case 2:
			d := g.dest(f)
			field := ex.FieldCTOrigDest4
			if f == address.IPv6 {
				field = ex.FieldCTOrigDest6
			}
			return p(
				fmt.Sprintf("ct original %s daddr %s", w, d),
				append(only(t, f), ex.In(ex.Of(field), ex.One(ex.Address(d))))...)
		}
		return p("ct direction original", ex.In(ex.Of(ex.FieldCTDirection), number(0)))
	case 20:
		m, not := g.in(ex.Operand{Field: ex.FieldFib, Fib: ex.Fib{Of: ex.FibDest}}, number(2))
		if g.IntN(3) == 0 {
			m, not = g.in(ex.Operand{Field: ex.FieldFib, Fib: ex.Fib{Of: ex.FibSource}}, number(1))
			return p("fib saddr type "+not+"unicast", m)
		}
		return p("fib daddr type "+not+"local", m)
	case 21:
		if g.ruleProtocol != firewall.TCP {
			break
		}
		return p(
			"tcp flags & (syn|ack) == syn",
			ex.In(ex.Of(ex.FieldProtocol), number(6)),
			ex.In(ex.Of(ex.FieldTCPFlags).And(ex.Number(18)), number(2)),
		)
	case 22:
		if t.family != ex.FamilyInet {
			break
		}
		m, not := g.in(
			ex.Of(ex.FieldNFProto),
			number(
				uint64(
					map[address.Family]ex.Family{
						address.IPv4: ex.FamilyIPv4,
						address.IPv6: ex.FamilyIPv6,
					}[f],
				),
			),
		)
		return p("meta nfproto "+not+f.String(), m)
	}
	switch g.IntN(6) {
	case 0, 1:
		return p("limit rate 1/hour burst 1 packets", ex.Unknown{Text: "limit"})
	case 2:
		if t.early() {
			break
		}
		// Elements that the probes themselves add.
		s := g.dynamic(t, f)
		return p(
			fmt.Sprintf("%s saddr @%s", w, s.Name),
			append(only(t, f), ex.Match{Key: []ex.Operand{ex.Of(sourceField(f))}, In: s})...)
	case 3:
		s := g.dynamic(t, f)
		return p(
			fmt.Sprintf("add @%s { %s saddr }", s.Name, w),
			append(
				only(t, f),
				ex.SetUpdate{Set: s, Key: []ex.Operand{ex.Of(sourceField(f))}, EndsWhenFull: true},
			)...)
	}
	return p("counter", ex.NoEffect{Text: "counter"})
}

// in is a match, sometimes inverted.
func (g *generator) in(o ex.Operand, r ...ex.Range) (ex.Match, string) {
	if g.IntN(4) == 0 {
		return ex.NotIn(o, r...), "!= "
	}
	return ex.In(o, r...), ""
}

func (g *generator) protocol() (firewall.Protocol, string) {
	return g.ruleProtocol, g.ruleProtocol.String()
}

func (g *generator) portRange() (ex.Range, string) {
	x := pick(g, ports...)
	if g.IntN(3) == 0 {
		return ex.Numbers(x, x+1), fmt.Sprintf("%d-%d", x, x+1)
	}
	return number(x), fmt.Sprint(x)
}

// dynamic is the table's set that packets add to.
func (g *generator) dynamic(t *table, f address.Family) *ex.Set {
	name := "d" + word(f)
	if t.dynamic[name] == nil {
		if t.dynamic == nil {
			t.dynamic = map[string]*ex.Set{}
		}
		t.dynamic[name] = &ex.Set{Name: name, Width: 1, Size: 65535, Grows: true}
		t.sets = append(
			t.sets,
			fmt.Sprintf(
				"set %s { type %s; flags dynamic; size 65535; }",
				name,
				map[string]string{"ip": "ipv4_addr", "ip6": "ipv6_addr"}[word(f)],
			),
		)
	}
	return t.dynamic[name]
}
