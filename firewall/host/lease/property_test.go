package lease

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"pgregory.net/rapid"
)

// Everything is drawn from few values, so that ports, sources, interfaces, addresses and times
// often meet.

var prefixes = rapid.SampledFrom(
	[]string{
		"10.0.0.0/8",
		"10.0.0.0/9",
		"10.128.0.0/9",
		"10.0.0.1/32",
		"10.0.0.2/31",
		"192.0.2.0/25",
		"192.0.2.128/25",
		"0.0.0.0/0",
		"2001:db8::/32",
		"2001:db8::1/128",
	},
)

func drawPorts(t *rapid.T) []firewall.PortRange {
	var out []firewall.PortRange
	for range rapid.IntRange(1, 2).Draw(t, "ranges") {
		p := rapid.SampledFrom([]firewall.Protocol{firewall.TCP, firewall.TCP, firewall.UDP}).
			Draw(t, "protocol")
		// Around the DHCP client's port, which is not like the others.
		first := uint16(rapid.IntRange(66, 72).Draw(t, "first"))
		out = append(
			out,
			firewall.PortRange{
				Protocol: p,
				First:    first,
				Last:     first + uint16(rapid.IntRange(0, 4).Draw(t, "more")),
			},
		)
	}
	return out
}

func drawState(t *rapid.T) firewall.State {
	s := firewall.State{
		Unlisted: rapid.SampledFrom([]firewall.Unlisted{firewall.UnlistedIgnore, firewall.UnlistedDeny}).
			Draw(t, "unlisted"),
		Refuse: firewall.RefuseDrop, Established: firewall.EstablishedCut,
		Essentials: rapid.SampledFrom([]firewall.Essentials{0, firewall.AllEssentials}).
			Draw(t, "essentials"),
	}
	for _, name := range []string{
		"a", "a.lease-tcp-67", "lease-tcp-68", "a-service-with-a-name-as-long-as-it-may-have-48-x",
		"a-service-with-a-name-as-long-as-it-may-have-48-y",
	} {
		if !rapid.Bool().Draw(t, "has "+name) {
			continue
		}
		svc := firewall.Service{
			Name:    name,
			Ports:   drawPorts(t),
			Sources: address.Must(rapid.SliceOfN(prefixes, 0, 2).Draw(t, "sources")...),
			Log:     firewall.LogDenied,
			Interfaces: rapid.SampledFrom([][]string{nil, {"eth0"}, {"eth1"}, {"eth*"}}).
				Draw(t, "interfaces"),
		}
		svc.Addresses = rapid.SampledFrom([]address.Set{
			{}, address.Must("198.51.100.1/32"),
			address.Must("198.51.100.2/32", "2001:db8:f::1/128"),
		}).
			Draw(t, "addresses")
		for _, p := range rapid.SliceOfN(prefixes, 0, 2).Draw(t, "expiring") {
			svc.Expiring = append(
				svc.Expiring,
				firewall.ExpiringSource{Prefix: netip.MustParsePrefix(p), Until: drawTime(t)},
			)
		}
		with := s
		with.Services = append(slices.Clone(s.Services), svc)
		if c, err := with.Canonical(); err == nil { // else it claims what another one does
			s = c
		}
	}
	c, err := s.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func drawTime(t *rapid.T) time.Time {
	return noon.Add(time.Duration(rapid.IntRange(-2, 4).Draw(t, "time")) * time.Hour)
}

func drawLease(t *rapid.T) Lease {
	opened := drawTime(t)
	ports, err := mergePorts(drawPorts(t))
	if err != nil {
		t.Fatal(err)
	}
	return Lease{
		ID:      drawID(),
		Ports:   ports,
		Sources: address.Must(rapid.SliceOfN(prefixes, 1, 2).Draw(t, "sources")...),
		Opened:  opened,
		Until: opened.Add(
			time.Duration(rapid.IntRange(1, 3).Draw(t, "length")) * time.Hour,
		),
		Unlisted: rapid.Bool().Draw(t, "unlisted"),
	}
}

// flows are packets from every region that the drawn States and leases tell apart.
func flows() []firewall.Flow {
	var out []firewall.Flow
	for _, protocol := range []firewall.Protocol{firewall.TCP, firewall.UDP} {
		for port := uint16(65); port <= 77; port++ {
			for _, source := range []string{
				"10.0.0.1", "10.0.0.3", "10.77.0.1", "10.200.0.1", "192.0.2.1", "192.0.2.200",
				"8.8.8.8", "2001:db8::1", "2001:db8::2", "2a00::1",
			} {
				for _, iface := range []string{"", "lo", "eth0", "eth2", "wlan0"} {
					for _, address := range []netip.Addr{
						{}, netip.MustParseAddr("198.51.100.1"),
						netip.MustParseAddr("2001:db8:f::1"), netip.MustParseAddr("198.51.100.9"),
					} {
						out = append(
							out,
							firewall.Flow{
								Protocol:    protocol,
								Port:        port,
								Source:      netip.MustParseAddr(source),
								Interface:   iface,
								Destination: address,
							},
						)
					}
				}
			}
		}
	}
	return out
}

// decide says what must become of a flow, from what the policy says and what is written on the
// leases.
func decide(
	s firewall.State,
	leases []Lease,
	f firewall.Flow,
	appliedAt, t time.Time,
) firewall.Verdict {
	verdict := s.Decide(f, t).Verdict
	for _, l := range leases {
		lists := slices.ContainsFunc(
			l.Ports,
			func(r firewall.PortRange) bool { return r.Contains(f.Protocol, f.Port) },
		)
		if !lists || !l.Running(appliedAt) || !t.Before(l.Until) || !l.Sources.Contains(f.Source) {
			continue
		}
		if !s.Listed(f.Protocol, f.Port) {
			dhcp := s.Essentials.Has(firewall.EssentialDHCP) && f.Protocol == firewall.UDP &&
				f.Port == firewall.DHCPClientPort
			if s.Unlisted == firewall.UnlistedDeny && l.Unlisted && !dhcp {
				verdict = firewall.Allowed
			}
			continue
		}
		for _, svc := range s.Services {
			if slices.ContainsFunc(
				svc.Ports,
				func(r firewall.PortRange) bool { return r.Contains(f.Protocol, f.Port) },
			) &&
				(f.Interface == "" || svc.OnInterface(f.Interface)) &&
				(!f.Destination.IsValid() || svc.OnAddress(f.Destination)) {
				verdict = firewall.Allowed
			}
		}
	}
	return verdict
}

// TestLeasesOpenWhatTheySay: for every flow, now and at every later time, the result allows what
// the policy allows and what a running lease opens, and decides everything else as the policy does.
func TestLeasesOpenWhatTheySay(t *testing.T) {
	all := flows()
	rapid.Check(t, func(t *rapid.T) {
		s, leases := drawState(t), rapid.SliceOfN(rapid.Custom(drawLease), 0, 4).Draw(t, "leases")
		now := drawTime(t)
		out, err := Apply(s, leases, now)
		if err != nil {
			t.Fatal(err)
		}
		later := []time.Time{
			now,
			now.Add(59 * time.Minute),
			now.Add(time.Hour),
			now.Add(2 * time.Hour),
			now.Add(9 * time.Hour),
		}
		for i, f := range all {
			for _, at := range []time.Time{now, later[i%len(later)]} {
				got, want := out.Decide(f, at), decide(s, leases, f, now, at)
				if got.Verdict != want {
					t.Fatalf(
						"%+v at %v: %v (%s), want %v\npolicy: %q\nresult: %q",
						f,
						at,
						got.Verdict,
						got.Reason,
						want,
						lines(s),
						lines(out),
					)
				}
			}
		}
	})
}

// TestResultIsCanonical, the same for any order of leases, unchanged by leases that are over, and
// without a trace of them afterwards.
func TestResultIsCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, leases, now := drawState(
			t,
		), rapid.SliceOfN(rapid.Custom(drawLease), 0, 5).
			Draw(t, "leases"),
			drawTime(
				t,
			)
		apply := func(leases []Lease, now time.Time) firewall.State {
			out, err := Apply(s, leases, now)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		out := apply(leases, now)
		again, err := out.Canonical()
		if err != nil || !again.Equal(out) {
			t.Fatalf("Canonical changes it: %q, %v", lines(again), err)
		}
		if shuffled := apply(rapid.Permutation(leases).Draw(t, "order"), now); !shuffled.Equal(
			out,
		) {
			t.Fatalf("the order matters: %q, %q", lines(out), lines(shuffled))
		}
		running := slices.DeleteFunc(
			slices.Clone(leases),
			func(l Lease) bool { return !l.Running(now) },
		)
		if only := apply(running, now); !only.Equal(out) {
			t.Fatalf("leases that don't run matter: %q, %q", lines(out), lines(only))
		}
		if len(running) == 0 && !out.Equal(s) {
			t.Fatalf("nothing runs, but: %q", lines(out))
		}
		if end := apply(leases, noon.Add(24*time.Hour)); !end.Equal(s) {
			t.Fatalf("a trace is left: %q, %q", lines(s), lines(end))
		}
		for _, svc := range s.Services { // what no lease touches is as it was
			touched := slices.ContainsFunc(running, func(l Lease) bool {
				return slices.ContainsFunc(
					l.Ports,
					func(r firewall.PortRange) bool {
						return slices.ContainsFunc(svc.Ports, r.Overlaps)
					},
				)
			})
			if !touched && !slices.ContainsFunc(out.Services, svc.Equal) {
				t.Fatalf("service %s changed: %q", svc.Name, lines(out))
			}
		}
	})
}

