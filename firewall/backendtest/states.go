package backendtest

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"pgregory.net/rapid"
)

// Canonical is the State's canonical form; a State without one fails the test.
func Canonical(t testing.TB, s firewall.State) firewall.State {
	t.Helper()
	c, err := s.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func tcp(first, last uint16) firewall.PortRange {
	return firewall.PortRange{Protocol: firewall.TCP, First: first, Last: last}
}

// Everything uses each feature at least once.
func Everything(t testing.TB) firewall.State {
	many := []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}
	for i := range 600 {
		many = append(
			many,
			netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, byte(i / 100), byte(i%100) * 2}), 32),
		)
	}
	hosts, err := address.New(many...)
	if err != nil {
		t.Fatal(err)
	}
	return Canonical(t, firewall.State{
		Unlisted:    firewall.UnlistedDeny,
		Refuse:      firewall.RefuseReject,
		Established: firewall.EstablishedKeep,
		Essentials:  firewall.DefaultEssentials,
		Virtual:     virtual("10.96.0.1:443", "10.96.0.10:53", "[fd00:96::1]:443"),
		Services: []firewall.Service{
			{
				Name:    "prometheus",
				Ports:   []firewall.PortRange{tcp(9090, 9090)},
				Sources: address.Must("10.20.0.0/16", "198.51.100.7/32", "2001:db8::/32"),
				Log:     firewall.LogDenied,
			},
			{
				Name: "web",
				Ports: []firewall.PortRange{
					tcp(80, 80),
					tcp(443, 443),
					{Protocol: firewall.UDP, First: 443, Last: 443},
				},
				Sources: address.Must("0.0.0.0/0", "::/0"),
				Log:     firewall.LogNone,
			},
			{
				Name:       "ssh-in",
				Ports:      []firewall.PortRange{tcp(22, 22)},
				Interfaces: []string{"eth1", "wg*"},
				Sources:    address.Must("10.0.0.0/8"),
				Log:        firewall.LogAll,
				Rate:       &firewall.Rate{Count: 20, Per: time.Second, Burst: 40},
			},
			{
				Name:       "ssh-out",
				Ports:      []firewall.PortRange{tcp(22, 23)},
				Interfaces: []string{"eth0"},
				Addresses:  address.Must("192.0.2.10/32", "2001:db8::10/128"),
				Sources:    address.Must("203.0.113.0/24"),
				Log:        firewall.LogDenied,
				Leases: []firewall.Lease{
					lease("198.51.100.7/32", tcp(22, 22)),
					lease("198.51.100.8/32", tcp(23, 23)),
				},
			},
			{
				Name:    "leased",
				Ports:   []firewall.PortRange{tcp(8000, 8010)},
				Sources: List(t, 20),
				Log:     firewall.LogDenied,
				Rate:    &firewall.Rate{Count: 20, Per: time.Second, Burst: 40},
				Leases: []firewall.Lease{
					lease("203.0.113.7/32", tcp(8005, 8006)),
					lease("2001:db8:7::/64", tcp(8005, 8005)),
				},
			},
			{
				Name:       "a-name-as-long-as-a-service-may-have-and-leased",
				Ports:      []firewall.PortRange{tcp(8100, 8101)},
				Interfaces: []string{"eth0"},
				Addresses:  address.Must("192.0.2.10/32", "2001:db8::10/128"),
				Sources:    address.Must("10.1.0.0/16"),
				Log:        firewall.LogNone,
				Leases:     []firewall.Lease{lease("203.0.113.7/32", tcp(8101, 8101))},
			},
			{
				Name:    "list",
				Ports:   []firewall.PortRange{tcp(7000, 7000)},
				Sources: List(t, 20),
				Log:     firewall.LogDenied,
			},
			{
				Name:  "nobody",
				Ports: []firewall.PortRange{{Protocol: firewall.SCTP, First: 9000, Last: 9100}},
				Log:   firewall.LogDenied,
			},
			{
				Name:    "lease",
				Ports:   []firewall.PortRange{tcp(5432, 5432)},
				Sources: address.Must("10.1.0.0/16"),
				Log:     firewall.LogDenied,
				Expiring: []firewall.ExpiringSource{
					{
						Prefix: netip.MustParsePrefix("203.0.113.7/32"),
						Until:  time.Now().Add(time.Hour),
					},
					{
						Prefix: netip.MustParsePrefix("2001:db8:7::/64"),
						Until:  time.Now().Add(2 * time.Hour),
					},
				},
			},
			{
				Name:    "many",
				Ports:   []firewall.PortRange{tcp(6000, 6000)},
				Sources: hosts,
				Log:     firewall.LogNone,
			},
			{
				Name:    "a-name-as-long-as-a-service-may-have-which-is-48",
				Ports:   []firewall.PortRange{tcp(6001, 6001)},
				Sources: address.Must("192.0.2.0/24"),
				Log:     firewall.LogAll,
			},
		},
	})
}

