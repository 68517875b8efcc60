package exposure

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	ex "github.com/portgrave/portgrave/firewall/exposure"
)

// early reports whether a table's chains run before conntrack and routing.
func (t *table) early() bool { return t.ingress || t.family == ex.FamilyNetdev }

// equal is nft's operator for a match.
func equal(m ex.Match) string {
	if m.Not {
		return "!= "
	}
	return "== "
}

// rare draws a rarely used condition of nft. b is nil in a user chain.
func (g *generator) rare(t *table, b *ex.Base) piece {
	f := g.family(t)
	w := word(f)
	match := func(o ex.Operand, text string, r ...ex.Range) piece {
		m, _ := g.in(o, r...)
		return p(fmt.Sprintf(text, equal(m)), m)
	}
	proto, pw := g.protocol()
	is := ex.In(ex.Of(ex.FieldProtocol), number(uint64(proto)))
	n := g.IntN(20)
	if t.early() && n >= 10 {
		n -= 10
	}
	switch n {
	case 0:
		mask, v := "255.0.0.255", netip.MustParseAddr("20.0.0.1")
		if f == address.IPv6 {
			mask, v = "ffff::ffff", netip.MustParseAddr("2600::1")
		}
		g.borders[v] = true
		m, _ := g.in(
			ex.Of(sourceField(f)).And(ex.Address(netip.MustParseAddr(mask))),
			ex.One(ex.Address(v)),
		)
		return p(fmt.Sprintf("%s saddr & %s %s%s", w, mask, equal(m), v), append(only(t, f), m)...)
	case 1:
		text, list := g.ranges(f, 2)
		set := &ex.Set{Width: 2, Keys: []ex.Range{list[0], ex.Numbers(80, 81)}}
		elements := text[0] + " . 80-81"
		if len(list) > 1 {
			set.Keys = append(set.Keys, list[1], ex.Numbers(8080, 65535))
			elements += ", " + text[1] + " . 8080-65535"
		}
		m := ex.Match{
			Key: []ex.Operand{ex.Of(sourceField(f)), ex.Of(ex.FieldDport)},
			In:  set,
			Not: g.IntN(4) == 0,
		}
		not := ""
		if m.Not {
			not = "!= "
		}
		if g.IntN(2) == 0 {
			name := fmt.Sprintf("s%d", len(t.sets))
			t.sets = append(
				t.sets,
				fmt.Sprintf(
					"set %s { type %s . inet_service; flags interval; elements = { %s }; }",
					name,
					map[string]string{"ip": "ipv4_addr", "ip6": "ipv6_addr"}[w],
					elements,
				),
			)
			return p(
				fmt.Sprintf("%s saddr . %s dport %s@%s", w, pw, not, name),
				append(only(t, f), is, m)...)
		}
		return p(
			fmt.Sprintf("%s saddr . %s dport %s{ %s }", w, pw, not, elements),
			append(only(t, f), is, m)...)
	case 2:
		m := ex.Match{Key: []ex.Operand{ex.Of(ex.FieldProtocol), ex.Of(ex.FieldDport)},
			In: &ex.Set{
				Width: 2,
				Keys:  []ex.Range{number(6), number(80), number(17), number(8080)},
			}}
		return p("meta l4proto . th dport { tcp . 80, udp . 8080 }", m)
	case 18: // nft converts the protocol's byte order here, which has no effect
		in := &ex.Set{
			Width: 2,
			Keys:  []ex.Range{number(6), ex.Numbers(80, 90), number(17), ex.Numbers(8000, 9000)},
		}
		m := ex.Match{Key: []ex.Operand{ex.Of(ex.FieldProtocol), ex.Of(ex.FieldDport)}, In: in}
		return p("meta l4proto . th dport { tcp . 80-90, udp . 8000-9000 }", m)
	case 19:
		if t.family == ex.FamilyIPv4 {
			break
		}
		header := ex.Operand{
			Field: ex.FieldRaw,
			Raw:   ex.Raw{Base: ex.RawNetwork, Offset: 48, Bits: 8},
		}
		values := pick(
			g,
			[]ex.Range{number(6)},
			[]ex.Range{number(17)},
			[]ex.Range{number(50), number(58)},
			[]ex.Range{number(0), number(6), number(43), number(44), number(51), number(60)},
		)
		var words []string
		for _, v := range values {
			n, _ := v.From.Uint64()
			words = append(words, fmt.Sprint(n))
		}
		m, _ := g.in(header, values...)
		return p(
			fmt.Sprintf("ip6 nexthdr %s{ %s }", equal(m), strings.Join(words, ", ")),
			append(only(t, address.IPv6), m)...)
	case 3:
		return match(ex.Of(ex.FieldInGroup), "iifgroup %s0", number(0))
	case 4:
		return match(ex.Of(ex.FieldPacketType), "meta pkttype %sunicast", number(0))
	case 5:
		if proto != firewall.TCP {
			break
		}
		return p(
			"tcp flags & (fin|syn|rst|ack) == syn",
			is,
			ex.In(ex.Of(ex.FieldTCPFlags).And(ex.Number(23)), number(2)),
		)
	case 6:
		m, _ := g.in(ex.Of(ex.FieldDport).And(ex.Number(0xfffe)), number(80))
		return p(fmt.Sprintf("%s dport & 0xfffe %s80", pw, equal(m)), is, m)
	case 7:
		if f == address.IPv6 {
			// Extension headers may precede the transport header.
			next := ex.Operand{
				Field: ex.FieldRaw, Raw: ex.Raw{Base: ex.RawNetwork, Offset: 48, Bits: 8},
			}
			return p("ip6 nexthdr "+pw, append(only(t, f), ex.In(next, number(uint64(proto))))...)
		}
		return p("ip protocol "+pw, append(only(t, f), is)...)
	case 8:
		return g.sendersChoice(t)
	case 9:
		return p(
			"meta l4proto "+pw+" @th,16,16 8080",
			is,
			ex.In(ex.Of(ex.FieldDport), number(8080)),
		)
	case 10:
		return match(ex.Of(ex.FieldCTMark).And(ex.Number(3)), "ct mark & 3 %s1", number(1))
	case 11:
		x := g.prefix(f)
		field := ex.FieldCTOrigSource4
		if f == address.IPv6 {
			field = ex.FieldCTOrigSource6
		}
		return p(
			fmt.Sprintf("ct original %s saddr %s", w, x),
			append(only(t, f), ex.In(ex.Of(field), ex.Prefix(x)))...)
	case 12:
		set := &ex.Set{
			Width:    1,
			Keys:     []ex.Range{number(2), number(8)},
			Verdicts: []ex.Verdict{{Kind: ex.VerdictDrop}, {Kind: ex.VerdictContinue}},
		}
		return p(
			"ct state vmap { established : drop, new : continue }",
			ex.VerdictMap{Key: []ex.Operand{ex.Of(ex.FieldCTState)}, In: set},
		)
	case 13, 14:
		if b == nil ||
			b.Hook != ex.HookPrerouting && b.Hook != ex.HookInput && b.Hook != ex.HookForward {
			break
		}
		fib := ex.Operand{
			Field: ex.FieldFib,
			Fib:   ex.Fib{Of: ex.FibSource, Want: ex.FibExists, ByIn: true},
		}
		if g.IntN(2) == 0 {
			return p("fib saddr . iif oif missing", ex.In(fib, number(0)))
		}
		return p("fib saddr . iif oif exists", ex.In(fib, number(1)))
	case 15:
		if b == nil || b.Hook != ex.HookPrerouting {
			break
		}
		return match(
			ex.Operand{Field: ex.FieldFib, Fib: ex.Fib{Of: ex.FibSource, Want: ex.FibOutName}},
			`fib saddr oifname %s"eth0"`,
			ex.One(ex.Name("eth0")),
		)
	case 16:
		if b == nil || b.Hook != ex.HookPrerouting {
			break
		}
		return match(
			ex.Operand{Field: ex.FieldFib, Fib: ex.Fib{Of: ex.FibDest, Want: ex.FibOutName}},
			`fib daddr oifname %s"docker0"`,
			ex.One(ex.Name("docker0")),
		)
	case 17:
		if b == nil || b.Hook != ex.HookPrerouting && b.Hook != ex.HookInput {
			break
		}
		return match(
			ex.Operand{Field: ex.FieldFib, Fib: ex.Fib{Of: ex.FibDest, ByIn: true}},
			"fib daddr . iif type %slocal",
			number(2),
		)
	}
	return p("counter", ex.NoEffect{Text: "counter"})
}

