package xt

import (
	"fmt"
	"maps"
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

// drawElements is some elements of one family that touch, and lie in each other, in no order.
func drawElements(
	t *rapid.T,
	f address.Family,
	now time.Time,
	label string,
) map[netip.Prefix]time.Time {
	base := map[address.Family]string{
		address.IPv4: "10.0.0.%d/%d",
		address.IPv6: "2001:db8::%x/%d",
	}[f]
	full := map[address.Family]int{address.IPv4: 32, address.IPv6: 128}[f]
	out := map[netip.Prefix]time.Time{}
	for range rapid.IntRange(0, 12).Draw(t, label) {
		p := firewallPrefix(
			fmt.Sprintf(
				base,
				rapid.IntRange(0, 15).Draw(t, "address"),
				full-rapid.IntRange(0, 3).Draw(t, "host bits"),
			),
		).Masked()
		out[p] = time.Time{}
		if minutes := rapid.IntRange(0, 2).Draw(t, "minutes"); minutes > 0 {
			out[p] = now.Add(time.Duration(minutes) * time.Minute)
		}
	}
	return out
}

func listOf(of map[netip.Prefix]time.Time) *list {
	l := &list{}
	for p, until := range of { // in the map's order, which is none
		l.add(element{prefix: p, until: until})
	}
	l.sort()
	return l
}

// The difference of two lists is what looking up each element in the other says.
func TestDiffElements(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
		f := rapid.SampledFrom(address.Families).Draw(t, "family")
		want, have := drawElements(t, f, now, "want"), drawElements(t, f, now, "have")
		w, h := listOf(want), listOf(have)
		if got := slices.Collect(w.all()); !slices.IsSortedFunc(got, compareElements) ||
			len(got) != len(want) {
			t.Fatalf("in order: %v", got)
		}
		lacking, surplus := map[netip.Prefix]time.Time{}, map[netip.Prefix]time.Time{}
		for p, until := range want {
			if end, there := have[p]; !there || !end.Equal(until) {
				lacking[p] = until
			}
		}
		for p, until := range have {
			if _, wanted := want[p]; !wanted {
				surplus[p] = until
			}
		}
		add, remove := diffElements(w, h, now)
		for got, expected := range map[*edits]map[netip.Prefix]time.Time{
			&add:    lacking,
			&remove: surplus,
		} {
			all := map[netip.Prefix]time.Time{}
			for e := range got.kept.all() {
				all[e.prefix] = e.until
			}
			if got.n != len(expected) || !maps.Equal(all, expected) {
				t.Fatalf("want %v, have %v: got %v of %v", want, have, all, expected)
			}
		}
	})
}

// Edits that are too many are counted, and no longer kept.
func TestManyEdits(t *testing.T) {
	want, have := lasting{address.Set{}, address.IPv4, 0}, &list{}
	for i := range 2 * alwaysInPlace {
		have.add(element{prefix: firewallPrefix(fmt.Sprintf("10.%d.%d.0/24", i>>8, i&255))})
	}
	add, remove := diffElements(want, have, time.Time{})
	if add.n != 0 || remove.n != 2*alwaysInPlace || remove.whole() || remove.kept.len() != 0 ||
		remove.first != have.at(0) ||
		remove.last != have.at(2*alwaysInPlace-1) {
		t.Errorf(
			"%d added, %d removed, %d kept, %v to %v",
			add.n,
			remove.n,
			remove.kept.len(),
			remove.first,
			remove.last,
		)
	}
}

// Loading never makes a bucket likely to overflow: two elements on average at most; and memory is
// not wasted.
func TestHashSize(t *testing.T) {
	for _, n := range []int{
		0, 1, 17, 128, 129, 1_000, 65_536, 65_537, 100_000, 1_000_000, 5_000_000,
	} {
		size := hashSize(n)
		if size&(size-1) != 0 || n > 2*size || size > 64 && n <= size/2 {
			t.Errorf("%d elements in %d buckets", n, size)
		}
	}
}

// A large set is changed where it stands by some elements, also while rules change that no packet
// meets on its way to it; it is loaded beside and swapped for a replacement, and switched to with
// its own rules.
func TestHowLargeSetsChange(t *testing.T) {
	const n = 6_000
	few := func(cidr string) address.Set { return address.Must(cidr) }
	state := func(sources, other address.Set, port uint16) firewall.State {
		service := func(name string, port uint16, p address.Set) firewall.Service {
			return firewall.Service{
				Name:    name,
				Ports:   []firewall.PortRange{{Protocol: firewall.TCP, First: port, Last: port}},
				Sources: p,
				Log:     firewall.LogNone,
			}
		}
		return backendtest.Canonical(
			t,
			firewall.State{
				Unlisted:    firewall.UnlistedIgnore,
				Refuse:      firewall.RefuseDrop,
				Established: firewall.EstablishedCut,
				Services: []firewall.Service{
					service("large", port, sources),
					service("other", 22, other),
				},
			},
		)
	}
	for _, f := range address.Families {
		all := spread(f, n)
		var one, two address.Builder
		i := 0
		for p := range all.All() {
			if i%200 == 0 {
				_ = one.Add(p)
			}
			if i < 2*n/3 {
				_ = two.Add(p)
			}
			i++
		}
		percent, most := one.Set(), two.Set()
		before := state(all, few("10.0.0.0/8"), 9090)
		for name, tt := range map[string]struct {
			after            firewall.State
			adds, dels, sets int // lines
		}{
			"nothing":                     {before, 0, 0, 0},
			"some less":                   {state(all.Minus(few("1.0.0.0/16")), few("10.0.0.0/8"), 9090), 0, map[address.Family]int{address.IPv4: 64}[f], 0},
			"some and some":               {state(all.Minus(percent).Union(few("9.9.9.9/32")), few("10.0.0.0/8"), 9090), map[address.Family]int{address.IPv4: 1, address.IPv6: 0}[f], n / 200, 0},
			"some, and another's rules":   {state(all.Minus(percent), few("11.0.0.0/8"), 9090), 0, n / 200, 0},
			"some, and its own port":      {state(all.Minus(percent), few("10.0.0.0/8"), 9091), n - n/200, 0, 1},
			"most":                        {state(all.Minus(most), few("10.0.0.0/8"), 9090), n - 2*n/3, 0, 1},
			"most, and another's rules":   {state(all.Minus(most), few("11.0.0.0/8"), 9090), n - 2*n/3, 0, 1},
			"few instead of many, inline": {state(few("1.0.0.0/24"), few("10.0.0.0/8"), 9090), 0, 0, 0},
		} {
			t.Run(fmt.Sprintf("%s/%s", f, name), func(t *testing.T) {
				k := newFakeKernel(nfVariant)
				b := withKernel(k)
				backendtest.Apply(t, b, &before)
				seen, err := b.Observe(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				p, err := b.Diff(&tt.after, seen, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				adds, dels, sets := 0, 0, 0
				for _, s := range p.Program.(work).steps {
					text := told(s)
					adds += strings.Count(text, "\nadd ") + strings.Count(text[:4], "add ")
					dels += strings.Count(text, "\ndel ") + strings.Count(text[:4], "del ")
					sets += strings.Count(text, "create ")
				}
				if adds != tt.adds || dels != tt.dels || sets != tt.sets {
					t.Errorf(
						"%d elements added, %d removed, %d sets created; want %d, %d, %d",
						adds,
						dels,
						sets,
						tt.adds,
						tt.dels,
						tt.sets,
					)
				}
				backendtest.Apply(t, b, &tt.after)
			})
		}
	}
}
