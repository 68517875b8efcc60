package firewall

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
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

func TestIndexDecidesLikeTheState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := State{
			Unlisted: rapid.SampledFrom([]Unlisted{UnlistedIgnore, UnlistedDeny}).
				Draw(t, "unlisted"),
			Refuse:      RefuseDrop,
			Established: EstablishedCut,
			Services:    drawServices(t),
		}
		for range rapid.IntRange(0, 4).Draw(t, "virtual services") {
			port := uint16(rapid.IntRange(1, 20).Draw(t, "virtual port"))
			s.Virtual = append(
				s.Virtual,
				VirtualService{TCP, netip.AddrPortFrom(drawSmall(t).Addr(), port)},
			)
		}
		s, _ = s.Canonical() // services that clash are decided on in order, by both
		x := s.Index()
		for range 20 {
			f := Flow{
				Protocol: rapid.SampledFrom(Protocols).Draw(t, "protocol"),
				Source:   drawSmall(t).Addr(),
				Port:     uint16(rapid.IntRange(1, 20).Draw(t, "port")),
				Interface: rapid.SampledFrom([]string{"", "eth0", "eth1", "eth10", "wlan0", "en0", "lo", "docker0"}).
					Draw(t, "interface"),
			}
			if rapid.Bool().Draw(t, "addressed") {
				f.Destination = drawSmall(t).Addr()
			}
			if got, want := x.Decide(f, noon), decideByScan(s, f); got != want {
				t.Fatalf("%+v: %+v, want %+v of %+v", f, got, want, s.Services)
			}
			if got := x.First(f.Protocol, f.Port) >= 0; got != s.Listed(f.Protocol, f.Port) {
				t.Fatalf("%+v is listed: %v", f, got)
			}
		}
	})
}

// decideByScan is what Index.Decide says at noon, found by going through all services.
func decideByScan(s State, f Flow) Decision {
	if f.Interface == "lo" {
		return Decision{Allowed, "", "loopback traffic is never filtered"}
	}
	refused, inside := Decision{}, false
	for _, p := range s.Inside() {
		inside = inside || f.Interface != "" && MatchInterface(p, f.Interface)
	}
	listed, named := false, false
	for _, svc := range s.Services {
		if !svc.lists(f.Protocol, f.Port) {
			continue
		}
		listed = true
		named = named || svc.Addresses.Len() > 0 && svc.Addresses.Contains(f.Destination)
	}
	if f.Destination.IsValid() && s.IsVirtual(f.Protocol, f.Destination, f.Port) &&
		!named && (!listed || inside) {
		reason := fmt.Sprintf("IPVS serves %s at %s", f.Protocol, f.Destination)
		return Decision{Verdict: Ignored, Reason: reason}
	}
	for _, svc := range s.Services {
		if !svc.lists(f.Protocol, f.Port) {
			continue
		}
		why := ""
		switch {
		case f.Interface != "" && !svc.OnInterface(f.Interface):
			why = "is not open on interface " + f.Interface
		case f.Destination.IsValid() && !svc.OnAddress(f.Destination):
			why = "is not open on address " + f.Destination.String()
		case svc.AllowedAt(noon).Contains(f.Source):
			reason := fmt.Sprintf("service %s allows %s", svc.Name, f.Source)
			return Decision{Allowed, svc.Name, reason}
		default:
			refused = Decision{}
			why = "does not allow " + f.Source.String()
		}
		if refused.Service == "" {
			refused = Decision{Refused, svc.Name, "service " + svc.Name + " " + why}
		}
	}
	if !listed {
		x := s.Index()
		return Decision{Verdict: x.Unlisted(f.Protocol), Reason: x.whyUnlisted(f.Protocol)}
	}
	return refused
}

