package exposure

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	ex "github.com/portgrave/portgrave/firewall/exposure"
)

// Every base chain begins by accepting everything that doesn't come from outside, so that the
// answers that a test waits for don't meet random rules.
const (
	passNFT = `iifname != "eth0" accept`
	passXT  = "! -i eth0 -j ACCEPT"
)

// Answers keep their source: the kernel would take those to untracked packets for connections of
// their own.
const (
	leaveNFT = `oifname "eth0" accept`
	leaveXT  = "-o eth0 -j ACCEPT"
)

// Neighbour discovery has to work, whatever the rules for answers.
const (
	neighboursNFT = `meta l4proto ipv6-icmp accept`
	neighboursXT  = "-p ipv6-icmp -j ACCEPT"
)

func neighbours(text string) *rule {
	return &rule{
		[]ex.Statement{
			ex.In(ex.Of(ex.FieldProtocol), number(58)),
			ex.Verdict{Kind: ex.VerdictAccept},
		},
		text,
	}
}

// begin is the first rule of a base chain. Random rules meet answers only if the generator is asked
// for that.
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
	return &rule{
		[]ex.Statement{
			ex.In(ex.Of(ex.FieldOutName), ex.One(ex.Name("eth0"))),
			ex.Verdict{Kind: ex.VerdictAccept},
		},
		text,
	}
}

func pass(text string) *rule {
	return &rule{
		[]ex.Statement{
			ex.NotIn(ex.Of(ex.FieldInName), ex.One(ex.Name("eth0"))),
			ex.Verdict{Kind: ex.VerdictAccept},
		},
		text,
	}
}

// The ports that host and container listen on.
var ports = []uint64{80, 81, 8080, 8081}

var (
	container4 = netip.MustParseAddr("172.17.0.2")
	container6 = netip.MustParseAddr("fd00:17::2")
	host4      = netip.MustParseAddr("198.51.100.10")
	host6      = netip.MustParseAddr("2001:db8:100::10")
	other4     = netip.MustParseAddr("198.51.100.11")
	other6     = netip.MustParseAddr("2001:db8:100::11")
)

// generator draws a ruleset. borders collects the sources at which rules begin to differ.
type generator struct {
	*rand.Rand
	borders map[netip.Addr]bool

	// nft allows one family and one protocol for each rule.
	ruleFamily   address.Family
	ruleProtocol firewall.Protocol
	// iptables allows -d, -s, -i and -o once for each rule.
	destined, sourced, entered, left, flagged bool
	single                                    bool // it has -p

	proxies bool // transparent proxies are among the rules
	answers bool // rules meet the answers too
	// all rulesets have several chains of one hook and priority; otherwise each fourth has
	crowd bool

	ipsets []string           // as `ipset restore` takes them
	grown  map[string]*ex.Set // ipsets that rules add to, by name
}

func newGenerator(seed uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 5)), borders: map[netip.Addr]bool{}}
}