// sendersChoice draws a condition on what senders choose: TTL, length, extension headers, source
// port. The probes are ordinary packets.
func (g *generator) sendersChoice(t *table) piece {
	f := g.family(t)
	header := func(offset, bits int) ex.Operand {
		return ex.Operand{
			Field: ex.FieldRaw, Raw: ex.Raw{Base: ex.RawNetwork, Offset: offset, Bits: bits},
		}
	}
	proto, pw := g.protocol()
	of := func(o ex.Operand, text string, size uint64, list ...ex.Range) piece {
		r := pick(g, list...)
		from, _ := r.From.Uint64()
		to, _ := r.To.Uint64()
		m, not := g.in(o, ex.Numbers(from-size, to-size))
		return p(fmt.Sprintf("%s %s%d-%d", text, not, from-size, to-size), append(only(t, f), m)...)
	}
	hops := []ex.Range{ex.Numbers(2, 255), ex.Numbers(0, 1), ex.Numbers(60, 70), ex.Numbers(65, 96)}
	lengths := []ex.Range{
		ex.Numbers(40, 1500), ex.Numbers(40, 100), ex.Numbers(100, 1500), ex.Numbers(1501, 65000),
	}
	switch n := g.IntN(5); {
	case n == 0 && f == address.IPv4:
		return of(header(64, 8), "ip ttl", 0, hops...)
	case n == 0:
		return of(header(56, 8), "ip6 hoplimit", 0, hops...)
	case n == 1 && f == address.IPv4:
		return of(header(16, 16), "ip length", 0, lengths...)
	case n == 1:
		return of(header(32, 16), "ip6 length", 40, lengths...)
	case n == 2:
		m, not := g.in(ex.Of(ex.FieldLength), ex.Numbers(40, 1500))
		return p("meta length "+not+"40-1500", m)
	case n == 3 && t.family != ex.FamilyIPv4:
		name := pick(g, "frag", "hbh", "rt", "dst")
		o := ex.Operand{Field: ex.FieldRaw, Raw: ex.Raw{
			Base: ex.RawExtension, Bits: 8, Present: true,
			Header: map[string]uint8{"frag": 44, "hbh": 0, "rt": 43, "dst": 60}[name],
		}}
		there, word := number(1), "exists"
		if g.IntN(3) == 0 {
			there, word = number(0), "missing"
		}
		return p("exthdr "+name+" "+word, append(only(t, address.IPv6), ex.In(o, there))...)
	}
	r := pick(g, ex.Numbers(1, 1023), ex.Numbers(1024, 65535), ex.Numbers(32768, 65535))
	from, _ := r.From.Uint64()
	to, _ := r.To.Uint64()
	m, not := g.in(ex.Of(ex.FieldSport), r)
	return p(fmt.Sprintf("%s sport %s%d-%d", pw, not, from, to),
		ex.In(ex.Of(ex.FieldProtocol), number(uint64(proto))), m)
}

