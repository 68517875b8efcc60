package exposure

import (
	"fmt"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	ex "github.com/portgrave/portgrave/firewall/exposure"
)

// crowded draws tables whose base chains share a hook and priority, so that their order is
// undefined. Each chain reads and writes marks and matches source ports, and a chain at ingress
// precedes them. Orders, doubts and marks multiply there.
func (g *generator) crowded() []*table {
	var out []*table
	add := func(t *table, b ex.Base, hook string) *chain {
		t.name = fmt.Sprintf("g%d", len(out))
		b.Policy = ex.VerdictAccept
		c := &chain{name: "c", base: &b, hook: hook, rules: []*rule{pass(passNFT)}}
		t.chains = append(t.chains, c)
		out = append(out, t)
		return c
	}
	if g.IntN(2) == 0 {
		t := &table{family: ex.FamilyNetdev}
		c := add(
			t,
			ex.Base{Hook: ex.HookIngress, Devices: []string{"eth0"}},
			`ingress device "eth0"`,
		)
		for range 1 + g.IntN(2) {
			c.rules = append(c.rules, g.remark(t))
		}
	}
	for range 1 + g.IntN(4) {
		b := ex.Base{
			Hook:     pick(g, ex.HookPrerouting, ex.HookPrerouting, ex.HookInput, ex.HookForward),
			Priority: pick(g, int32(-300), -150, -10, 0),
		}
		for range 2 + g.IntN(2) {
			t := &table{family: pick(g, ex.FamilyIPv4, ex.FamilyIPv4, ex.FamilyIPv6, ex.FamilyInet)}
			c := add(t, b, b.Hook.String())
			for range 1 + g.IntN(3) {
				c.rules = append(c.rules, g.remark(t))
			}
			if g.IntN(3) > 0 {
				c.rules = append(c.rules, g.marked(t))
			}
		}
	}
	return out
}

// remark is a rule that changes the mark of packets from some sources and source ports.
func (g *generator) remark(t *table) *rule {
	g.ruleFamily = pick(g, address.IPv4, address.IPv6)
	r := &rule{}
	add := func(x piece) {
		r.text += x.text + " "
		r.model = append(r.model, x.model...)
	}
	proto := pick(g, firewall.TCP, firewall.TCP, firewall.UDP)
	is := ex.In(ex.Of(ex.FieldProtocol), number(uint64(proto)))
	switch port := uint64(1000 + g.IntN(40)); g.IntN(4) {
	case 0, 1:
		add(
			p(
				fmt.Sprintf("%s sport %d", proto, port),
				is,
				ex.In(ex.Of(ex.FieldSport), number(port)),
			),
		)
	case 2:
		add(p(fmt.Sprintf("%s sport %d-65535", proto, port), is,
			ex.In(ex.Of(ex.FieldSport), ex.Numbers(port, 65535))))
	}
	f := g.family(t)
	x := g.prefix(f)
	add(p(word(f)+" saddr "+x.String(),
		append(only(t, f), ex.In(ex.Of(sourceField(f)), ex.Prefix(x)))...))
	bit := uint64(1) << g.IntN(5)
	mark := ex.Of(ex.FieldMark)
	set := func(text string, o ex.Operand) {
		add(p("meta mark set "+text, ex.Assign{To: ex.FieldMark, Value: []ex.Operand{o}}))
	}
	switch g.IntN(5) {
	case 0:
		set(fmt.Sprintf("meta mark or %d", bit), mark.Or(ex.Number(bit)))
	case 1:
		set(fmt.Sprintf("meta mark and %d", 31&^bit), mark.And(ex.Number(31&^bit)))
	case 2:
		set(fmt.Sprint(bit), ex.Const(ex.Number(bit)))
	default:
		set(fmt.Sprintf("meta mark xor %d", bit), mark.XorWith(ex.Number(bit)))
	}
	return r
}

// marked is a rule whose verdict depends on a mark.
func (g *generator) marked(t *table) *rule {
	g.ruleFamily = pick(g, address.IPv4, address.IPv6)
	f := g.family(t)
	x := g.prefix(f)
	mask := pick(g, uint64(0xffffffff), 1, 3, 7)
	v := uint64(g.IntN(4)) & mask
	verdict := pick(g, ex.VerdictDrop, ex.VerdictDrop, ex.VerdictAccept)
	return &rule{
		append(
			[]ex.Statement{ex.In(ex.Of(ex.FieldMark).And(ex.Number(mask)), number(v))},
			append(
				only(t, f),
				ex.In(ex.Of(sourceField(f)), ex.Prefix(x)),
				ex.Verdict{Kind: verdict},
			)...),
		fmt.Sprintf("meta mark & %#x == %d %s saddr %s %s", mask, v, word(f), x, verdict),
	}
}

// Dozens of chains share a hook and priority. In any order, the kernel's result lies within the
// bounds.
func TestKernelAgreesOnCrowdedHooks(t *testing.T) {
	t.Parallel()
	j := newJudge(t, "nft")
	j.crowded = true
	j.run(setting("PORTGRAVE_RULESETS", defaultRulesets))
}