// TestIndexLooksAtFew: the services that a question goes through do not grow with their number.
func TestIndexLooksAtFew(t *testing.T) {
	for name, make := range differ {
		s := canonical(t, stateOf(spreadOut(10_000, make)...))
		x := s.Index()
		for i := 0; i < 10_000; i += 100 {
			svc := s.Services[i]
			f := Flow{
				Protocol:    TCP,
				Source:      netip.MustParseAddr("8.8.8.8"),
				Port:        svc.Ports[0].First,
				Interface:   "veth1",
				Destination: netip.MustParseAddr("192.0.2.1"),
			}
			if len(svc.Interfaces) > 0 {
				f.Interface = svc.Interfaces[0]
			}
			if svc.Addresses.Len() > 0 {
				for p := range svc.Addresses.All() {
					f.Destination = p.Addr()
				}
			}
			if d := x.Decide(f, noon); d.Verdict != Refused || d.Service != svc.Name {
				t.Fatalf("%s: %+v: %+v", name, f, d)
			}
		}
		if x.steps > 100*110 { // a hundred share an address where they differ in both
			t.Errorf("%s: %d services looked at for a hundred questions", name, x.steps)
		}
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

func TestStateInBinaryForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := State{
			Unlisted:    UnlistedIgnore,
			Refuse:      RefuseDrop,
			Established: EstablishedCut,
			Services:    drawServices(t),
		}
		s, _ = s.Canonical()
		b, err := s.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var back State
		if err := back.UnmarshalBinary(b); err != nil || !back.Equal(s) {
			t.Fatalf("%+v came back as %+v, %v", s, back, err)
		}
		if again, _ := back.MarshalBinary(); string(again) != string(b) {
			t.Fatal("the same State has two forms")
		}
		cut := b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]
		if err := new(State).UnmarshalBinary(cut); err == nil {
			t.Fatalf("%d bytes of %d were taken for a State", len(cut), len(b))
		}
	})
}

// TestSharedSourcesStandOnce: however many services share a set, its binary form has it once, and
// they share it again.
func TestSharedSourcesStandOnce(t *testing.T) {
	var list []netip.Prefix
	for i := range 10_000 {
		list = append(
			list,
			netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i >> 8), byte(i), 0}), 25),
		)
	}
	shared, _ := address.New(list...)
	equal, _ := address.New(list...) // but made anew
	services := spreadOut(1000, differ["ports"])
	for i := range services {
		if services[i].Sources = shared; i%2 == 0 {
			services[i].Sources = equal
		}
	}
	b, err := stateOf(services...).MarshalBinary()
	if err != nil || len(b) > 2*shared.BinarySize()+500*len(services) {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	var back State
	if err := back.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	if back.Services[1].Sources.Identity() != back.Services[998].Sources.Identity() {
		t.Error("they do not share it any more")
	}
}

func FuzzState(f *testing.F) {
	b, _ := stateOf(
		Service{
			Name:    "a",
			Ports:   []PortRange{tcp(1, 2)},
			Sources: address.Must("10.0.0.0/8", "2001:db8::/32"),
		},
	).MarshalBinary()
	f.Add(b)
	f.Add([]byte(strings.Repeat("\xff", 20)))
	noProtocol := `{"unlisted":"ignore","refuse":"drop","established":"cut","essentials":[],"services":[{"name":"a","ports":[{"first":1,"last":2}],"log":"none"}]}`
	f.Add(append(append([]byte{byte(len(noProtocol)), 1}, noProtocol...), 1, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s State
		if s.UnmarshalBinary(b) != nil {
			return
		}
		again, err := s.MarshalBinary()
		if err == nil {
			err = new(State).UnmarshalBinary(again)
		}
		if err != nil {
			t.Fatalf("read, and not written or not read again: %v", err)
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

func BenchmarkIndexDecide(b *testing.B) {
	for name, make := range differ {
		s, err := stateOf(spreadOut(10_000, make)...).Canonical()
		if err != nil {
			b.Fatal(err)
		}
		x := s.Index()
		b.Run("services=10000/differ="+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x.Decide(
					Flow{
						Protocol:    TCP,
						Source:      netip.MustParseAddr("8.8.8.8"),
						Destination: netip.MustParseAddr("10.0.1.1"),
						Port:        443,
						Interface:   "eth7",
					},
					noon,
				)
			}
		})
	}
}
