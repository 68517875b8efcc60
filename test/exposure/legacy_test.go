package exposure

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	ex "github.com/portgrave/portgrave/firewall/exposure"
)

// legacyTables draws iptables' tables for both families. All four tables exist, as a restore
// creates them.
func (g *generator) legacyTables() []*table {
	var out []*table
	for _, f := range []ex.Family{ex.FamilyIPv4, ex.FamilyIPv6} {
		for _, name := range []string{"raw", "mangle", "nat", "filter"} {
			out = append(out, g.legacyTable(f, name))
		}
	}
	return out
}

func (g *generator) legacyTable(f ex.Family, name string) *table {
	t := &table{legacy: true, family: f, name: name}
	user := &chain{name: "U0"}
	hooks := map[string][]string{
		"raw":    {"PREROUTING"},
		"mangle": {"PREROUTING", "INPUT", "FORWARD"},
		"nat":    {"PREROUTING", "POSTROUTING"},
		"filter": {"INPUT", "FORWARD"},
	}[name]
	if g.answers {
		hooks = map[string][]string{"raw": {"PREROUTING", "OUTPUT"}, "mangle": {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"},
			"nat": {"PREROUTING", "POSTROUTING"}, "filter": {"INPUT", "FORWARD", "OUTPUT"}}[name]
	}
	for range g.IntN(3) {
		user.rules = append(user.rules, g.legacyRule(t, "", ""))
	}
	t.chains = append(t.chains, user)
	for _, hook := range hooks {
		c := &chain{name: hook, base: ex.XTablesBase(name, hook, ex.VerdictAccept)}
		if name != "nat" && g.IntN(5) == 0 {
			c.base.Policy = ex.VerdictDrop
		}
		if hook == "POSTROUTING" && !g.answers {
			c.rules = append(c.rules, leave(leaveXT))
		} else {
			c.rules = append(c.rules, g.begin(t))
		}
		for n := g.IntN(5); n > 0 || g.proxies && name == "mangle" && n > -3; n-- {
			r := g.legacyRule(t, hook, "U0")
			if g.answers && (hook == "OUTPUT" || hook == "POSTROUTING") && g.IntN(4) > 0 {
				r = mirrored(r)
			}
			c.rules = append(c.rules, r)
		}
		t.chains = append(t.chains, c)
	}
	return t
}

func (g *generator) legacyRule(t *table, hook, user string) *rule {
	r := &rule{}
	add := func(x piece) {
		r.text += x.text + " "
		r.model = append(r.model, x.model...)
	}
	proto := firewall.Protocol(0)
	g.ruleProtocol, g.destined = pick(g, firewall.TCP, firewall.UDP), false
	g.sourced, g.entered, g.left, g.single, g.flagged = false, false, false, false, false
	if t.name == "nat" || g.IntN(2) == 0 {
		var pw string
		proto, pw = g.protocol()
		g.single = true
		add(p("-p "+pw, ex.In(ex.Of(ex.FieldProtocol), number(uint64(proto)))))
		if g.IntN(2) == 0 {
			x := pick(g, ports...)
			m, not := g.in(ex.Of(ex.FieldDport), ex.Numbers(x, x+1))
			not = strings.TrimPrefix(not, "!= ")
			if m.Not {
				not = "! "
			}
			add(p(fmt.Sprintf("%s--dport %d:%d", not, x, x+1), m))
		}
	}
	for range g.IntN(3) {
		if g.IntN(2) == 0 {
			add(g.extension(t, hook, proto))
		} else {
			add(g.legacyMatch(t, proto))
		}
	}
	add(g.legacyTarget(t, hook, user))
	return r
}

func (g *generator) family4or6(t *table) address.Family {
	if t.family == ex.FamilyIPv6 {
		return address.IPv6
	}
	return address.IPv4
}

func (g *generator) legacyMatch(t *table, proto firewall.Protocol) piece {
	f := g.family4or6(t)
	not := func(m ex.Match) string {
		if m.Not {
			return "! "
		}
		return ""
	}
	switch g.IntN(10) {
	case 0, 1, 2:
		x := g.prefix(f)
		list := []ex.Range{ex.Prefix(x)}
		m, _ := g.in(ex.Of(sourceField(f)), list...)
		low := ex.Prefix(x).From
		return p(
			fmt.Sprintf(
				"-m iprange %s--src-range %s-%s",
				not(m),
				addressOf(low, f),
				addressOf(ex.Prefix(x).To, f),
			),
			m,
		)
	case 3:
		v, mask := uint64(g.IntN(4)), pick(g, uint64(1), 3, 0xff)
		m, _ := g.in(ex.Of(ex.FieldMark).And(ex.Number(mask)), number(v&mask))
		return p(fmt.Sprintf("-m mark %s--mark %#x/%#x", not(m), v&mask, mask), m)
	case 4:
		if t.name == "raw" {
			return p("-m comment --comment raw", ex.NoEffect{Text: "comment"})
		}
		v := uint64(g.IntN(3))
		m, _ := g.in(ex.Of(ex.FieldCTMark), number(v))
		return p(fmt.Sprintf("-m connmark %s--mark %d", not(m), v), m)
	case 5:
		state, bits := "NEW", uint64(8)
		switch g.IntN(3) {
		case 0:
			state, bits = "ESTABLISHED,RELATED", 6
		case 1:
			state, bits = "UNTRACKED", 64
		}
		m := ex.AnyBit(ex.FieldCTState, bits)
		if g.IntN(4) == 0 {
			m.Not = false
			return p("-m conntrack ! --ctstate "+state, m)
		}
		return p("-m conntrack --ctstate "+state, m)
	case 6:
		if proto == 0 {
			break
		}
		m := ex.In(ex.Of(ex.FieldDport), number(80), ex.Numbers(8080, 8081))
		m.Not = g.IntN(3) == 0
		return p(fmt.Sprintf("-m multiport %s--dports 80,8080:8081", not(m)), m)
	case 7:
		m, _ := g.in(ex.Operand{Field: ex.FieldFib, Fib: ex.Fib{Of: ex.FibDest}}, number(2))
		return p(fmt.Sprintf("-m addrtype %s--dst-type LOCAL", not(m)), m)
	case 8:
		if g.destined {
			break
		}
		g.destined = true
		d := g.dest(f)
		m, _ := g.in(ex.Of(destField(f)), ex.One(ex.Address(d)))
		return p(fmt.Sprintf("%s-d %s", not(m), d), m)
	}
	x := g.prefix(f)
	return p(
		fmt.Sprintf(
			"-m iprange --src-range %s-%s",
			addressOf(ex.Prefix(x).From, f),
			addressOf(ex.Prefix(x).To, f),
		),
		ex.In(ex.Of(sourceField(f)), ex.Prefix(x)),
	)
}

func (g *generator) legacyTarget(t *table, hook, user string) piece {
	f := g.family4or6(t)
	if hook == "POSTROUTING" && t.name == "nat" {
		if g.IntN(2) == 0 {
			return g.sourceNAT(t)
		}
		return p("-m comment --comment nothing", ex.NoEffect{Text: "comment"})
	}
	if t.name == "nat" && g.IntN(2) == 0 {
		if g.IntN(2) == 0 {
			return g.translate(t)
		}
		port := pick(g, ports...)
		po := ex.Const(ex.Number(port))
		if g.IntN(2) == 0 {
			return p(
				fmt.Sprintf("-j REDIRECT --to-ports %d", port),
				ex.NAT{Kind: ex.NATRedirect, Family: t.family, Port: &po},
			)
		}
		d := g.dest(f)
		addr := ex.Const(ex.Address(d))
		return p(
			"-j DNAT --to-destination "+endpointText(d, fmt.Sprint(port)),
			ex.NAT{Family: t.family, Addr: &addr, Port: &po},
		)
	}
	if t.name == "raw" && g.IntN(4) == 0 {
		return p("-j CT --notrack", ex.NoTrack{})
	}
	if g.proxies && t.name == "mangle" && hook == "PREROUTING" && g.ruleProtocol == firewall.TCP &&
		g.single {
		return g.proxiedXT(t)
	}
	if t.name == "raw" && g.IntN(8) == 0 {
		// Any template keeps a packet from being untracked later. Zones have one direction, so that
		// answers find their connection.
		if g.IntN(2) == 0 {
			return p(
				"-j CT --ctevents new",
				ex.Assign{To: ex.FieldCTZone, Value: []ex.Operand{ex.Const(ex.Number(0))}},
			)
		}
		return p(
			"-j CT --zone-orig 1",
			ex.Assign{To: ex.FieldCTZone, Value: []ex.Operand{ex.Const(ex.Number(1))}},
		)
	}
	if t.name != "nat" && t.name != "raw" && g.IntN(12) == 0 {
		s := g.grownSet(f)
		return p(
			fmt.Sprintf("-j SET --add-set %s src", s.Name),
			ex.SetUpdate{Set: s, Key: []ex.Operand{ex.Of(sourceField(f))}},
		)
	}
	if t.name == "mangle" && g.IntN(4) == 0 {
		return g.marking()
	}
	if t.name == "mangle" && g.IntN(2) == 0 {
		v, mask := uint64(g.IntN(4)), pick(g, uint64(1), 3, 0xff)
		switch g.IntN(3) {
		case 0:
			return p(
				"-j CONNMARK --save-mark",
				ex.Assign{To: ex.FieldCTMark, Value: []ex.Operand{ex.Of(ex.FieldMark)}},
			)
		case 1:
			return p(
				"-j CONNMARK --restore-mark --nfmask 0x1 --ctmask 0x1",
				ex.Assign{To: ex.FieldMark,
					Value: []ex.Operand{
						ex.Of(ex.FieldMark).And(ex.Number(0xfffffffe)),
						ex.Of(ex.FieldCTMark).And(ex.Number(1)),
					}},
			)
		}
		return p(
			fmt.Sprintf("-j MARK --set-xmark %#x/%#x", v, mask),
			ex.Assign{
				To: ex.FieldMark,
				Value: []ex.Operand{
					ex.Of(ex.FieldMark).And(ex.Number(0xffffffff &^ mask)).XorWith(ex.Number(v)),
				},
			},
		)
	}
	verdict := func(text string, k ex.VerdictKind) piece {
		return p("-j "+text, ex.Verdict{Kind: k})
	}
	switch n := g.IntN(8); {
	case n < 2:
		return verdict("ACCEPT", ex.VerdictAccept)
	case n < 4 && t.name != "nat":
		return verdict("DROP", ex.VerdictDrop)
	case n == 4:
		return verdict("RETURN", ex.VerdictReturn)
	case n == 5 && t.name == "filter" && hook != "":
		return verdict("REJECT", ex.VerdictReject)
	case user != "" && n == 6:
		return p("-g "+user, ex.Verdict{Kind: ex.VerdictGoto, Chain: user})
	case user != "":
		return p("-j "+user, ex.Verdict{Kind: ex.VerdictJump, Chain: user})
	}
	return p("-m comment --comment nothing", ex.NoEffect{Text: "comment"})
}
