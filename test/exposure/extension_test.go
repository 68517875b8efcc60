package exposure

import (
	"fmt"
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	ex "github.com/portgrave/portgrave/firewall/exposure"
)

func bang(m ex.Match) string {
	if m.Not {
		return "! "
	}
	return ""
}

// extension draws a match of iptables' extensions.
func (g *generator) extension(t *table, hook string, proto firewall.Protocol) piece {
	f := g.family4or6(t)
	match := func(o ex.Operand, text string, r ...ex.Range) piece {
		m, _ := g.in(o, r...)
		return p(fmt.Sprintf(text, bang(m)), m)
	}
	connection := t.name != "raw"
	switch g.IntN(24) {
	case 0:
		if g.sourced {
			break
		}
		g.sourced = true
		x := g.prefix(f)
		return match(ex.Of(sourceField(f)), "%s-s "+x.String(), ex.Prefix(x))
	case 1, 2:
		return g.netSet(f)
	case 3:
		return g.portSet(f)
	case 4:
		if f == address.IPv6 {
			break // which tests the address rather than its route
		}
		if g.IntN(2) == 0 {
			return match(
				ex.Operand{Field: ex.FieldFib, Fib: ex.Fib{Of: ex.FibSource}},
				"-m addrtype %s--src-type UNICAST",
				number(1),
			)
		}
		return match(
			ex.Operand{Field: ex.FieldFib, Fib: ex.Fib{Of: ex.FibDest}},
			"-m addrtype %s--dst-type LOCAL,BROADCAST",
			number(2),
			number(3),
		)
	case 5:
		if hook != "PREROUTING" && hook != "INPUT" && hook != "FORWARD" {
			break
		}
		return match(
			ex.Operand{Field: ex.FieldFib, Fib: ex.Fib{Of: ex.FibDest, ByIn: true}},
			"-m addrtype %s--dst-type LOCAL --limit-iface-in",
			number(2),
		)
	case 6:
		if !connection {
			break
		}
		// Not of both bits: neither known nor translated.
		m := ex.Match{
			Key: []ex.Operand{
				ex.Of(ex.FieldCTState).And(ex.Number(6)),
				ex.Of(ex.FieldCTStatus).And(ex.Number(32)),
			},
			In:  &ex.Set{Width: 2, Keys: []ex.Range{number(0), number(0)}},
			Not: true,
		}
		if g.IntN(3) == 0 {
			// It also holds without a connection, which the model can't express.
			return p(
				"-m conntrack ! --ctstate ESTABLISHED,RELATED,DNAT",
				ex.Unknown{Text: "conntrack"},
			)
		}
		return p("-m conntrack --ctstate ESTABLISHED,RELATED,DNAT", m)
	case 7:
		if !connection {
			break
		}
		d := g.dest(f)
		field := ex.FieldCTOrigDest4
		if f == address.IPv6 {
			field = ex.FieldCTOrigDest6
		}
		return match(ex.Of(field), "-m conntrack %s--ctorigdst "+d.String(), ex.One(ex.Address(d)))
	case 8:
		if !connection {
			break
		}
		x := pick(g, ports...)
		return match(
			ex.Of(ex.FieldCTOrigDport),
			fmt.Sprintf("-m conntrack %%s--ctorigdstport %d:%d", x, x+1),
			ex.Numbers(x, x+1),
		)
	case 9:
		if !connection {
			break
		}
		return p("-m conntrack --ctdir ORIGINAL", ex.In(ex.Of(ex.FieldCTDirection), number(0)))
	case 10:
		return p("-m state --state NEW,ESTABLISHED", ex.AnyBit(ex.FieldCTState, 10))
	case 11:
		if proto != firewall.TCP || g.flagged {
			break
		}
		g.flagged = true
		if g.IntN(2) == 0 {
			return match(ex.Of(ex.FieldTCPFlags).And(ex.Number(0x17)), "%s--syn", number(2))
		}
		return match(
			ex.Of(ex.FieldTCPFlags).And(ex.Number(0x12)),
			"%s--tcp-flags SYN,ACK SYN",
			number(2),
		)
	case 12:
		if proto == 0 {
			break
		}
		m := ex.Match{Key: []ex.Operand{ex.Of(ex.FieldSport), ex.Of(ex.FieldDport)},
			In: &ex.Set{
				Width: 2,
				Keys: []ex.Range{
					number(80),
					ex.Full(16),
					ex.Numbers(8080, 8081),
					ex.Full(16),
					ex.Full(16),
					number(80),
					ex.Full(16),
					ex.Numbers(8080, 8081),
				},
			}}
		m.Not = g.IntN(3) == 0
		return p(fmt.Sprintf("-m multiport %s--ports 80,8080:8081", bang(m)), m)
	case 13:
		if g.entered || hook == "POSTROUTING" || hook == "OUTPUT" {
			break
		}
		g.entered = true
		if g.IntN(2) == 0 {
			return match(ex.Of(ex.FieldInName), "%s-i eth+", ex.NamePrefix("eth"))
		}
		return match(ex.Of(ex.FieldInName), "%s-i eth1", ex.One(ex.Name("eth1")))
	case 14:
		if hook != "FORWARD" || g.left {
			break
		}
		g.left = true
		name := pick(g, "docker0", "eth0")
		return match(ex.Of(ex.FieldOutName), "%s-o "+name, ex.One(ex.Name(name)))
	case 15:
		return p("-m limit --limit 1/hour --limit-burst 1", ex.Unknown{Text: "limit"})
	case 16:
		return p("-m statistic --mode random --probability 0.5", ex.Unknown{Text: "statistic"})
	case 17:
		return match(ex.Of(ex.FieldPacketType), "-m pkttype %s--pkt-type unicast", number(0))
	case 18:
		if hook != "PREROUTING" || t.name == "nat" {
			break
		}
		o := ex.Operand{Field: ex.FieldFib, Fib: ex.Fib{Of: ex.FibSource, Want: ex.FibReversePath}}
		if g.IntN(3) == 0 {
			return p("-m rpfilter --invert", ex.NotIn(o, number(1)))
		}
		return p("-m rpfilter", ex.In(o, number(1)))
	case 19:
		r := ex.Range{From: ex.Address(host4), To: ex.Address(other4)}
		text := fmt.Sprintf("-m iprange %%s--dst-range %s-%s", host4, other4)
		if f == address.IPv6 {
			r, text = ex.Range{
				From: ex.Address(host6),
				To:   ex.Address(other6),
			}, fmt.Sprintf(
				"-m iprange %%s--dst-range %s-%s",
				host6,
				other6,
			)
		}
		return match(ex.Of(destField(f)), text, r)
	case 20:
		if t.name == "raw" {
			break
		}
		v, mask := uint64(g.IntN(4)), pick(g, uint64(1), 3, 0xff)
		return match(
			ex.Of(ex.FieldCTMark).And(ex.Number(mask)),
			fmt.Sprintf("-m connmark %%s--mark %#x/%#x", v&mask, mask),
			number(v&mask),
		)
	case 21:
		return g.sendersChoiceXT(f)
	case 22:
		if g.sourced {
			break
		}
		g.sourced = true
		// A mask that isn't a prefix.
		mask, v := "255.0.0.255", netip.MustParseAddr("20.0.0.1")
		if f == address.IPv6 {
			mask, v = "ffff::ffff", netip.MustParseAddr("2600::1")
		}
		g.borders[v] = true
		return match(
			ex.Of(sourceField(f)).And(ex.Address(netip.MustParseAddr(mask))),
			fmt.Sprintf("%%s-s %s/%s", v, mask),
			ex.One(ex.Address(v)),
		)
	case 23:
		if proto == 0 || t.name == "raw" {
			break
		}
		s := g.grownSet(f)
		m, _ := g.in(ex.Of(sourceField(f)))
		m.In = s
		return p(fmt.Sprintf("-m set %s--match-set %s src", bang(m), s.Name), m)
	}
	return p("-m comment --comment none", ex.NoEffect{Text: "comment"})
}