// rareTranslation draws a NAT statement with ranges and maps. The text follows "dnat ip to " or
// "redirect to ".
func (g *generator) rareTranslation(t *table) (kind, text string, nat ex.NAT) {
	f := g.family(t)
	op := func(v ex.Value) *ex.Operand { o := ex.Const(v); return &o }
	first, last := host4, other4
	if f == address.IPv6 {
		first, last = host6, other6
	}
	switch g.IntN(4) {
	case 0:
		return "redirect", ":8080-8081", ex.NAT{
			Kind:    ex.NATRedirect,
			Family:  ex.FamilyInet,
			Port:    op(ex.Number(8080)),
			PortMax: op(ex.Number(8081)),
		}
	case 1:
		return "dnat", fmt.Sprintf(
				"%s-%s",
				first,
				last,
			), ex.NAT{
				Addr:    op(ex.Address(first)),
				AddrMax: op(ex.Address(last)),
			}
	case 2:
		d := g.dest(f)
		lookup := ex.Operand{
			Field: ex.FieldMap,
			Lookup: &ex.Lookup{Key: []ex.Operand{ex.Of(ex.FieldDport)},
				In: &ex.Set{
					Width:     1,
					Keys:      []ex.Range{number(80), number(8080)},
					Data:      []ex.Value{ex.Address(d), ex.Address(first)},
					DataWidth: 1,
				}},
		}
		return "dnat", fmt.Sprintf(
				"th dport map { 80 : %s, 8080 : %s }",
				d,
				first,
			), ex.NAT{
				Addr: &lookup,
			}
	}
	// An address and a port from one map, as programs that publish ports write it.
	d := g.dest(f)
	set := &ex.Set{
		Width:     1,
		Keys:      []ex.Range{number(80), number(81)},
		Data:      []ex.Value{ex.Address(d), ex.Number(8080), ex.Address(first), ex.Number(81)},
		DataWidth: 2,
	}
	column := func(n int) *ex.Operand {
		return &ex.Operand{
			Field:  ex.FieldMap,
			Lookup: &ex.Lookup{Key: []ex.Operand{ex.Of(ex.FieldDport)}, In: set, Column: n},
		}
	}
	return "dnat", fmt.Sprintf(
			"th dport map { 80 : %s . 8080, 81 : %s . 81 }",
			d,
			first,
		), ex.NAT{
			Addr: column(0),
			Port: column(1),
		}
}

