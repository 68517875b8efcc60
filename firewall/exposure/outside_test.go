package exposure

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// DHCP clients send from 0.0.0.0 to 255.255.255.255, which the kernel accepts.
func TestClientsWithoutAnAddress(t *testing.T) {
	b := build()
	b.base(FamilyIPv4, "a", "in", Base{Hook: HookInput, Policy: VerdictDrop}).
		does(dport(67, 67), accept)
	h := multihomed()
	h.Interfaces[0].Sysctls.RPFilter = 1
	h.Routes = append(
		h.Routes,
		Route{
			Table:    tableLocal,
			Type:     RouteBroadcast,
			Dest:     netip.MustParsePrefix("255.255.255.255/32"),
			NextHops: []NextHop{{Index: 1}},
		},
	)
	for _, host := range []*Host{nil, h} {
		for _, c := range []struct {
			protocol firewall.Protocol
			to       string
			want     bool
		}{
			{firewall.UDP, "", host == nil},
			{firewall.UDP, "255.255.255.255", true},
			{firewall.UDP, "192.0.2.10", false},
			{firewall.TCP, "255.255.255.255", false},
			{firewall.TCP, "", false},
		} {
			q := Question{
				Family:    address.IPv4,
				Protocol:  c.protocol,
				Port:      67,
				Interface: "eth0",
				Outside:   true,
			}
			if c.to != "" {
				q.Destination = netip.MustParseAddr(c.to)
			}
			a, err := Evaluate(b.rs, host, q)
			if err != nil {
				t.Fatal(err)
			}
			if _, possible := a.Through(); possible.Contains(Value{}) != c.want {
				t.Errorf(
					"with a host: %v, %v to %q: 0.0.0.0 gets in: %v",
					host != nil,
					c.protocol,
					c.to,
					!c.want,
				)
			}
		}
	}
}

// An answer without a host names every source that it omits.
func TestOutsideNamesOmissions(t *testing.T) {
	for family, ranges := range map[address.Family]string{
		address.IPv4: "127.0.0.0/8 224.0.0.0/4 255.255.255.255 0.0.0.0",
		address.IPv6: "::1 ff00::/8 ::ffff:0:0/96 fe80::/10",
	} {
		a, err := Evaluate(
			build().rs,
			nil,
			Question{Family: family, Protocol: firewall.TCP, Port: 80, Outside: true},
		)
		if err != nil {
			t.Fatal(err)
		}
		said := strings.Join(a.Assumed, "; ")
		for _, s := range strings.Fields(ranges) {
			if !strings.Contains(said, s) {
				t.Errorf("%v: nothing is said of %s: %s", family, s, said)
			}
		}
	}
}
