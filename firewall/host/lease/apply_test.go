package lease

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// lines is a State in a form for reading: a line a service.
func lines(s firewall.State) []string {
	var out []string
	for _, svc := range s.Services {
		line := svc.Name
		for _, r := range svc.Ports {
			line += " " + r.String()
		}
		line += " from " + strings.Join(svc.Sources.Strings(), " ")
		for _, e := range svc.Expiring {
			line += fmt.Sprintf(", %s until %s", e.Prefix, e.Until.Format("15:04"))
		}
		for _, l := range svc.Leases {
			line += ";"
			for _, r := range l.Ports {
				line += " " + r.String()
			}
			for i, e := range l.Expiring {
				line += fmt.Sprintf("%s %s until %s", []string{"", ","}[min(i, 1)], e.Prefix,
					e.Until.Format("15:04"))
			}
		}
		out = append(out, line)
	}
	return out
}

func TestApply(t *testing.T) {
	office := address.Must("10.0.0.0/8")
	one := firewall.Service{
		Name:    "metrics",
		Ports:   []firewall.PortRange{tcp(9090, 9090)},
		Sources: office,
	}
	wide := firewall.Service{
		Name:    "web",
		Ports:   []firewall.PortRange{tcp(80, 80), tcp(8000, 8100), udp(443, 443)},
		Sources: office,
	}
	longer := leaseOf("203.0.113.7/32", tcp(9090, 9090))
	longer.Until = noon.Add(3 * time.Hour)
	forced := leaseOf("203.0.113.7/32", tcp(7000, 7001))
	forced.Unlisted = true
	forcedWide := forced
	forcedWide.Ports = []firewall.PortRange{tcp(70, 90), udp(60, 70)}
	waiting := leaseOf("203.0.113.7/32", tcp(9090, 9090))
	waiting.Opened, waiting.Until = noon.Add(time.Hour), noon.Add(2*time.Hour)
	over := leaseOf("203.0.113.7/32", tcp(9090, 9090))
	over.Opened, over.Until = noon.Add(-time.Hour), noon
	for name, tt := range map[string]struct {
		state  firewall.State
		leases []Lease
		want   []string
	}{
		"none": {stateOf(t, one), nil, []string{"metrics tcp/9090 from 10.0.0.0/8"}},
		"a whole service keeps its name": {stateOf(t, one), []Lease{leaseOf("203.0.113.7/32", tcp(9090, 9090))},
			[]string{"metrics tcp/9090 from 10.0.0.0/8, 203.0.113.7/32 until 14:00"}},
		"the later end wins": {stateOf(t, one), []Lease{leaseOf("203.0.113.7/32", tcp(9090, 9090)), longer},
			[]string{"metrics tcp/9090 from 10.0.0.0/8, 203.0.113.7/32 until 15:00"}},
		"allowed for good stays that": {stateOf(t, one), []Lease{leaseOf("10.1.0.0/16", tcp(9090, 9090))},
			[]string{"metrics tcp/9090 from 10.0.0.0/8"}},
		"over":                         {stateOf(t, one), []Lease{over}, []string{"metrics tcp/9090 from 10.0.0.0/8"}},
		"the clock before its opening": {stateOf(t, one), []Lease{waiting}, []string{"metrics tcp/9090 from 10.0.0.0/8"}},
		"a port of a range": {stateOf(t, wide), []Lease{leaseOf("203.0.113.7/32", tcp(8080, 8080))},
			[]string{"web tcp/80 tcp/8000-8100 udp/443 from 10.0.0.0/8; tcp/8080 203.0.113.7/32 until 14:00"}},
		"a lease wider than the service": {stateOf(t, wide), []Lease{leaseOf("203.0.113.7/32", tcp(1, 8010))},
			[]string{"web tcp/80 tcp/8000-8100 udp/443 from 10.0.0.0/8; tcp/80 tcp/8000-8010 203.0.113.7/32 until 14:00"}},
		"nothing for a source allowed for good": {stateOf(t, wide), []Lease{leaseOf("10.1.0.0/16", tcp(8080, 8080))},
			[]string{"web tcp/80 tcp/8000-8100 udp/443 from 10.0.0.0/8"}},
		"two leases that overlap": {stateOf(t, wide), []Lease{leaseOf("203.0.113.7/32", tcp(8000, 8010)), leaseOf("198.51.100.7/32", tcp(8010, 8020))},
			[]string{"web tcp/80 tcp/8000-8100 udp/443 from 10.0.0.0/8" +
				"; tcp/8000-8009 203.0.113.7/32 until 14:00" +
				"; tcp/8010 198.51.100.7/32 until 14:00, 203.0.113.7/32 until 14:00" +
				"; tcp/8011-8020 198.51.100.7/32 until 14:00"}},
		"what leases open on every port belongs to no lease": {stateOf(t, wide),
			[]Lease{
				leaseOf("203.0.113.7/32", tcp(80, 80)),
				leaseOf("198.51.100.7/32", tcp(1, 65535), udp(1, 65535)),
			},
			[]string{"web tcp/80 tcp/8000-8100 udp/443 from 10.0.0.0/8, 198.51.100.7/32 until 14:00" +
				"; tcp/80 203.0.113.7/32 until 14:00"}},
		"every service that shares the port": {stateOf(t,
			firewall.Service{
				Name:       "in",
				Ports:      []firewall.PortRange{tcp(22, 22)},
				Interfaces: []string{"eth0"},
				Sources:    office,
			},
			firewall.Service{Name: "out", Ports: []firewall.PortRange{tcp(22, 23)}, Interfaces: []string{"eth1"}}), []Lease{leaseOf("203.0.113.7/32", tcp(22, 22))},
			[]string{"in tcp/22 from 10.0.0.0/8, 203.0.113.7/32 until 14:00", "out tcp/22-23 from ; tcp/22 203.0.113.7/32 until 14:00"}},
		"unlisted, left alone":         {stateOf(t, one), []Lease{forced}, []string{"metrics tcp/9090 from 10.0.0.0/8"}},
		"unlisted, denied, not forced": {inMode(t, firewall.UnlistedDeny, one), []Lease{leaseOf("203.0.113.7/32", tcp(7000, 7001))}, []string{"metrics tcp/9090 from 10.0.0.0/8"}},
		"unlisted, denied, forced":     {inMode(t, firewall.UnlistedDeny, one), []Lease{forced}, []string{"lease-tcp-7000 tcp/7000-7001 from , 203.0.113.7/32 until 14:00", "metrics tcp/9090 from 10.0.0.0/8"}},
		"forced, and the policy lists some": {inMode(t, firewall.UnlistedDeny, wide), []Lease{forcedWide}, []string{
			// udp/68 is the DHCP client's
			"lease-tcp-70 tcp/70-79 tcp/81-90 udp/60-67 udp/69-70 from , 203.0.113.7/32 until 14:00",
			"web tcp/80 tcp/8000-8100 udp/443 from 10.0.0.0/8; tcp/80 203.0.113.7/32 until 14:00"}},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				if diff := cmp.Diff(
					tt.want, lines(applied(t, tt.state, noon, tt.leases...)),
				); diff != "" {
					t.Error(diff)
				}
				slices.Reverse(tt.leases) // the order is without meaning
			}
		})
	}
}

