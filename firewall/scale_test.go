package firewall

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
	"pgregory.net/rapid"
)

// drawServices draws services from small spaces, so that ports, interfaces and addresses meet, nest
// and differ.
func drawServices(t *rapid.T) []Service {
	var out []Service
	for i := range rapid.IntRange(0, 7).Draw(t, "services") {
		s := Service{Name: fmt.Sprintf("s%d", i), Log: LogDenied}
		for range rapid.IntRange(1, 3).Draw(t, "ranges") {
			first := uint16(rapid.IntRange(1, 12).Draw(t, "first"))
			if rapid.IntRange(0, 9).Draw(t, "top") == 0 {
				first = 65530
			}
			s.Ports = append(
				s.Ports,
				PortRange{
					rapid.SampledFrom(Protocols[:2]).Draw(t, "protocol"),
					first,
					first + uint16(rapid.IntRange(0, 5).Draw(t, "length")),
				},
			)
		}
		s.Interfaces = rapid.SliceOfN(rapid.SampledFrom(
			[]string{"eth0", "eth1", "eth*", "e*", "eth10", "eth1*", "wlan0"}), 0, 3).
			Draw(t, "interfaces")
		s.Addresses = drawSmallSet(t, "addresses", 3)
		s.Sources = drawSmallSet(t, "sources", 4)
		for range rapid.IntRange(0, 3).Draw(t, "expiring") {
			s.Expiring = append(
				s.Expiring,
				ExpiringSource{
					drawSmall(t),
					noon.Add(time.Duration(rapid.IntRange(-3, 3).Draw(t, "hours")) * time.Hour),
				},
			)
		}
		out = append(out, s)
	}
	return out
}

func drawSmall(t *rapid.T) netip.Prefix {
	low := byte(rapid.IntRange(0, 15).Draw(t, "low"))
	if rapid.IntRange(0, 3).Draw(t, "v6") == 0 {
		return netip.PrefixFrom(
			netip.AddrFrom16([16]byte{0x20, 1, 15: low}),
			rapid.SampledFrom([]int{0, 64, 124, 126, 128}).Draw(t, "bits"),
		).
			Masked()
	}
	return netip.PrefixFrom(
		netip.AddrFrom4([4]byte{10, 0, 0, low}),
		rapid.SampledFrom([]int{0, 28, 30, 31, 32}).Draw(t, "bits"),
	).
		Masked()
}

func drawSmallSet(t *rapid.T, label string, most int) address.Set {
	set, err := address.New(rapid.SliceOfN(rapid.Custom(drawSmall), 0, most).Draw(t, label)...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// naiveClashes compares every pair of services in every way.
func naiveClashes(services []Service) (pairs []string) {
	for i, a := range services {
		for _, b := range services[i+1:] {
			ports := slices.ContainsFunc(
				a.Ports,
				func(r PortRange) bool { return slices.ContainsFunc(b.Ports, r.Overlaps) },
			)
			ifaces := len(a.Interfaces) == 0 || len(b.Interfaces) == 0
			for _, p := range a.Interfaces {
				for _, q := range b.Interfaces {
					ifaces = ifaces || interfaceCovers(p, q) || interfaceCovers(q, p)
				}
			}
			addresses := a.Addresses.Len() == 0 || b.Addresses.Len() == 0 ||
				a.Addresses.Intersect(b.Addresses).Len() > 0
			if ports && ifaces && addresses {
				pairs = append(pairs, a.Name+" "+b.Name)
			}
		}
	}
	slices.Sort(pairs)
	return pairs
}

func TestClashesAreThoseOfAllPairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		services := drawServices(t)
		want := naiveClashes(services)
		for _, wide := range []bool{false, true} { // each way to find them alone
			f := newClashFinder(services)
			if wide {
				for i := range f.places {
					f.places[i].wide = true
				}
			}
			var got []string
			for _, c := range f.find() {
				got = append(got, c.First+" "+c.Second)
				a, b := services[slices.IndexFunc(services, named(c.First))], services[slices.IndexFunc(services, named(c.Second))]
				if !slices.ContainsFunc(a.Ports, c.Ports.Overlaps) ||
					!slices.ContainsFunc(b.Ports, c.Ports.Overlaps) {
					t.Fatalf("%v is not on ports of both", c)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Fatalf("wide %v: %q, want %q in %+v", wide, got, want, services)
			}
		}
	})
}

func named(name string) func(Service) bool { return func(s Service) bool { return s.Name == name } }

