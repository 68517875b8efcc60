package firewall

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

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