// lease opens ports to a source for an hour.
func lease(source string, ports ...firewall.PortRange) firewall.Lease {
	return firewall.Lease{Ports: ports, Expiring: []firewall.ExpiringSource{
		{Prefix: netip.MustParsePrefix(source), Until: time.Now().Add(time.Hour)},
	}}
}

// virtual are services of IPVS over TCP.
func virtual(at ...string) (out []firewall.VirtualService) {
	for _, a := range at {
		out = append(
			out,
			firewall.VirtualService{Protocol: firewall.TCP, At: netip.MustParseAddrPort(a)},
		)
	}
	return out
}

// drawVirtual picks services of IPVS, some of them at the addresses of Probes.
func drawVirtual(t *rapid.T) []firewall.VirtualService {
	all := rapid.SampledFrom([]string{"192.0.2.1:1", "192.0.2.1:3", "192.0.2.1:5",
		"10.96.0.1:2", "[2001:db8:f::1]:2", "[2001:db8:f::1]:3"})
	return virtual(rapid.SliceOfNDistinct(all, 0, 3, rapid.ID).Draw(t, "virtual")...)
}

// Simple is one service with one source of each family.
func Simple(t testing.TB) firewall.State {
	return Canonical(
		t,
		firewall.State{
			Unlisted:    firewall.UnlistedIgnore,
			Refuse:      firewall.RefuseDrop,
			Established: firewall.EstablishedCut,
			Services: []firewall.Service{
				{Name: "prometheus", Ports: []firewall.PortRange{tcp(9090, 9090)},
					Sources: address.Must("10.0.0.0/8", "fc00::/7"), Log: firewall.LogDenied},
			},
		},
	)
}

