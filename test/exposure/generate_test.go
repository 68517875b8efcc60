package exposure

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	ex "github.com/portgrave/portgrave/firewall/exposure"
)

// Every base chain begins by letting everything through that doesn't come from the outside: the answers that a test waits for must not meet
// its random rules.
const (
	passNFT = `iifname != "eth0" accept`
	passXT  = "! -i eth0 -j ACCEPT"
)

// Answers keep their source: those to packets that weren't tracked would be taken for connections of their own.
const (
	leaveNFT = `oifname "eth0" accept`
	leaveXT  = "-o eth0 -j ACCEPT"
)

// The neighbours of a host have to be found, whatever its rules are for answers.
const (
	neighboursNFT = `meta l4proto ipv6-icmp accept`
	neighboursXT  = "-p ipv6-icmp -j ACCEPT"
)

func neighbours(text string) *rule {
	return &rule{[]ex.Statement{ex.In(ex.Of(ex.FieldProtocol), number(58)), ex.Verdict{Kind: ex.VerdictAccept}}, text}
}

// begin is the first rule of a base chain: random rules meet answers only where the generator is asked for that.
func (g *generator) begin(t *table) *rule {
	switch {
	case !g.answers && t.legacy:
		return pass(passXT)
	case !g.answers:
		return pass(passNFT)
	case t.legacy:
		return neighbours(neighboursXT)
	}
	return neighbours(neighboursNFT)
}

func leave(text string) *rule {
	return &rule{[]ex.Statement{ex.In(ex.Of(ex.FieldOutName), ex.One(ex.Name("eth0"))), ex.Verdict{Kind: ex.VerdictAccept}}, text}
}

func pass(text string) *rule {
	return &rule{[]ex.Statement{ex.NotIn(ex.Of(ex.FieldInName), ex.One(ex.Name("eth0"))), ex.Verdict{Kind: ex.VerdictAccept}}, text}
}

// The ports that somebody listens on, at the host and in the container.
var ports = []uint64{80, 81, 8080, 8081}

var (
	container4 = netip.MustParseAddr("172.17.0.2")
	container6 = netip.MustParseAddr("fd00:17::2")
	host4      = netip.MustParseAddr("198.51.100.10")
	host6      = netip.MustParseAddr("2001:db8:100::10")
	other4     = netip.MustParseAddr("198.51.100.11")
	other6     = netip.MustParseAddr("2001:db8:100::11")
)

// generator draws a ruleset. borders collects the sources at which rules change their mind.
type generator struct {
	*rand.Rand
	borders map[netip.Addr]bool

	// nft takes one family and one protocol a rule.
	ruleFamily   firewall.Family
	ruleProtocol firewall.Protocol
	// iptables takes -d, -s, -i and -o once a rule.
	destined, sourced, entered, left, flagged bool
	single                                    bool // it has -p

	proxies bool // transparent proxies are among the rules
	answers bool // rules meet the answers too
	crowd   bool // every ruleset has several chains of one hook and priority, else each fourth

	ipsets []string           // as `ipset restore` takes them
	grown  map[string]*ex.Set // ipsets that rules add to, by name
}

func newGenerator(seed uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 5)), borders: map[netip.Addr]bool{}}
}