// spread-out services: n that have a port, an interface or an address in common and differ in the
// rest.
var differ = map[string]func(i int) Service{
	"ports": func(i int) Service { return Service{Ports: []PortRange{tcp(uint16(i+1), uint16(i+1))}} },
	"interfaces": func(i int) Service {
		return Service{
			Ports:      []PortRange{tcp(443, 443)},
			Interfaces: []string{fmt.Sprintf("veth%d", i)},
		}
	},
	"addresses": func(i int) Service { return Service{Ports: []PortRange{tcp(443, 443)}, Addresses: oneAddress(i)} },
	"both": func(i int) Service {
		return Service{
			Ports:      []PortRange{tcp(443, 500)},
			Interfaces: []string{fmt.Sprintf("eth%d", i%100)},
			Addresses:  oneAddress(i / 100),
		}
	},
	"ranges": func(i int) Service {
		return Service{
			Ports:     []PortRange{tcp(uint16(1+i%97), uint16(200+i%89))},
			Addresses: oneAddress(i),
		}
	},
}

func oneAddress(i int) address.Set {
	p, _ := address.New(
		netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32),
	)
	return p
}

func spreadOut(n int, make func(int) Service) []Service {
	out := []Service{}
	for i := range n {
		s := make(i)
		s.Name, s.Log = fmt.Sprintf("s%05d", i), LogDenied
		out = append(out, s)
	}
	return out
}

// TestClashesInProportion: ten times the services cost about ten times the look-ups, whatever they
// have in common.
func TestClashesInProportion(t *testing.T) {
	for name, make := range differ {
		steps := func(n int) int {
			f := newClashFinder(spreadOut(n, make))
			if out := f.find(); len(out) > 0 {
				t.Fatalf("%s: %v", name, out[0])
			}
			return f.steps
		}
		if few, many := steps(1000), steps(10_000); many > 12*few {
			t.Errorf(
				"services that differ in %s: %d steps for 1 000, %d for 10 000",
				name,
				few,
				many,
			)
		}
	}
}

// TestClashesAreBounded: ten thousand services that all claim the same are reported without looking
// for fifty million pairs.
func TestClashesAreBounded(t *testing.T) {
	f := newClashFinder(
		spreadOut(10_000, func(int) Service { return Service{Ports: []PortRange{tcp(443, 443)}} }),
	)
	if n := len(f.find()); n != maxClashes || f.steps > 10*maxClashes {
		t.Errorf("%d clashes in %d steps", n, f.steps)
	}
}

func TestCanonicalInterfacesAreMinimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.SliceOfN(rapid.SampledFrom([]string{"eth0", "eth*", "e*", "eth", "eth#1", "eth.1*", "eth1*", "eth10", "a!*", "a!b", "*"}), 0, 6).
			Draw(t, "in")
		got, err := canonicalInterfaces(in)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, p := range in {
			if p == "*" {
				want = nil
				break
			}
			if !slices.ContainsFunc(
				in,
				func(q string) bool { return q != p && interfaceCovers(q, p) },
			) {
				want = append(want, p)
			}
		}
		slices.Sort(want)
		if want = slices.Compact(want); !slices.Equal(got, want) {
			t.Fatalf("%q, want %q of %q", got, want, in)
		}
	})
}

// TestExpiringAddressByAddress: each address has its latest end unless it is allowed for good, and
// the prefixes are the fewest.
func TestExpiringAddressByAddress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		permanent := drawSmallSet(t, "permanent", 4)
		var in []ExpiringSource
		for range rapid.IntRange(0, 8).Draw(t, "sources") {
			in = append(
				in,
				ExpiringSource{
					drawSmall(t),
					noon.Add(
						time.Duration(
							rapid.IntRange(0, 3).Draw(t, "hours"),
						)*time.Hour + 300*time.Millisecond,
					),
				},
			)
		}
		got := canonicalExpiring(permanent, in)
		var want []ExpiringSource
		covered := permanent
		for hours := 3; hours >= 0; hours-- { // the latest first
			end := noon.Add(time.Duration(hours) * time.Hour)
			var list []netip.Prefix
			for _, e := range in {
				if e.Until.Truncate(time.Second).Equal(end) {
					list = append(list, e.Prefix)
				}
			}
			all, _ := address.New(list...)
			for p := range all.Minus(covered).All() {
				want = append(want, ExpiringSource{p, end})
			}
			covered = covered.Union(all)
		}
		slices.SortFunc(want, func(a, b ExpiringSource) int {
			return cmp.Or(
				a.Prefix.Addr().Compare(b.Prefix.Addr()),
				cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()),
			)
		})
		if !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

func BenchmarkClashes(b *testing.B) {
	for name, make := range differ {
		services := spreadOut(10_000, make)
		b.Run("services=10000/differ="+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Clashes(services)
			}
		})
	}
}
