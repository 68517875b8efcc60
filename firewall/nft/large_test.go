package nft

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"pgregory.net/rapid"
)

// scattered is n disjoint prefixes of one family, of all lengths that fit, never touching.
func scattered(t testing.TB, f address.Family, n int, seed uint64) address.Set {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	slot := uint64(1<<31) / uint64(n) // half the address space
	var b address.Builder
	for i := range n {
		host := r.IntN(max(1, min(15, 63-bitsLeading(slot))))
		first := uint64(1<<30) + uint64(i)*slot&^(1<<host-1) + 1<<host
		p := netip.PrefixFrom(address.V4(first).IP(), 32-host)
		if f == address.IPv6 {
			p = netip.PrefixFrom(address.V6{Hi: 0x2000<<48 | first<<28}.IP(), 68-host)
		}
		if err := b.Add(p); err != nil {
			t.Fatal(err)
		}
	}
	return b.Set()
}

func bitsLeading(slot uint64) int {
	n := 0
	for x := uint64(1) << 63; x > slot/4; x >>= 1 {
		n++
	}
	return n
}

// large is a State of services in each shape and family.
func large(t testing.TB, n int, seed uint64) firewall.State {
	t.Helper()
	both := scattered(t, address.IPv4, n, seed).Union(scattered(t, address.IPv6, n, seed))
	return backendtest.Canonical(
		t,
		firewall.State{
			Unlisted:    firewall.UnlistedDeny,
			Refuse:      firewall.RefuseDrop,
			Established: firewall.EstablishedCut,
			Essentials:  firewall.DefaultEssentials,
			Services: []firewall.Service{
				{
					Name:  "lengths",
					Ports: []firewall.PortRange{{Protocol: firewall.TCP, First: 80, Last: 81}},
					Sources: scattered(
						t,
						address.IPv4,
						lengthsThreshold+100,
						seed,
					).Union(scattered(t, address.IPv6, lengthsThreshold, seed)),
					Log: firewall.LogAll,
					Expiring: []firewall.ExpiringSource{
						{
							Prefix: netip.MustParsePrefix("1.2.3.0/24"),
							Until:  time.Now().Add(time.Hour),
						},
					},
				},
				{
					Name:    "small",
					Ports:   []firewall.PortRange{{Protocol: firewall.TCP, First: 90, Last: 90}},
					Sources: address.Must("10.0.0.0/8"),
					Log:     firewall.LogDenied,
				},
				{
					Name: "split",
					Ports: []firewall.PortRange{
						{Protocol: firewall.UDP, First: 53, Last: 53},
						{Protocol: firewall.TCP, First: 443, Last: 443},
					},
					Sources: both.Union(
						address.Must("8.0.0.0/7", "240.0.0.0/12", "fc00::/7"),
					),
					Log: firewall.LogDenied,
				},
			},
		},
	)
}

func TestScriptMakesTheSameLargeObjects(t *testing.T) {
	inNamespace(t)
	b, state := open(t), large(t, splitThreshold, 1)
	state.Services[0].Expiring = nil // its time would run while nft works
	nftProgram(t, Script(state, time.Now()), "-f", "-")
	if p := planOf(t, b, &state); !p.InSync() {
		t.Errorf("after nft -f of the script, apply would change:\n%s", changesText(p))
	}
}

// However it is held, a plan names what came and what went, by CIDR, and nothing else.
func TestChangesOfLargeParts(t *testing.T) {
	inNamespace(t)
	b, state := open(t), large(t, splitThreshold, 1)
	apply(t, b, &state)
	index := func(name string) int {
		return slices.IndexFunc(
			state.Services,
			func(s firewall.Service) bool { return s.Name == name },
		)
	}
	for _, service := range []string{"lengths", "split"} {
		for _, cidr := range []string{
			"20.0.0.0/12", "20.0.0.0/7", "7.7.7.7/32", "7.7.0.0/16", "2000:aaaa::/32",
			"2000:aaaa::1/128", "3000::/4",
		} {
			for _, action := range []firewall.Action{firewall.Add, firewall.Remove} {
				next := state
				next.Services = slices.Clone(state.Services)
				svc := &next.Services[index(service)]
				if action == firewall.Add {
					svc.Sources = svc.Sources.Union(address.Must(cidr))
				} else {
					svc.Sources = svc.Sources.Minus(address.Must(cidr))
				}
				out := apply(t, b, &next)
				family := address.IPv4
				if netip.MustParsePrefix(cidr).Addr().Is6() {
					family = address.IPv6
				}
				want := []firewall.Change{
					{
						Action:  action,
						Object:  firewall.ObjectElement,
						Service: service,
						Family:  family.String(),
						Detail:  cidr,
						Count:   1,
					},
				}
				if !slices.Equal(out.Plan.Changes, want) {
					t.Errorf("%s %s %s:\n%s", action, cidr, service, changesText(out.Plan))
				}
				state = next
			}
		}
	}
}

