package firewall

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
)

// TestSmall: a small State lets in sources of short lists and running SSH sessions alone, and
// nobody whom the whole one refuses.
func TestSmall(t *testing.T) {
	var long address.Builder
	for n := range 100 {
		if err := long.Add(netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/24", 2*n))); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	port := func(n uint16) []PortRange { return []PortRange{{Protocol: TCP, First: n, Last: n}} }
	s, err := State{
		Unlisted:    UnlistedIgnore,
		Refuse:      RefuseReject,
		Established: EstablishedCut,
		Services: []Service{
			{Name: "few", Ports: port(9090), Sources: address.Must("192.0.2.0/24"), Log: LogNone},
			{Name: "ssh", Ports: port(22), Sources: long.Set(), Log: LogNone},
			{Name: "web", Ports: port(443), Sources: long.Set(), Log: LogNone},
		},
	}.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	session := func(client string, port uint16, owner string) Connection {
		return Connection{
			Protocol: TCP,
			Client:   netip.MustParseAddrPort(client),
			Dialled:  netip.AddrPortFrom(netip.MustParseAddr("198.51.100.10"), port),
			Owner:    owner,
		}
	}
	running := []Connection{
		session(
			"10.0.2.9:40000",
			22,
			"sshd",
		), session("10.0.4.9:40000", 22, "nc"), session("10.0.6.9:40000", 443, "nginx"),
		session(
			"172.16.0.1:40000",
			22,
			"sshd",
		), session("[::ffff:10.0.8.9]:40000", 22, "sshd-session"),
	}
	small, reduced := s.Small(running, now, func([]Connection) {})
	if !reduced || small.Refuse != RefuseDrop {
		t.Fatalf("reduced: %v, refuse: %s", reduced, small.Refuse)
	}
	if canonical, err := small.Canonical(); err != nil || !canonical.Equal(small) {
		t.Errorf("it is not canonical: %v", err)
	}
	for _, c := range []struct {
		source string
		port   uint16
		in     bool
	}{
		{"192.0.2.1", 9090, true}, {"10.0.2.9", 9090, false},
		{"10.0.2.9", 22, true}, {"10.0.8.9", 22, true}, // sessions
		// their neighbours; no session; refused anyway
		{"10.0.2.10", 22, false}, {"10.0.4.9", 22, false}, {"172.16.0.1", 22, false},
		{"10.0.6.9", 443, false}, {"10.0.2.9", 443, false},
	} {
		if got := small.Decide(
			Flow{Protocol: TCP, Source: netip.MustParseAddr(c.source), Port: c.port}, now,
		).Verdict; (got == Allowed) != c.in ||
			!c.in && got != Refused {
			t.Errorf("%s to %d is %s", c.source, c.port, got)
		}
	}
	s.Services = s.Services[:1]
	if whole, reduced := s.Small(running, now, func([]Connection) {}); reduced || !whole.Equal(s) {
		t.Error("a State of short lists is not its own small one")
	}
}

// TestRestores: sources alone are no rules.
func TestRestores(t *testing.T) {
	for object, want := range map[Object]bool{
		ObjectElement: false,
		ObjectSet:     false,
		ObjectRule:    true,
		ObjectChain:   true,
		ObjectTable:   true,
		ObjectHook:    true,
	} {
		if got := (Plan{
			Changes: []Change{{Object: ObjectElement}, {Object: object}},
		}).Restores(); got != want {
			t.Errorf("%s: %v", object, got)
		}
	}
	if (Plan{}).Restores() {
		t.Error("nothing restores something")
	}
}
