package firewall

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
)

func TestParseProtocol(t *testing.T) {
	for in, want := range map[string]Protocol{"tcp": TCP, "vrrp": VRRP, "112": VRRP, "protocol-112": VRRP,
		"esp": ESP, "ah": AH, "gre": GRE, "ipip": 4, "6in4": 41, "ipv6": 41, "ospf": 89, "pim": 103,
		"l2tp": 115, "ping": Ping, "94": 94, "protocol-94": 94, "254": 254} {
		got, err := ParseProtocol(in)
		if err != nil || got != want {
			t.Errorf("%q is read as %d, %v; want %d", in, got, err, want)
		}
		if again, err := ParseProtocol(got.String()); err != nil || again != got {
			t.Errorf("%q is written as %q, which is read as %d, %v", in, got, again, err)
		}
	}
	for in, want := range map[string]string{"": "unknown", "ipx": "tcp, udp or sctp", "6": "write tcp",
		"17": "write udp", "132": "write sctp", "1": "write ping", "58": "write ping", "icmp": "write ping",
		"ipv6-icmp": "write ping", "0": "extension header", "255": "reserved", "256": "unknown",
		"044": "unknown", "-1": "unknown", "protocol-6": "write tcp"} {
		if p, err := ParseProtocol(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is read as %d, %v; want an error with %q", in, p, err, want)
		}
	}
}

func TestPortlessRangesAreWholeProtocols(t *testing.T) {
	s := canonical(
		t,
		stateOf(Service{Name: "a", Ports: []PortRange{Portless(VRRP), tcp(22, 22), Portless(ESP),
			Portless(VRRP)}}),
	)
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var again State
	if err := json.Unmarshal(text, &again); err != nil || !again.Equal(s) {
		t.Errorf("%s is read as %+v, %v", text, again, err)
	}
	if got := s.Services[0].Ports; len(got) != 3 || got[1].String() != "esp" ||
		got[2].String() != "vrrp" {
		t.Errorf("the ports are %v", got)
	}
	for _, r := range []PortRange{
		{VRRP, 1, 1}, {VRRP, 0, 1}, {TCP, 0, 0}, {ICMP, 0, 0}, {44, 0, 0}, {0, 0, 0},
	} {
		if _, err := stateOf(Service{Name: "a", Ports: []PortRange{r}}).Canonical(); err == nil {
			t.Errorf("%#v counts as a range", r)
		}
	}
	clashes := Clashes([]Service{{Name: "a", Ports: []PortRange{Portless(Ping)}},
		{Name: "b", Ports: []PortRange{Portless(Ping), Portless(GRE)}},
		{Name: "c", Ports: []PortRange{Portless(GRE)}, Interfaces: []string{"eth0"}}})
	if len(clashes) != 2 || clashes[0].Ports != Portless(GRE) ||
		clashes[1].Ports != Portless(Ping) {
		t.Errorf("the clashes are %v", clashes)
	}
}

func TestDecidePortless(t *testing.T) {
	from := func(p Protocol, source string) Flow {
		return Flow{Protocol: p, Source: netip.MustParseAddr(source), Interface: "eth0"}
	}
	for _, unlisted := range []Unlisted{UnlistedIgnore, UnlistedDeny} {
		s := stateOf(Service{Name: "vrrp", Ports: []PortRange{Portless(VRRP)},
			Sources: address.Must("192.0.2.0/24", "fe80::/10")})
		s.Unlisted, s.Essentials = unlisted, EssentialEcho
		s = canonical(t, s)
		other := Ignored
		if unlisted == UnlistedDeny {
			other = Refused
		}
		ping := Ignored
		if unlisted == UnlistedDeny {
			ping = Allowed
		}
		for _, tt := range []struct {
			flow Flow
			want Verdict
		}{
			{from(VRRP, "192.0.2.1"), Allowed}, {from(VRRP, "fe80::1"), Allowed},
			{from(VRRP, "198.51.100.1"), Refused}, {from(VRRP, "2001:db8::1"), Refused},
			{from(ESP, "192.0.2.1"), other}, {from(Ping, "198.51.100.1"), ping}, {from(IGMP, "192.0.2.1"), other},
		} {
			if got := s.Decide(tt.flow, noon); got.Verdict != tt.want {
				t.Errorf(
					"%s: %v from %v is %v: %s; want %v",
					unlisted,
					tt.flow.Protocol,
					tt.flow.Source,
					got.Verdict,
					got.Reason,
					tt.want,
				)
			}
			if a, b := s.Decide(tt.flow, noon), s.Index().Decide(tt.flow, noon); a != b {
				t.Errorf("the index decides %v, not %v", b, a)
			}
		}
	}
}

// A generation from before there were protocols without ports, or more essentials, is read as it
// was.
func TestOlderStatesAreRead(t *testing.T) {
	const older = `{"unlisted":"deny","refuse":"drop","established":"cut","essentials":["icmp-errors","echo",` +
		`"neighbour-discovery","dhcp","multicast-membership"],"services":[{"name":"a","ports":[{"protocol":"tcp",` +
		`"first":22,"last":22}],"addresses":[],"sources":["10.0.0.0/8"],"log":"denied"}]}`
	var s State
	if err := json.Unmarshal([]byte(older), &s); err != nil {
		t.Fatal(err)
	}
	if s.Essentials != DefaultEssentials {
		t.Errorf("its essentials are %v", s.Essentials.Names())
	}
	if text, err := json.Marshal(s); err != nil || string(text) != older {
		t.Errorf("it is written as %s, %v", text, err)
	}
}
