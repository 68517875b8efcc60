package nft

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/netlink/nftables"
	"pgregory.net/rapid"
)

func drawPrefix(t *rapid.T) (address.Family, netip.Prefix) {
	f := rapid.SampledFrom(address.Families).Draw(t, "family")
	raw := rapid.SliceOfN(
		rapid.Byte(), int(loadAddress(f, false).Len), int(loadAddress(f, false).Len),
	).
		Draw(t, "address")
	a, _ := netip.AddrFromSlice(raw)
	p, err := a.Prefix(rapid.IntRange(0, a.BitLen()).Draw(t, "length"))
	if err != nil {
		t.Fatal(err)
	}
	return f, p
}

// What a rule lets in is known from what the kernel reports of it; of a rule that does another
// thing nothing is said.
func TestSourceOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, p := drawPrefix(t)
		for _, simple := range []bool{true, false} {
			r := letIn(newRule().saddr(f, p), "web", f, simple)
			if got, ok := ofService("web").sourceOf(r); !ok || got != p {
				t.Fatalf("%s: %v, %v", p, got, ok)
			}
			if got, ok := ofService("other").sourceOf(r); ok {
				t.Fatalf("%s of another service: %v", p, got)
			}
		}
		for what, r := range map[string]rule{
			"uncounted":         newRule().saddr(f, p).accept(),
			"drop":              newRule().saddr(f, p).drop(),
			"two conditions":    letIn(newRule().saddr(f, p).l4proto(6), "web", f, true),
			"a set":             letIn(newRule().saddrIn(f, "svc/web/nets-ipv4"), "web", f, true),
			"a range":           letIn(newRule().saddrBelow(f, p.Addr()), "web", f, true),
			"counted elsewhere": newRule().saddr(f, p).count("svc/web/refused-ipv4").accept(),
			"no source":         newRule().jump(exemptChain),
		} {
			if got, ok := ofService("web").sourceOf(r); ok {
				t.Fatalf("%s: %s is taken for the source %s", what, r, got)
			}
		}
	})
}

// ofService is the chain of a service.
func ofService(name string) *chain {
	return &chain{name: serviceChain(name), is: parseName(serviceChain(name))}
}

// FuzzSourceOf: whatever stands in a rule, what it is said to let in makes that very rule.
func FuzzSourceOf(f *testing.F) {
	family := func(p netip.Prefix) address.Family { return partOfSource("web", p).family }
	for _, s := range []string{
		"10.0.0.0/8", "10.0.0.0/9", "0.0.0.0/0", "192.0.2.1/32", "2001:db8::/33", "::/0",
	} {
		p := netip.MustParsePrefix(s)
		f.Add(letIn(newRule().saddr(family(p), p), "web", family(p), true).AppendExprs(nil))
	}
	f.Add(
		rule{
			Exprs: []nftables.Expr{
				nftables.Meta{},
				nftables.Cmp{Data: "\x02"},
				nftables.Payload{Len: 99},
				nftables.Bitwise{
					Mask: "\xff\xff\xff\xff\xff\xff\xff\xff",
				},
				nftables.Cmp{Data: "0123456789abcdef"},
			},
		}.AppendExprs(
			nil,
		),
	)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := new(nftables.Decoder).Rule(raw)
		if err != nil {
			return
		}
		p, ok := ofService("web").sourceOf(r)
		if !ok {
			return
		}
		for _, simple := range []bool{true, false} {
			if letIn(newRule().saddr(family(p), p), "web", family(p), simple).Equal(r) {
				return
			}
		}
		t.Errorf("%q is taken for %s", r, p)
	})
}

// From rules to sets by length and back, a plan names the sources that come and go, and what leads
// to them.
func TestRulesAndLargeParts(t *testing.T) {
	k := newFakeKernel()
	b := withKernel(k)
	r := reconciler(b)
	few, all := backendtest.List(t, 2), backendtest.List(t, 40)
	state := func(sources address.Set) firewall.State {
		s := simple(t)
		s.Services = slices.Clone(s.Services)
		s.Services[0].Sources = sources
		return s
	}
	start := state(few)
	if _, err := r.Apply(context.Background(), &start, false); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		sources, differ address.Set
		action          firewall.Action
	}{{all, all.Minus(few), firewall.Add}, {few, all.Minus(few), firewall.Remove}} {
		next := state(step.sources)
		out, err := r.Apply(context.Background(), &next, false)
		if err != nil {
			t.Fatal(err)
		}
		var elements []string
		for _, c := range out.Plan.Changes {
			switch {
			case c.Object == firewall.ObjectElement && c.Action == step.action:
				elements = append(elements, c.Detail)
			case c.Object != firewall.ObjectRule:
				t.Errorf("%s: %s", step.action, c)
			}
		}
		var want []string
		for x := range step.differ.All() {
			want = append(want, x.String())
		}
		slices.Sort(elements)
		slices.Sort(want)
		if !slices.Equal(elements, want) {
			t.Errorf("%s: %v, want %v", step.action, elements, want)
		}
	}
}

// A set that no rule of ours leads to lets nobody in, so a plan does not take its elements for what
// the rules that are missing would let in.
func TestSetsThatNothingLeadsTo(t *testing.T) {
	now := time.Now()
	want := simple(t)
	rules := compile(want, now, layout{})
	have := compile(want, now, layout{limits: limits{lengths: 100, split: 200}}) // in sets
	c := have.chains[serviceChain("prometheus")]
	var words []string
	for _, c := range compare(rules, have).changes(rules, have) {
		words = append(words, c.String())
	}
	if want := []string{
		`remove rule of prometheus: chain svc/prometheus: ip saddr @svc/prometheus/nets-ipv4 counter name "svc/prometheus/allowed-ipv4" accept`,
		`remove rule of prometheus: chain svc/prometheus: ip6 saddr @svc/prometheus/nets-ipv6 counter name "svc/prometheus/allowed-ipv6" accept`,
	}; !slices.Equal(words, want) {
		t.Errorf("from sets to rules: %q", words)
	}
	c.rules = slices.DeleteFunc(
		slices.Clone(c.rules),
		func(r rule) bool { return r.Uses("svc/prometheus/nets-ipv4") },
	)
	changes := compare(rules, have).changes(rules, have)
	if !slices.ContainsFunc(changes, func(c firewall.Change) bool {
		return c == firewall.Change{
			Action:  firewall.Add,
			Object:  firewall.ObjectElement,
			Service: "prometheus",
			Family:  "ipv4",
			Detail:  "10.0.0.0/8",
			Count:   1,
		}
	}) {
		t.Errorf("without the rule that led to a set: %v", changes)
	}
}