// What has changed a little is cut as it would be anew.
func TestRecut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom(address.Families).Draw(t, "family")
		draw := func(label string, n int) address.Set {
			var b address.Builder
			for range rapid.IntRange(0, n).Draw(t, label) {
				bits := rapid.SampledFrom([]int{8, 11, 12, 13, 16, 17, 24, 31, 32}).Draw(t, "bits")
				top := uint64(rapid.IntRange(0x1000, 0x10ff).Draw(t, "top"))
				p := netip.PrefixFrom(
					address.V4(top<<16|rapid.Uint64Range(0, 3).Draw(t, "low")).IP(),
					bits,
				)
				if f == address.IPv6 {
					p = netip.PrefixFrom(address.V6{Hi: top << 48}.IP(), bits+4)
				}
				_ = b.Add(p.Masked())
			}
			return b.Set()
		}
		as := form{shape: shapeLengths}
		if rapid.Bool().Draw(t, "split") {
			as.shape = shapeSplit
			for i := range as.bounds {
				bound := uint64(0x1000+0x20*(i+1)) << 16
				if as.bounds[i] = address.V4(bound).IP(); f == address.IPv6 {
					as.bounds[i] = address.V6{Hi: bound << 32}.IP()
				}
			}
		}
		before := draw("before", 40)
		after := before.Minus(draw("less", 2)).Union(draw("more", 2))
		want, got := cut(after, f, as), cut(before, f, as).recut(after, f, as)
		if got.form != as || len(got.shards) != len(want.shards) {
			t.Fatalf(
				"%v with %d shards, want %v with %d",
				got.form,
				len(got.shards),
				as,
				len(want.shards),
			)
		}
		for i := range want.shards {
			if !maps.EqualFunc(got.shards[i], want.shards[i], address.List.Equal) {
				t.Fatalf("shard %d: %v, want %v", i, got.shards[i], want.shards[i])
			}
		}
	})
}

// Lists that crowd together are split as evenly as those that are spread.
func TestSplitIsEven(t *testing.T) {
	crowded := func(network string, length int) address.Set {
		var b address.Builder
		r := rand.New(rand.NewPCG(1, 1))
		base := netip.MustParsePrefix(network)
		for range 20000 {
			a := base.Addr().AsSlice()
			for bit := base.Bits(); bit < length; bit++ {
				a[bit/8] |= byte(r.IntN(2)) << (7 - bit%8)
			}
			addr, _ := netip.AddrFromSlice(a)
			_ = b.Add(netip.PrefixFrom(addr, length))
		}
		return b.Set()
	}
	for name, c := range map[string]struct {
		sources address.Set
		family  address.Family
	}{
		"all over IPv4":             {scattered(t, address.IPv4, 20000, 1), address.IPv4},
		"all over IPv6":             {scattered(t, address.IPv6, 20000, 1), address.IPv6},
		"one IPv4 network":          {crowded("10.20.0.0/16", 32), address.IPv4},
		"one IPv6 documentation":    {crowded("2001:db8::/32", 48), address.IPv6},
		"one IPv6 network of sites": {crowded("2001:db8::/32", 64), address.IPv6},
		"one IPv6 link":             {crowded("2001:db8:1:2::/64", 128), address.IPv6},
	} {
		as := limits{lengths: 1, split: 2}.formOf(c.sources, c.family, form{})
		most, all := 0, 0
		for _, lists := range cut(c.sources, c.family, as).shards {
			n := 0
			for _, k := range lists {
				n += k.Len()
			}
			most, all = max(most, n), all+n
		}
		if all != c.sources.FamilyLen(c.family) || most > 2*all/splitParts {
			t.Errorf("%s: split at %v, the largest part has %d of %d", name, as.bounds, most, all)
		}
	}
}

// Whatever becomes of the rules that lead to the parts, it is seen and repaired; what can still be
// told from them is left where it is.
func TestRulesToPartsAreRepaired(t *testing.T) {
	inNamespace(t)
	b, state := open(t), large(t, splitThreshold, 1)
	apply(t, b, &state)
	for _, script := range []string{
		"insert rule inet portgrave svc/split/ipv4 accept",
		"flush chain inet portgrave svc/split/ipv4",
		"flush chain inet portgrave svc/split/ipv6; add rule inet portgrave svc/split/ipv6 ip6 saddr < 3000:: goto svc/split/ipv6-0",
	} {
		if err := tryNft(strings.NewReplacer("; ", "\n").Replace(script)); err != nil {
			t.Fatalf("%s: %v", script, err)
		}
		if p := planOf(t, b, &state); p.InSync() {
			t.Errorf("after %s nothing is to be changed", script)
		}
		apply(t, b, &state)
		if p := planOf(t, open(t), &state); !p.InSync() {
			t.Errorf("after %s, applied and read anew:\n%s", script, changesText(p))
		}
		held, err := b.look()
		if err != nil {
			t.Fatal(err)
		}
		for _, svc := range state.Services {
			for _, f := range address.Families {
				if p := (part{svc.Name, f}); svc.Name == "split" &&
					!held.sourcesOf(p).Equal(onlyOf(svc.Sources, f)) {
					t.Errorf("after %s, the sets of %v hold other sources", script, p)
				}
			}
		}
	}
}

func onlyOf(p address.Set, f address.Family) address.Set {
	var b address.Builder
	for x := range p.Family(f) {
		_ = b.Add(x)
	}
	return b.Set()
}