func pick[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

// piece is a part of a rule, twice.
type piece struct {
	model []ex.Statement
	text  string
}

func p(text string, model ...ex.Statement) piece { return piece{model, text} }

func (g *generator) border(r ex.Range, f firewall.Family) {
	for _, a := range []netip.Addr{address(r.From, f), address(r.To, f)} {
		g.borders[a], g.borders[a.Prev()], g.borders[a.Next()] = true, true, true
	}
}

func address(v ex.Value, f firewall.Family) netip.Addr {
	if f == firewall.IPv6 {
		return v.IPv6()
	}
	return v.IPv4()
}

func (g *generator) prefix(f firewall.Family) netip.Prefix {
	var out netip.Prefix
	if f == firewall.IPv4 {
		base := pick(g, "20.0.0.0", "20.0.0.129", "20.0.1.0", "20.1.0.0", "20.128.0.0", "21.0.0.0", "100.64.0.1")
		out = netip.PrefixFrom(netip.MustParseAddr(base), pick(g, 1, 8, 9, 15, 16, 23, 24, 25, 31, 32)).Masked()
	} else {
		base := pick(g, "2600::", "2600::1", "2600:0:1::", "2600:8000::", "2601::", "2600::8000:0:0:1")
		out = netip.PrefixFrom(netip.MustParseAddr(base), pick(g, 1, 16, 17, 47, 48, 64, 65, 127, 128)).Masked()
	}
	g.border(ex.Prefix(out), f)
	return out
}

// ranges draws a few prefixes or ranges that don't overlap, as text and as model.
func (g *generator) ranges(f firewall.Family, n int) ([]string, []ex.Range) {
	var text []string
	var list []ex.Range
	for range n {
		x := g.prefix(f)
		r, s := ex.Prefix(x), x.String()
		if g.IntN(3) == 0 && x.Addr().Next().Next().IsValid() {
			to := x.Addr().Next().Next().Next()
			r, s = ex.Range{From: ex.Address(x.Addr()), To: ex.Address(to)}, x.Addr().String()+"-"+to.String()
			g.border(r, f)
		}
		if !overlaps(list, r) {
			text, list = append(text, s), append(list, r)
		}
	}
	return text, list
}

func overlaps(list []ex.Range, r ex.Range) bool {
	all := ex.NewRanges(list...)
	return !all.Intersect(ex.NewRanges(r)).Empty()
}

func (g *generator) family(t *table) firewall.Family {
	switch t.family {
	case ex.FamilyIPv4:
		return firewall.IPv4
	case ex.FamilyIPv6:
		return firewall.IPv6
	}
	return g.ruleFamily
}

// only is the match that nft adds by itself where a table sees both families.
func only(t *table, f firewall.Family) []ex.Statement {
	if t.family == ex.FamilyInet || t.family == ex.FamilyNetdev {
		return []ex.Statement{ex.Only(f)}
	}
	return nil
}

func word(f firewall.Family) string {
	if f == firewall.IPv6 {
		return "ip6"
	}
	return "ip"
}

func sourceField(f firewall.Family) ex.Field {
	if f == firewall.IPv6 {
		return ex.FieldSource6
	}
	return ex.FieldSource4
}

func destField(f firewall.Family) ex.Field {
	if f == firewall.IPv6 {
		return ex.FieldDest6
	}
	return ex.FieldDest4
}

func number(n uint64) ex.Range { return ex.One(ex.Number(n)) }

func (g *generator) dest(f firewall.Family) netip.Addr {
	if f == firewall.IPv6 {
		return pick(g, host6, other6, container6)
	}
	return pick(g, host4, other4, container4)
}

// in is a match, perhaps turned about.
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

// match draws one condition of nft.
func (g *generator) match(t *table, b *ex.Base) piece {
	f := g.family(t)
	w := word(f)
	if g.IntN(4) == 0 {
		return g.rare(t, b)
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
			t.sets = append(t.sets, fmt.Sprintf("set %s { type %s; flags interval; elements = { %s }; }", name, map[string]string{"ip": "ipv4_addr", "ip6": "ipv6_addr"}[w], strings.Join(text, ", ")))
			return p(w+" saddr "+not+"@"+name, append(only(t, f), m)...)
		}
		return p(w+" saddr "+not+"{ "+strings.Join(text, ", ")+" }", append(only(t, f), m)...)
	case 7:
		x := g.prefix(f)
		port := pick(g, ports...)
		proto, pw := g.protocol()
		set := &ex.Set{Width: 2, Keys: []ex.Range{ex.Prefix(x), number(port)}}
		s := append(only(t, f), ex.In(ex.Of(ex.FieldProtocol), number(uint64(proto))))
		return p(fmt.Sprintf("%s saddr . %s dport { %s . %d }", w, pw, x, port), append(s, ex.Match{Key: []ex.Operand{ex.Of(sourceField(f)), ex.Of(ex.FieldDport)}, In: set})...)
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
		return p(fmt.Sprintf("th dport { %d, %d }", a, b), ex.In(ex.Of(ex.FieldDport), number(a), number(b)))
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
		bits := map[string]uint64{"new": 8, "established,related": 6, "invalid": 1, "untracked": 64}[state]
		return p("ct state "+state, ex.AnyBit(ex.FieldCTState, bits))
	case 19:
		switch g.IntN(4) {
		case 0:
			return p("ct status dnat", ex.AnyBit(ex.FieldCTStatus, 32))
		case 1:
			x := pick(g, ports...)
			proto, pw := g.protocol()
			return p(fmt.Sprintf("meta l4proto %s ct original proto-dst %d", pw, x), ex.In(ex.Of(ex.FieldProtocol), number(uint64(proto))), ex.In(ex.Of(ex.FieldCTOrigDport), number(x)))
		case 2:
			d := g.dest(f)
			field := ex.FieldCTOrigDest4
			if f == firewall.IPv6 {
				field = ex.FieldCTOrigDest6
			}
			return p(fmt.Sprintf("ct original %s daddr %s", w, d), append(only(t, f), ex.In(ex.Of(field), ex.One(ex.Address(d))))...)
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
		return p("tcp flags & (syn|ack) == syn", ex.In(ex.Of(ex.FieldProtocol), number(6)), ex.In(ex.Of(ex.FieldTCPFlags).And(ex.Number(18)), number(2)))
	case 22:
		if t.family != ex.FamilyInet {
			break
		}
		m, not := g.in(ex.Of(ex.FieldNFProto), number(uint64(map[firewall.Family]ex.Family{firewall.IPv4: ex.FamilyIPv4, firewall.IPv6: ex.FamilyIPv6}[f])))
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
		return p(fmt.Sprintf("%s saddr @%s", w, s.Name), append(only(t, f), ex.Match{Key: []ex.Operand{ex.Of(sourceField(f))}, In: s})...)
	case 3:
		s := g.dynamic(t, f)
		return p(fmt.Sprintf("add @%s { %s saddr }", s.Name, w), append(only(t, f), ex.SetUpdate{Set: s, Key: []ex.Operand{ex.Of(sourceField(f))}, EndsWhenFull: true})...)
	}
	return p("counter", ex.NoEffect{Text: "counter"})
}

// dynamic is the table's set that packets add to.
func (g *generator) dynamic(t *table, f firewall.Family) *ex.Set {
	name := "d" + word(f)
	if t.dynamic[name] == nil {
		if t.dynamic == nil {
			t.dynamic = map[string]*ex.Set{}
		}
		t.dynamic[name] = &ex.Set{Name: name, Width: 1, Size: 65535, Grows: true}
		t.sets = append(t.sets, fmt.Sprintf("set %s { type %s; flags dynamic; size 65535; }", name, map[string]string{"ip": "ipv4_addr", "ip6": "ipv6_addr"}[word(f)]))
	}
	return t.dynamic[name]
}

// effect draws a statement that changes something.
func (g *generator) effect(t *table, b *ex.Base) piece {
	v := uint64(1 + g.IntN(3))
	if f := g.family(t); g.IntN(8) == 0 {
		x := g.prefix(f)
		lookup := ex.Operand{Field: ex.FieldMap, Lookup: &ex.Lookup{Key: []ex.Operand{ex.Of(sourceField(f))},
			In: &ex.Set{Width: 1, Keys: []ex.Range{ex.Prefix(x)}, Data: []ex.Value{ex.Number(v)}, DataWidth: 1}}}
		return p(fmt.Sprintf("meta mark set %s saddr map { %s : %d }", word(f), x, v), append(only(t, f), ex.Assign{To: ex.FieldMark, Value: []ex.Operand{lookup}})...)
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
		return p(fmt.Sprintf("meta mark set meta mark or %d", v), set(ex.FieldMark, mark.Or(ex.Number(v))))
	case 2:
		return p(fmt.Sprintf("meta mark set meta mark and %d", v), set(ex.FieldMark, mark.And(ex.Number(v))))
	case 3:
		return p(fmt.Sprintf("meta mark set meta mark xor %d", v), set(ex.FieldMark, mark.XorWith(ex.Number(v))))
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
	return p(fmt.Sprintf("meta mark set meta mark << %d", v%2+1), set(ex.FieldMark, mark.ShiftBy(int(v%2+1))))
}

// verdict draws how a rule ends; "" if it goes on.
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
		return p("th dport vmap { "+strings.Join(elements, ", ")+" }", ex.VerdictMap{Key: []ex.Operand{ex.Of(ex.FieldDport)}, In: set})
	}
	if g.IntN(5) == 0 {
		for x := range uint64(2) {
			s, v := verdict()
			set.Keys, set.Verdicts = append(set.Keys, number(x)), append(set.Verdicts, v)
			elements = append(elements, fmt.Sprintf("%d : %s", x, s))
		}
		return p("numgen random mod 2 vmap { "+strings.Join(elements, ", ")+" }",
			ex.VerdictMap{Key: []ex.Operand{{Field: ex.FieldUnknown, Text: "numgen random mod 2", Max: ex.Number(1)}}, In: set})
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
	return p(word(f)+" saddr vmap { "+strings.Join(elements, ", ")+" }", append(only(t, f), ex.VerdictMap{Key: []ex.Operand{ex.Of(sourceField(f))}, In: set})...)
}

// translation draws a statement of NAT.
func (g *generator) translation(t *table) piece {
	f := g.family(t)
	family := map[firewall.Family]ex.Family{firewall.IPv4: ex.FamilyIPv4, firewall.IPv6: ex.FamilyIPv6}[f]
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
		return p(fmt.Sprintf("meta l4proto %s %sredirect to :%d", pw, nf, port), append(s, ex.NAT{Kind: ex.NATRedirect, Family: ex.FamilyInet, Port: &po})...)
	case 1:
		return p(fmt.Sprintf("meta l4proto %s %sdnat %s %s", pw, nf, to, d), append(s, ex.NAT{Family: family, Addr: &addr})...)
	case 2:
		last := ex.Const(ex.Number(81))
		first := ex.Const(ex.Number(80))
		return p(fmt.Sprintf("meta l4proto %s %sdnat %s %s", pw, nf, to, endpointText(d, "80-81")), append(s, ex.NAT{Family: family, Addr: &addr, Port: &first, PortMax: &last})...)
	case 3:
		x := g.prefix(f)
		lookup := ex.Operand{Field: ex.FieldMap, Lookup: &ex.Lookup{Key: []ex.Operand{ex.Of(sourceField(f))},
			In: &ex.Set{Width: 1, Keys: []ex.Range{ex.Prefix(x)}, Data: []ex.Value{ex.Address(d)}, DataWidth: 1}}}
		return p(fmt.Sprintf("meta l4proto %s %sdnat %s %s saddr map { %s : %s }", pw, nf, to, w, x, d), append(s, ex.NAT{Family: family, Addr: &lookup})...)
	}
	return p(fmt.Sprintf("meta l4proto %s %sdnat %s %s", pw, nf, to, endpointText(d, fmt.Sprint(port))), append(s, ex.NAT{Family: family, Addr: &addr, Port: &po})...)
}