// List is n prefixes of each family, of all kinds of lengths, disjoint and not adjacent.
func List(t testing.TB, n int) address.Set {
	var list []netip.Prefix
	for i := range n {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(60 + 2*i)}), 8+i%25),
			netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, byte(2 * i)}), 24+5*i%105))
	}
	p, err := address.New(list...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Many is n prefixes /25 of IPv4, disjoint and not adjacent, from 20.0.0.0 on.
func Many(t testing.TB, n int) address.Set {
	list := make([]netip.Prefix, 0, n)
	for i := range n {
		list = append(
			list,
			netip.PrefixFrom(
				netip.AddrFrom4([4]byte{byte(20 + i>>16), byte(i >> 8), byte(i), 0}),
				25,
			),
		)
	}
	p, err := address.New(list...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// drawSources picks a few prefixes that nest and touch.
func drawSources(t *rapid.T, label string) address.Set {
	all := rapid.SampledFrom([]string{"10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9", "10.0.0.1/32",
		"10.0.0.2/31", "192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32", "2001:db8::1/128"})
	return address.Must(rapid.SliceOfN(all, 0, 4).Draw(t, label)...)
}

// drawMore picks so many sources, or none, that a backend may hold them in another way: prefixes,
// or exact addresses only.
func drawMore(t *rapid.T, label string) address.Set {
	n := rapid.SampledFrom([]int{0, 0, 20, 32}).Draw(t, "more "+label)
	if n == 0 {
		return address.Set{}
	}
	list := []string{"2001:db8::9/128"}
	for i := range n {
		length := 32
		if n == 32 {
			length = 25
		}
		list = append(list, fmt.Sprintf("10.77.%d.0/%d", i*2, length))
	}
	return address.Must(list...)
}

func drawLease(t *rapid.T) []firewall.ExpiringSource {
	var out []firewall.ExpiringSource
	all := rapid.SampledFrom(
		[]string{"10.0.0.1/32", "192.0.2.0/24", "10.0.0.0/9", "198.51.100.0/24"})
	for _, cidr := range rapid.SliceOfNDistinct(all, 1, 2, rapid.ID).Draw(t, "leases") {
		out = append(
			out,
			firewall.ExpiringSource{
				Prefix: netip.MustParsePrefix(cidr),
				Until:  time.Now().Add(time.Hour),
			},
		)
	}
	return out
}

// drawLeases opens the first of some ports, or the last, or both.
func drawLeases(t *rapid.T, ports firewall.PortRange) (out []firewall.Lease) {
	for _, port := range []uint16{ports.First, ports.Last} {
		if rapid.Bool().Draw(t, "leased") {
			out = append(out, firewall.Lease{
				Ports: []firewall.PortRange{tcp(port, port)}, Expiring: drawLease(t),
			})
		}
	}
	return out
}

// DrawNext makes a State to follow another: any, or one that differs in the sources and leases of
// its services alone.
func DrawNext(t *rapid.T, s firewall.State) firewall.State {
	if rapid.Bool().Draw(t, "any") {
		return Draw(t)
	}
	next := s
	next.Services = nil
	if rapid.Bool().Draw(t, "other virtual services") {
		next.Virtual = drawVirtual(t)
	}
	for _, svc := range s.Services {
		if many := svc.Sources.Intersect(address.Must("10.77.0.0/16")); many.Len() > 16 {
			svc.Sources = many.Union(drawSources(t, "next sources "+svc.Name))
		} else {
			few, more := drawSources(t, "next sources "+svc.Name), drawMore(t, "next "+svc.Name)
			svc.Sources = few.Union(more)
		}
		if len(svc.Expiring) > 0 {
			svc.Expiring = drawLease(t)
		}
		svc.Leases = drawLeases(t, svc.Ports[0])
		next.Services = append(next.Services, svc)
	}
	c, err := next.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Draw makes a random State over few ports, sources and interfaces, so that two of them often meet.
func Draw(t *rapid.T) firewall.State {
	unlisted := []firewall.Unlisted{firewall.UnlistedIgnore, firewall.UnlistedDeny}
	refuse := []firewall.Refuse{firewall.RefuseDrop, firewall.RefuseReject}
	logs := []firewall.Log{firewall.LogNone, firewall.LogDenied, firewall.LogAll}
	state := firewall.State{
		Unlisted:    rapid.SampledFrom(unlisted).Draw(t, "unlisted"),
		Refuse:      rapid.SampledFrom(refuse).Draw(t, "refuse"),
		Established: firewall.EstablishedCut,
		Essentials:  firewall.DefaultEssentials,
		Virtual:     drawVirtual(t),
	}
	for i, name := range []string{"a", "b", "c"} {
		if !rapid.Bool().Draw(t, "has "+name) {
			continue
		}
		svc := firewall.Service{
			Name:    name,
			Log:     rapid.SampledFrom(logs).Draw(t, "log"),
			Sources: drawSources(t, "sources "+name).Union(drawMore(t, name)),
		}
		first := uint16(rapid.IntRange(1, 3).Draw(t, "port"))
		svc.Ports = []firewall.PortRange{
			tcp(first, first+uint16(rapid.IntRange(0, 2).Draw(t, "ports"))),
		}
		svc.Interfaces = []string{fmt.Sprintf("eth%d", i)} // apart, so that ports may be shared
		if rapid.Bool().Draw(t, "expiring") {
			svc.Expiring = drawLease(t)
		}
		svc.Leases = drawLeases(t, svc.Ports[0])
		state.Services = append(state.Services, svc)
	}
	if len(state.Services) == 1 && rapid.Bool().Draw(t, "everywhere") {
		state.Services[0].Interfaces = nil
	}
	c, err := state.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Probes are packets from every region that the States of Draw tell apart.
func Probes() []firewall.Flow {
	var out []firewall.Flow
	for _, source := range []string{
		"10.0.0.1", "10.0.0.2", "10.77.2.0", "10.77.2.1", "10.77.2.128", "10.77.60.0", "10.200.0.1",
		"192.0.2.9", "198.51.100.1", "8.8.8.8",
		"2001:db8::1", "2001:db8::2", "2001:db8::9", "2a00::1",
	} {
		for _, iface := range []string{"eth0", "eth1", "eth2", "eth9", "docker0"} {
			for port := uint16(1); port <= 6; port++ {
				f := firewall.Flow{
					Protocol:    firewall.TCP,
					Source:      netip.MustParseAddr(source),
					Destination: netip.MustParseAddr("192.0.2.1"),
					Port:        port,
					Interface:   iface,
				}
				if f.Source.Is6() {
					f.Destination = netip.MustParseAddr("2001:db8:f::1")
				}
				out = append(out, f)
			}
		}
	}
	return out
}