// proxied draws a statement that hands a packet to a transparent listener.
func (g *generator) proxied(t *table) piece {
	f := g.family(t)
	port := ex.Const(ex.Number(pick(g, ports...)))
	n, _ := port.Xor.Uint64()
	mark := ex.Assign{To: ex.FieldMark, Value: []ex.Operand{ex.Const(ex.Number(1))}}
	family := map[address.Family]ex.Family{
		address.IPv4: ex.FamilyIPv4,
		address.IPv6: ex.FamilyIPv6,
	}[f]
	s := append(
		only(t, f),
		ex.In(ex.Of(ex.FieldProtocol), number(6)),
		ex.TProxy{Family: family, Port: &port},
		mark,
		ex.Verdict{Kind: ex.VerdictAccept},
	)
	nf, w := "", ""
	if t.family == ex.FamilyInet {
		nf, w = fmt.Sprintf("meta nfproto %s ", f), word(f)+" "
	}
	return p(
		fmt.Sprintf("%smeta l4proto tcp tproxy %sto :%d meta mark set 1 accept", nf, w, n),
		s...)
}

// proxiedXT is proxied for iptables.
func (g *generator) proxiedXT(t *table) piece {
	port := ex.Const(ex.Number(pick(g, ports...)))
	n, _ := port.Xor.Uint64()
	v := pick(g, uint64(1), 1, 2)
	return p(
		fmt.Sprintf("-j TPROXY --on-port %d --tproxy-mark %d/3", n, v),
		ex.TProxy{Family: t.family, Port: &port, OrDrop: true},
		ex.Assign{
			To: ex.FieldMark,
			Value: []ex.Operand{
				ex.Of(ex.FieldMark).And(ex.Number(0xfffffffc)).XorWith(ex.Number(v)),
			},
		},
		ex.Verdict{Kind: ex.VerdictAccept},
	)
}