func endpointText(a netip.Addr, port string) string {
	if a.Is6() {
		return "[" + a.String() + "]:" + port
	}
	return a.String() + ":" + port
}

func (g *generator) rule(t *table, b *ex.Base, nat bool, chains []string) *rule {
	r := &rule{}
	g.ruleFamily, g.ruleProtocol = pick(g, firewall.IPv4, firewall.IPv6), pick(g, firewall.TCP, firewall.UDP)
	add := func(x piece) {
		if x.text != "" {
			r.text += x.text + " "
			r.model = append(r.model, x.model...)
		}
	}
	for range g.IntN(3) {
		add(g.match(t, b))
	}
	if g.IntN(5) == 0 {
		add(g.effect(t, b))
	}
	if nat && g.IntN(2) == 0 {
		add(g.translation(t))
	} else {
		add(g.verdict(t, b, chains))
	}
	if r.text == "" {
		add(p("counter", ex.NoEffect{Text: "counter"}))
	}
	return r
}

// table draws an nft table.
func (g *generator) table(n int) *table {
	t := &table{family: pick(g, ex.FamilyInet, ex.FamilyInet, ex.FamilyIPv4, ex.FamilyIPv6, ex.FamilyNetdev), name: fmt.Sprintf("t%d", n)}
	t.ingress = t.family == ex.FamilyInet && g.IntN(8) == 0
	var users, natUsers []*chain
	names := func(list []*chain) (out []string) {
		for _, c := range list {
			out = append(out, c.name)
		}
		return out
	}
	for i := range g.IntN(4) {
		c := &chain{name: fmt.Sprintf("u%d", i)}
		for range 1 + g.IntN(4) {
			c.rules = append(c.rules, g.rule(t, nil, false, names(users)))
		}
		users = append(users, c)
	}
	if !t.early() && g.IntN(3) == 0 {
		c := &chain{name: "v0"}
		for range 1 + g.IntN(3) {
			c.rules = append(c.rules, g.rule(t, nil, true, nil))
		}
		natUsers = append(natUsers, c)
	}
	t.chains = append(append(t.chains, users...), natUsers...)
	for i := range 1 + g.IntN(3) {
		c := &chain{name: fmt.Sprintf("b%d", i), base: &ex.Base{Policy: ex.VerdictAccept}}
		b := c.base
		nat := false
		if t.early() {
			device := pick(g, "eth0", "eth0", "eth1")
			b.Hook, b.Devices, b.Priority = ex.HookIngress, []string{device}, int32(g.IntN(3))
			c.hook = fmt.Sprintf("ingress device %q", device)
			if g.answers && t.family == ex.FamilyNetdev && g.IntN(2) == 0 {
				b.Hook, c.hook = ex.HookEgress, fmt.Sprintf("egress device %q", device)
			}
		} else if g.IntN(8) == 0 && t.family != ex.FamilyNetdev {
			// Sources are translated when all is said and done.
			b.Hook, b.Type, b.Priority = ex.HookPostrouting, ex.TypeNAT, 100
			c.hook = b.Hook.String()
			if c.rules = append(c.rules, leave(leaveNFT)); g.answers {
				c.rules = nil
			}
			c.rules = append(c.rules, &rule{[]ex.Statement{ex.NAT{Kind: ex.NATMasquerade, Family: ex.FamilyInet}}, "masquerade"})
			t.chains = append(t.chains, c)
			continue
		} else {
			b.Hook = pick(g, ex.HookPrerouting, ex.HookPrerouting, ex.HookInput, ex.HookInput, ex.HookForward, ex.HookPostrouting)
			if g.answers && g.IntN(2) == 0 {
				b.Hook = pick(g, ex.HookOutput, ex.HookOutput, ex.HookPostrouting)
			}
			b.Priority = pick(g, int32(-300), -150, -110, -10, 0, 0, 10, 50)
			if b.Hook == ex.HookPrerouting && g.IntN(3) == 0 {
				b.Type, b.Priority, nat = ex.TypeNAT, pick(g, int32(-100), -100, -90, 5), true
			}
			c.hook = b.Hook.String()
		}
		if g.IntN(4) == 0 {
			b.Policy = ex.VerdictDrop
		}
		c.rules = append(c.rules, g.begin(t))
		if g.proxies && !t.early() && b.Hook == ex.HookPrerouting && !nat && g.IntN(2) == 0 {
			g.ruleFamily, g.ruleProtocol = pick(g, firewall.IPv4, firewall.IPv6), firewall.TCP
			m, to := g.match(t, b), g.proxied(t)
			c.rules = append(c.rules, &rule{append(m.model, to.model...), m.text + " " + to.text})
		}
		reach := names(users)
		if nat {
			reach = names(natUsers)
		}
		for range g.IntN(6) {
			r := g.rule(t, b, nat, reach)
			if g.answers && (b.Hook == ex.HookOutput || b.Hook >= ex.HookPostrouting) && g.IntN(4) > 0 {
				r = mirrored(r)
			}
			c.rules = append(c.rules, r)
		}
		if g.IntN(3) == 0 { // a list of bans, or of friends
			g.ruleFamily = pick(g, firewall.IPv4, firewall.IPv6)
			f := g.family(t)
			verdict := pick(g, ex.VerdictAccept, ex.VerdictDrop, ex.VerdictReturn)
			for range 4 + g.IntN(4) {
				x := g.prefix(f)
				c.rules = append(c.rules, &rule{append(only(t, f), ex.In(ex.Of(sourceField(f)), ex.Prefix(x)), ex.Verdict{Kind: verdict}), fmt.Sprintf("%s saddr %s %s", word(f), x, verdict)})
			}
		}
		t.chains = append(t.chains, c)
	}
	return t
}

// description draws a ruleset.
func (g *generator) description(seed uint64) *description {
	d := &description{seed: seed}
	if g.IntN(3) == 0 {
		d.tables = append(d.tables, g.legacyTables()...)
		d.ipsets = g.ipsets
	}
	for n := range 1 + g.IntN(3) {
		d.tables = append(d.tables, g.table(n))
	}
	if g.crowd || g.IntN(4) == 0 {
		d.tables = append(d.tables, g.crowded()...)
	}
	return d
}