// sendersChoiceXT is sendersChoice for iptables.
func (g *generator) sendersChoiceXT(f address.Family) piece {
	header := func(offset, bits int) ex.Operand {
		return ex.Operand{
			Field: ex.FieldRaw, Raw: ex.Raw{Base: ex.RawNetwork, Offset: offset, Bits: bits},
		}
	}
	match := func(o ex.Operand, text string, r ex.Range) piece {
		m, _ := g.in(o, r)
		return p(fmt.Sprintf(text, bang(m)), m)
	}
	switch n := g.IntN(3); {
	case n == 0 && f == address.IPv4:
		return pick(g, p("-m ttl --ttl-gt 1", ex.In(header(64, 8), ex.Numbers(2, 255))),
			p("-m ttl --ttl-lt 30", ex.In(header(64, 8), ex.Numbers(0, 29))))
	case n == 0:
		return match(header(56, 8), "-m hl %s--hl-eq 64", number(64))
	case n == 1 && f == address.IPv4:
		return match(header(16, 16), "-m length %s--length 40:1500", ex.Numbers(40, 1500))
	case n == 1:
		return match(header(32, 16), "-m length %s--length 60:1500", ex.Numbers(20, 1460))
	case f == address.IPv6:
		frag := ex.Unknown{Text: "frag", Optional: true, Header: 44}
		o := ex.Of(ex.FieldHeaders)
		return pick(g, p("-m frag --fragmore", frag),
			p("-m hbh", ex.Unknown{Text: "hbh", Optional: true}),
			p("-m ah", ex.Unknown{Text: "ah", Optional: true, Header: 51}),
			p("-m ipv6header --header protocol", ex.In(o, number(1))),
			p("-m ipv6header --header hop,protocol", ex.In(o, number(129))),
			p("-m ipv6header --header hop --soft", ex.In(o.And(ex.Number(128)), number(128))),
			p("-m ipv6header --header frag --soft", ex.In(o.And(ex.Number(16)), number(16))))
	}
	return match(header(64, 8), "-m ttl %s--ttl-eq 1", number(1))
}