// TestServicesStay: the result has the services of the policy with their names, ports and places,
// and none besides but those of leases on ports that none of them lists.
func TestServicesStay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, leases := drawState(t), rapid.SliceOfN(rapid.Custom(drawLease), 1, 4).Draw(t, "leases")
		out, err := Apply(s, leases, noon)
		if err != nil {
			t.Fatal(err)
		}
		rest := out.Services
		for _, svc := range s.Services {
			i := slices.IndexFunc(rest, func(x firewall.Service) bool { return x.Name == svc.Name })
			if i < 0 {
				t.Fatalf("%s is missing in %q", svc.Name, lines(out))
			}
			leased := rest[i]
			rest = slices.Delete(slices.Clone(rest), i, i+1)
			leased.Expiring, leased.Leases = svc.Expiring, nil
			if !leased.Equal(svc) {
				t.Fatalf("%+v was %+v", leased, svc)
			}
		}
		for _, svc := range rest {
			if s.Listed(svc.Ports[0].Protocol, svc.Ports[0].First) {
				t.Fatalf("%s: %q", svc.Name, lines(out))
			}
		}
	})
}

// TestManyLeases: as many as may run, all with ends of their own, are merged before anybody has to
// wait, into a service of a hundred thousand sources.
func TestManyLeases(t *testing.T) {
	sources := make([]netip.Prefix, 100_000)
	for i := range sources {
		sources[i] = netip.PrefixFrom(
			netip.AddrFrom4([4]byte{172, byte(i >> 15), byte(i >> 7), byte(i << 1)}),
			32,
		)
	}
	web := firewall.Service{Name: "web", Ports: []firewall.PortRange{tcp(1000, 60000)}}
	var err error
	if web.Sources, err = address.New(sources...); err != nil {
		t.Fatal(err)
	}
	s := stateOf(t, web)
	for name, tt := range map[string]struct {
		port   func(i int) uint16
		leases int
	}{
		"one port":    {func(int) uint16 { return 2000 }, 1},
		"a port each": {func(i int) uint16 { return uint16(2000 + 2*i) }, MaxLeases},
	} {
		leases := make([]Lease, MaxLeases)
		for i := range leases {
			leases[i] = leaseOf(
				fmt.Sprintf("10.%d.%d.%d/32", i%7, i/100, i%100*2),
				tcp(tt.port(i), tt.port(i)),
			)
			leases[i].Until = leases[i].Until.Add(time.Duration(i) * time.Second)
		}
		start := time.Now()
		out := applied(t, s, noon, leases...)
		took := time.Since(start)
		t.Logf("%s: %d leases in %v", name, len(leases), took)
		if n := len(out.Services[0].Leases); n != tt.leases || took > 20*time.Second {
			t.Errorf("%s: %d leases in %v", name, n, took)
		}
	}
}