// TestEverythingElseStays: a lease changes nothing of its service but Leases, and does not give
// what ends later anyway.
func TestEverythingElseStays(t *testing.T) {
	svc := firewall.Service{
		Name:       "web",
		Ports:      []firewall.PortRange{tcp(80, 81)},
		Interfaces: []string{"eth*"},
		Addresses:  address.Must("192.0.2.1/32"),
		Sources:    address.Must("10.0.0.0/8"),
		Expiring: []firewall.ExpiringSource{
			{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Until: noon.Add(time.Hour)},
			{Prefix: netip.MustParsePrefix("198.51.100.0/24"), Until: noon.Add(9 * time.Hour)},
		},
		Log:  firewall.LogAll,
		Rate: &firewall.Rate{Count: 3, Per: time.Minute, Burst: 9},
	}
	s := stateOf(t, svc)
	l := leaseOf("203.0.113.7/32", tcp(81, 81))
	l.Sources = l.Sources.Union(address.Must("198.51.100.7/32"))
	leased := applied(t, s, noon, l).Services[0]
	want := []firewall.Lease{{
		Ports: []firewall.PortRange{tcp(81, 81)},
		Expiring: []firewall.ExpiringSource{
			{Prefix: netip.MustParsePrefix("203.0.113.7/32"), Until: l.Until}},
	}}
	if !slices.EqualFunc(leased.Leases, want, firewall.Lease.Equal) {
		t.Errorf("%+v, want %+v", leased.Leases, want)
	}
	if leased.Leases = nil; !leased.Equal(s.Services[0]) {
		t.Errorf("%+v, want %+v", leased, s.Services[0])
	}
	if back := applied(t, s, noon.Add(2*time.Hour), l); !back.Equal(s) {
		t.Errorf("when the lease is over: %v", lines(back))
	}
}

// TestOneLeaseMoreIsElements: leases on the same ports are one lease, so the kernel's chains stay.
func TestOneLeaseMoreIsElements(t *testing.T) {
	s := stateOf(t, firewall.Service{Name: "web", Ports: []firewall.PortRange{tcp(80, 82)}})
	first, second := leaseOf("203.0.113.7/32", tcp(81, 81)), leaseOf("203.0.113.9/32", tcp(81, 81))
	second.Until = second.Until.Add(time.Minute)
	web := applied(t, s, noon, first, second).Services[0]
	if len(web.Leases) != 1 || len(web.Leases[0].Expiring) != 2 || len(web.Expiring) > 0 {
		t.Errorf("%+v", web)
	}
}

func TestApplyRefuses(t *testing.T) {
	good := stateOf(t, firewall.Service{Name: "web", Ports: []firewall.PortRange{tcp(80, 81)}})
	nobody, backwards, portless := leaseOf(
		"203.0.113.7/32",
		tcp(80, 80),
	), leaseOf(
		"203.0.113.7/32",
		tcp(80, 80),
	), leaseOf(
		"203.0.113.7/32",
	)
	nobody.Sources = address.Set{}
	backwards.Opened = backwards.Until.Add(time.Second)
	for name, tt := range map[string]struct {
		state firewall.State
		lease Lease
		want  string
	}{
		"no sources": {good, nobody, "lease bcdfgh: 0 sources"},
		"no ports":   {good, portless, "no ports"},
		"backwards":  {good, backwards, "ends before"},
	} {
		if _, err := Apply(
			tt.state, []Lease{tt.lease}, noon.Add(2*time.Hour-time.Nanosecond),
		); err == nil ||
			!strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}