// netSet is a look-up in an ipset of networks, sometimes with a part of one excluded.
func (g *generator) netSet(f address.Family) piece {
	name := fmt.Sprintf("n%d", len(g.ipsets))
	g.ipsets = append(g.ipsets, fmt.Sprintf("create %s hash:net family %s", name, inet(f)))
	var keys []ex.Range
	for range 1 + g.IntN(3) {
		x := g.prefix(f)
		if x.Bits() == 0 || overlaps(keys, ex.Prefix(x)) {
			continue
		}
		g.ipsets = append(g.ipsets, fmt.Sprintf("add %s %s", name, x))
		if hole := netip.PrefixFrom(x.Addr(), x.Bits()+3); g.IntN(2) == 0 && hole.IsValid() {
			g.border(ex.Prefix(hole), f)
			g.ipsets = append(g.ipsets, fmt.Sprintf("add %s %s nomatch", name, hole))
			for _, box := range ex.Subtract([]ex.Range{ex.Prefix(x)}, []ex.Range{ex.Prefix(hole)}) {
				keys = append(keys, box...)
			}
			continue
		}
		keys = append(keys, ex.Prefix(x))
	}
	m, _ := g.in(ex.Of(sourceField(f)), keys...)
	return p(fmt.Sprintf("-m set %s--match-set %s src", bang(m), name), m)
}

// portSet is a look-up in an ipset of networks and ports.
func (g *generator) portSet(f address.Family) piece {
	name := fmt.Sprintf("p%d", len(g.ipsets))
	g.ipsets = append(g.ipsets, fmt.Sprintf("create %s hash:net,port family %s", name, inet(f)))
	set := &ex.Set{Width: 3}
	var seen []ex.Range
	for range 1 + g.IntN(3) {
		x, port, proto := g.prefix(f), pick(g, ports...), pick(g, firewall.TCP, firewall.UDP)
		if overlaps(seen, ex.Prefix(x)) {
			continue
		}
		seen = append(seen, ex.Prefix(x))
		g.ipsets = append(g.ipsets, fmt.Sprintf("add %s %s,%s:%d", name, x, proto, port))
		set.Keys = append(set.Keys, ex.Prefix(x), number(uint64(proto)), number(port))
	}
	m := ex.Match{
		Key: []ex.Operand{ex.Of(sourceField(f)), ex.Of(ex.FieldProtocol), ex.Of(ex.FieldDport)},
		In:  set,
		Not: g.IntN(4) == 0,
	}
	return p(fmt.Sprintf("-m set %s--match-set %s src,dst", bang(m), name), m)
}

// grownSet is the ipset that packets add their sources to.
func (g *generator) grownSet(f address.Family) *ex.Set {
	name := "g" + word(f)
	if g.grown == nil {
		g.grown = map[string]*ex.Set{}
	}
	if g.grown[name] == nil {
		g.grown[name] = &ex.Set{Name: name, Width: 1, Grows: true}
		g.ipsets = append(g.ipsets, fmt.Sprintf("create %s hash:ip family %s", name, inet(f)))
	}
	return g.grown[name]
}

func inet(f address.Family) string {
	if f == address.IPv6 {
		return "inet6"
	}
	return "inet"
}

