package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
	"pgregory.net/rapid"
)

var leaseNoon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// drawExpiring draws sources that often nest, and ends that often are the same.
func drawExpiring(t *rapid.T, most int) (out []ExpiringSource) {
	prefixes := rapid.SampledFrom([]string{"10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9",
		"10.0.0.1/32", "10.0.0.0/31", "192.0.2.0/24", "2001:db8::/32", "2001:db8::1/128"})
	for range rapid.IntRange(0, most).Draw(t, "sources") {
		end := leaseNoon.Add(time.Duration(rapid.IntRange(1, 3).Draw(t, "end")) * time.Hour)
		out = append(out, ExpiringSource{netip.MustParsePrefix(prefixes.Draw(t, "prefix")), end})
	}
	return out
}

func drawLeasePorts(t *rapid.T) []PortRange {
	first := uint16(rapid.IntRange(1, 6).Draw(t, "first"))
	return []PortRange{{TCP, first, first + uint16(rapid.IntRange(0, 3).Draw(t, "more"))}}
}

func drawLeasedService(t *rapid.T) Service {
	svc := Service{Name: "web", Ports: drawLeasePorts(t), Log: LogDenied,
		Expiring: drawExpiring(t, 2)}
	if rapid.Bool().Draw(t, "lasting") {
		svc.Sources = address.Must("10.0.0.0/31", "192.0.2.0/25")
	}
	for range rapid.IntRange(0, 4).Draw(t, "leases") {
		svc.Leases = append(svc.Leases, Lease{drawLeasePorts(t), drawExpiring(t, 3)})
	}
	return svc
}

// ends says until when each source may reach each port, by what is written on the service.
func (svc Service) ends() map[string]time.Time {
	out := map[string]time.Time{}
	forever := leaseNoon.AddDate(1, 0, 0)
	for port := uint16(0); port < 11; port++ {
		if !slices.ContainsFunc(svc.Ports, func(r PortRange) bool { return r.Contains(TCP, port) }) {
			continue
		}
		for _, text := range []string{"10.0.0.0", "10.0.0.1", "10.0.0.2", "10.200.0.1", "192.0.2.1",
			"192.0.2.200", "8.8.8.8", "2001:db8::", "2001:db8::1"} {
			a, end := netip.MustParseAddr(text), time.Time{}
			if svc.Sources.Contains(a) {
				end = forever
			}
			look := func(list []ExpiringSource) {
				for _, e := range list {
					if e.Prefix.Contains(a) && e.Until.After(end) {
						end = e.Until
					}
				}
			}
			look(svc.Expiring)
			for _, l := range svc.Leases {
				if l.opens(TCP, port) {
					look(l.Expiring)
				}
			}
			if !end.IsZero() {
				out[fmt.Sprint(a, port)] = end
			}
		}
	}
	return out
}