func pick[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

// piece is a part of a rule, as model and as text.
type piece struct {
	model []ex.Statement
	text  string
}

func p(text string, model ...ex.Statement) piece { return piece{model, text} }

func (g *generator) border(r ex.Range, f address.Family) {
	for _, a := range []netip.Addr{addressOf(r.From, f), addressOf(r.To, f)} {
		g.borders[a], g.borders[a.Prev()], g.borders[a.Next()] = true, true, true
	}
}

func addressOf(v ex.Value, f address.Family) netip.Addr {
	if f == address.IPv6 {
		return v.IPv6()
	}
	return v.IPv4()
}

func (g *generator) prefix(f address.Family) netip.Prefix {
	var out netip.Prefix
	if f == address.IPv4 {
		base := pick(
			g,
			"20.0.0.0",
			"20.0.0.129",
			"20.0.1.0",
			"20.1.0.0",
			"20.128.0.0",
			"21.0.0.0",
			"100.64.0.1",
		)
		out = netip.PrefixFrom(
			netip.MustParseAddr(base), pick(g, 1, 8, 9, 15, 16, 23, 24, 25, 31, 32),
		).
			Masked()
	} else {
		base := pick(
			g, "2600::", "2600::1", "2600:0:1::", "2600:8000::", "2601::", "2600::8000:0:0:1",
		)
		out = netip.PrefixFrom(
			netip.MustParseAddr(base), pick(g, 1, 16, 17, 47, 48, 64, 65, 127, 128),
		).Masked()
	}
	g.border(ex.Prefix(out), f)
	return out
}

// ranges draws a few prefixes or ranges that don't overlap, as text and as model.
func (g *generator) ranges(f address.Family, n int) ([]string, []ex.Range) {
	var text []string
	var list []ex.Range
	for range n {
		x := g.prefix(f)
		r, s := ex.Prefix(x), x.String()
		if g.IntN(3) == 0 && x.Addr().Next().Next().IsValid() {
			to := x.Addr().Next().Next().Next()
			r, s = ex.Range{
				From: ex.Address(x.Addr()),
				To:   ex.Address(to),
			}, x.Addr().
				String()+
				"-"+to.String()
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

func (g *generator) family(t *table) address.Family {
	switch t.family {
	case ex.FamilyIPv4:
		return address.IPv4
	case ex.FamilyIPv6:
		return address.IPv6
	}
	return g.ruleFamily
}

// only is the match that nft adds implicitly where a table sees both families.
func only(t *table, f address.Family) []ex.Statement {
	if t.family == ex.FamilyInet || t.family == ex.FamilyNetdev {
		return []ex.Statement{ex.Only(f)}
	}
	return nil
}

func word(f address.Family) string {
	if f == address.IPv6 {
		return "ip6"
	}
	return "ip"
}

func sourceField(f address.Family) ex.Field {
	if f == address.IPv6 {
		return ex.FieldSource6
	}
	return ex.FieldSource4
}

func destField(f address.Family) ex.Field {
	if f == address.IPv6 {
		return ex.FieldDest6
	}
	return ex.FieldDest4
}

func number(n uint64) ex.Range { return ex.One(ex.Number(n)) }

func (g *generator) dest(f address.Family) netip.Addr {
	if f == address.IPv6 {
		return pick(g, host6, other6, container6)
	}
	return pick(g, host4, other4, container4)
}

func (g *generator) rule(t *table, b *ex.Base, nat bool, chains []string) *rule {
	r := &rule{}
	g.ruleFamily, g.ruleProtocol = pick(
		g,
		address.IPv4,
		address.IPv6,
	), pick(
		g,
		firewall.TCP,
		firewall.UDP,
	)
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
	t := &table{
		family: pick(
			g,
			ex.FamilyInet,
			ex.FamilyInet,
			ex.FamilyIPv4,
			ex.FamilyIPv6,
			ex.FamilyNetdev,
		),
		name: fmt.Sprintf("t%d", n),
	}
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
			// Source NAT runs after all other hooks.
			b.Hook, b.Type, b.Priority = ex.HookPostrouting, ex.TypeNAT, 100
			c.hook = b.Hook.String()
			if c.rules = append(c.rules, leave(leaveNFT)); g.answers {
				c.rules = nil
			}
			c.rules = append(c.rules, &rule{
				[]ex.Statement{ex.NAT{Kind: ex.NATMasquerade, Family: ex.FamilyInet}}, "masquerade",
			})
			t.chains = append(t.chains, c)
			continue
		} else {
			b.Hook = pick(
				g, ex.HookPrerouting, ex.HookPrerouting, ex.HookInput, ex.HookInput, ex.HookForward,
				ex.HookPostrouting,
			)
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
			g.ruleFamily, g.ruleProtocol = pick(g, address.IPv4, address.IPv6), firewall.TCP
			m, to := g.match(t, b), g.proxied(t)
			c.rules = append(c.rules, &rule{append(m.model, to.model...), m.text + " " + to.text})
		}
		reach := names(users)
		if nat {
			reach = names(natUsers)
		}
		for range g.IntN(6) {
			r := g.rule(t, b, nat, reach)
			if g.answers && (b.Hook == ex.HookOutput || b.Hook >= ex.HookPostrouting) &&
				g.IntN(4) > 0 {
				r = mirrored(r)
			}
			c.rules = append(c.rules, r)
		}
		if g.IntN(3) == 0 { // a list of bans, or of allowed sources
			g.ruleFamily = pick(g, address.IPv4, address.IPv6)
			f := g.family(t)
			verdict := pick(g, ex.VerdictAccept, ex.VerdictDrop, ex.VerdictReturn)
			for range 4 + g.IntN(4) {
				x := g.prefix(f)
				c.rules = append(
					c.rules,
					&rule{
						append(
							only(t, f),
							ex.In(ex.Of(sourceField(f)), ex.Prefix(x)),
							ex.Verdict{Kind: verdict},
						),
						fmt.Sprintf("%s saddr %s %s", word(f), x, verdict),
					},
				)
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