// marking draws a target of mangle.
func (g *generator) marking() piece {
	mark, ct := ex.Of(ex.FieldMark), ex.Of(ex.FieldCTMark)
	v, mask := uint64(g.IntN(4)), pick(g, uint64(1), 3, 0xff)
	set := func(text string, to ex.Field, o ...ex.Operand) piece {
		return p("-j "+text, ex.Assign{To: to, Value: o})
	}
	but := func(o ex.Operand, m uint64) ex.Operand { return o.And(ex.Number(0xffffffff &^ m)) }
	switch g.IntN(9) {
	case 0:
		return set(
			fmt.Sprintf("MARK --set-mark %#x/%#x", v, mask),
			ex.FieldMark,
			but(mark, mask|v).XorWith(ex.Number(v)),
		)
	case 1:
		return set(fmt.Sprintf("MARK --and-mark %#x", v), ex.FieldMark, mark.And(ex.Number(v)))
	case 2:
		return set(fmt.Sprintf("MARK --or-mark %#x", v), ex.FieldMark, mark.Or(ex.Number(v)))
	case 3:
		return set(fmt.Sprintf("MARK --xor-mark %#x", v), ex.FieldMark, mark.XorWith(ex.Number(v)))
	case 4:
		return set(
			fmt.Sprintf("CONNMARK --set-xmark %#x/%#x", v, mask),
			ex.FieldCTMark,
			but(ct, mask).XorWith(ex.Number(v)),
		)
	case 5:
		return set(
			fmt.Sprintf("CONNMARK --set-mark %#x/%#x", v, mask),
			ex.FieldCTMark,
			but(ct, mask|v).XorWith(ex.Number(v)),
		)
	case 6:
		return set(
			"CONNMARK --save-mark --nfmask 0x3 --ctmask 0x1",
			ex.FieldCTMark,
			but(ct, 1),
			mark.And(ex.Number(3)),
		)
	case 7:
		return set(
			"CONNMARK --restore-mark --nfmask 0x1 --ctmask 0x3",
			ex.FieldMark,
			but(mark, 1),
			ct.And(ex.Number(3)),
		)
	}
	return p("-j LOG", ex.NoEffect{Text: "LOG"})
}

// translate draws a target of nat.
func (g *generator) translate(t *table) piece {
	f := g.family4or6(t)
	op := func(v ex.Value) *ex.Operand { o := ex.Const(v); return &o }
	first, last := host4, other4
	if f == address.IPv6 {
		first, last = host6, other6
	}
	d := g.dest(f)
	switch g.IntN(6) {
	case 0:
		return p(
			"-j REDIRECT --to-ports 80-81",
			ex.NAT{
				Kind:    ex.NATRedirect,
				Family:  t.family,
				Port:    op(ex.Number(80)),
				PortMax: op(ex.Number(81)),
			},
		)
	case 1:
		return p(
			"-j DNAT --to-destination "+endpointText(d, "8080-8081"),
			ex.NAT{
				Family:  t.family,
				Addr:    op(ex.Address(d)),
				Port:    op(ex.Number(8080)),
				PortMax: op(ex.Number(8081)),
			},
		)
	case 2:
		// The port keeps its offset in the range: 80 becomes 8080.
		base := pick(g, uint64(80), 81, 79)
		return p(
			"-j DNAT --to-destination "+endpointText(d, fmt.Sprintf("8080-8081/%d", base)),
			ex.NAT{
				Family:   t.family,
				Addr:     op(ex.Address(d)),
				Port:     op(ex.Number(8080)),
				PortMax:  op(ex.Number(8081)),
				PortBase: op(ex.Number(base)),
			},
		)
	case 3:
		return p(
			fmt.Sprintf("-j DNAT --to-destination %s-%s", first, last),
			ex.NAT{Family: t.family, Addr: op(ex.Address(first)), AddrMax: op(ex.Address(last))},
		)
	case 4:
		// Only the last bit of the address stays.
		x := netip.PrefixFrom(first, first.BitLen()-1).Masked()
		mask := ex.Ones(first.BitLen()).AndNot(ex.Number(1))
		o := ex.Of(destField(f)).
			And(ex.Ones(first.BitLen()).AndNot(mask)).
			XorWith(ex.Address(x.Addr()))
		return p("-j NETMAP --to "+x.String(), ex.NAT{Family: t.family, Addr: &o})
	}
	return p(
		"-j DNAT --to-destination "+d.String(),
		ex.NAT{Family: t.family, Addr: op(ex.Address(d))},
	)
}

// sourceNAT draws a translation of sources, which doesn't affect which sources get through.
func (g *generator) sourceNAT(t *table) piece {
	f := g.family4or6(t)
	a := host4
	if f == address.IPv6 {
		a = host6
	}
	o := ex.Const(ex.Address(a))
	if g.IntN(2) == 0 {
		return p("-j MASQUERADE", ex.NAT{Kind: ex.NATMasquerade, Family: t.family})
	}
	return p(
		"-j SNAT --to-source "+a.String(),
		ex.NAT{Kind: ex.NATSource, Family: t.family, Addr: &o},
	)
}