// TestLeasesInOneForm: the canonical form of leases means what was written, tells States apart that
// differ for some packet and no others, and is decided by in each of the ways that there are.
func TestLeasesInOneForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state := State{Unlisted: UnlistedIgnore, Refuse: RefuseDrop, Established: EstablishedCut}
		written := drawLeasedService(t)
		state.Services = []Service{written}
		c, err := state.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := c.Canonical(); err != nil || !again.Equal(c) {
			t.Fatalf("%+v is not in canonical form: %+v, %v", c, again, err)
		}
		svc, want := c.Services[0], written.ends()
		same := func(got map[string]time.Time) bool {
			return fmt.Sprint(got) == fmt.Sprint(want)
		}
		if got := svc.ends(); !same(got) {
			t.Fatalf("%+v means\n%v, and\n%+v\n%v", written, want, svc, got)
		}
		parts := map[string]time.Time{}
		for _, part := range svc.ByLease() {
			for at, end := range part.ends() {
				parts[at] = end
			}
		}
		if !same(parts) {
			t.Fatalf("%+v by lease: %+v", svc, svc.ByLease())
		}
		// The same, written by port: what each lets in alone.
		by := written
		by.Leases = nil
		by.Expiring = nil
		for port := uint16(1); port < 11; port++ {
			at := svc.At(TCP, port)
			by.Leases = append(by.Leases, Lease{[]PortRange{{TCP, port, port}}, at.Expiring})
		}
		state.Services = []Service{by}
		if other, err := state.Canonical(); err != nil || !other.Equal(c) {
			t.Fatalf("%+v is not %+v, %v", other, c, err)
		}
		index := c.Index()
		for port := uint16(0); port < 11; port++ {
			for _, source := range []string{
				"10.0.0.1", "10.200.0.1", "192.0.2.200", "2001:db8::1",
			} {
				a := netip.MustParseAddr(source)
				for _, now := range []time.Time{leaseNoon, leaseNoon.Add(90 * time.Minute)} {
					end := want[fmt.Sprint(a, port)]
					allowed := end.After(now)
					f := Flow{Protocol: TCP, Source: a, Port: port}
					if got := index.Decide(f, now).Verdict == Allowed; got != allowed {
						t.Fatalf("%v to %d at %v: %v, in %+v", a, port, now, got, svc)
					}
					says := index.Ask(TCP, port, "")
					if len(says.Services) > 0 &&
						says.Services[0].AllowedAt(now).Contains(a) != allowed {
						t.Fatalf("Ask: %v to %d at %v: %v", a, port, now, says)
					}
				}
			}
		}
		var b State
		if binary, err := c.MarshalBinary(); err != nil || b.UnmarshalBinary(binary) != nil ||
			!b.Equal(c) {
			t.Fatalf("%+v came back as %+v", c, b)
		}
	})
}

// TestLeasesCutPorts checks that a service with a lease on some of its ports is a piece for each,
// and that the pieces tell the lease.
func TestLeasesCutPorts(t *testing.T) {
	lease := Lease{[]PortRange{{TCP, 81, 81}}, []ExpiringSource{
		{netip.MustParsePrefix("203.0.113.7/32"), leaseNoon}}}
	web := Service{Name: "web", Ports: []PortRange{{TCP, 80, 82}}, Leases: []Lease{lease}}
	var got []string
	for _, p := range PortPieces([]Service{web, {Name: "x", Ports: []PortRange{{TCP, 82, 83}}}}) {
		line := p.Ports.String()
		for _, svc := range p.Services {
			line += fmt.Sprintf(" %s %d", svc.Name, len(svc.Leases))
		}
		got = append(got, line)
	}
	want := []string{"tcp/80 web 0", "tcp/81 web 1", "tcp/82 web 0 x 0", "tcp/83 x 0"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestSmallKeepsLeases: a session that a lease lets in is let in to the lease's ports alone while
// there is no time for long lists.
func TestSmallKeepsLeases(t *testing.T) {
	client := netip.MustParsePrefix("203.0.113.7/32")
	ssh := Service{Name: "ssh", Ports: []PortRange{{TCP, 22, 23}}, Log: LogDenied}
	for i := range 20 {
		ssh.Sources = ssh.Sources.Union(address.Must(fmt.Sprintf("10.0.%d.1/32", i)))
	}
	ssh, err := ssh.WithLeases(Lease{[]PortRange{{TCP, 22, 22}},
		[]ExpiringSource{{client, leaseNoon.Add(time.Hour)}}})
	if err != nil {
		t.Fatal(err)
	}
	s := State{Unlisted: UnlistedIgnore, Refuse: RefuseDrop, Established: EstablishedCut,
		Services: []Service{ssh}}
	running := []Connection{{
		Protocol: TCP,
		Client:   netip.AddrPortFrom(client.Addr(), 50000),
		Dialled:  netip.MustParseAddrPort("192.0.2.1:22"),
	}}
	small, reduced := s.Small(running, leaseNoon, func(list []Connection) {
		for i := range list {
			list[i].Owner = "sshd"
		}
	})
	for port, want := range map[uint16]Verdict{22: Allowed, 23: Refused} {
		f := Flow{Protocol: TCP, Source: client.Addr(), Port: port}
		if got := small.Decide(f, leaseNoon); !reduced || got.Verdict != want {
			t.Errorf("%d: %v, %v, want %v", port, reduced, got, want)
		}
	}
}
