package exposure

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
)

// Sources that get no answer to ARP are in doubt, and no others. test/e2e compares with packets.
func TestUnfoundAddresses(t *testing.T) {
	const near, second, far = "192.0.2.7", "198.51.100.7", "8.8.8.8"
	all := []string{near, second, far}
	for name, c := range map[string]struct {
		to   string
		set  func(h *Host, eth0 *Interface)
		lost []string
	}{
		"none":    {"192.0.2.10", func(*Host, *Interface) {}, nil},
		"ignored": {"192.0.2.10", func(_ *Host, i *Interface) { i.Sysctls.ARPIgnore = 8 }, all},
		"ignored on all": {
			"192.0.2.10", func(h *Host, _ *Interface) { h.All.ARPIgnore = 8 }, all,
		},
		"own": {"192.0.2.10", func(_ *Host, i *Interface) { i.Sysctls.ARPIgnore = 1 }, nil},
		"another's": {
			"172.17.0.1", func(_ *Host, i *Interface) { i.Sysctls.ARPIgnore = 1 }, all,
		},
		"no interface's": {
			"192.0.2.130", func(_ *Host, i *Interface) { i.Sysctls.ARPIgnore = 1 }, all,
		},
		"no interface's, mode 3": {
			"192.0.2.130", func(_ *Host, i *Interface) { i.Sysctls.ARPIgnore = 3 }, all,
		},
		"another's, mode 3": {
			"172.17.0.1", func(_ *Host, i *Interface) { i.Sysctls.ARPIgnore = 3 }, nil,
		},
		"no interface's, not on the link": {
			"203.0.113.9", func(_ *Host, i *Interface) { i.Sysctls.ARPIgnore = 1 }, nil,
		},
		"no interface's, all answered": {"192.0.2.130", func(*Host, *Interface) {}, nil},
		"own network": {
			"192.0.2.10", func(_ *Host, i *Interface) { i.Sysctls.ARPIgnore = 2 },
			[]string{second},
		},
		"filter": {
			"192.0.2.10", func(h *Host, i *Interface) {
				i.Sysctls.ARPFilter = true
				h.Routes = append(h.Routes, Route{
					Table: tableMain, Type: RouteUnicast, NextHops: []NextHop{{Index: 3}},
					Dest: netip.MustParsePrefix("198.51.100.0/24"),
				})
			},
			[]string{second, far},
		},
		"without neighbours": {
			"192.0.2.10", func(_ *Host, i *Interface) {
				i.NoNeighbours, i.Sysctls.ARPIgnore = true, 8
			}, nil,
		},
	} {
		host := smallHost(true)
		eth0 := host.Interface("eth0")
		eth0.Addresses = append(eth0.Addresses, netip.MustParsePrefix("198.51.100.10/24"))
		c.set(host, eth0)
		q := tcp80
		q.Family, q.Interface, q.Destination = address.IPv4, "eth0", netip.MustParseAddr(c.to)
		w := NewEvaluator(build().rs, host).newWalk(q)
		flows := w.linkRules([]flow{{sources: all4, packet: newPacket(q)}})
		for _, s := range all {
			v := Address(netip.MustParseAddr(s))
			lost := false
			for _, e := range w.ended {
				lost = lost || e.sources.Contains(v) && strings.Contains(e.by.Reason, "ARP")
			}
			passes := false
			for _, f := range flows {
				passes = passes || f.sources.Contains(v)
			}
			want := false
			for _, l := range c.lost {
				want = want || l == s
			}
			if lost != want || !passes {
				t.Errorf("%s: %s lost %v, passes %v", name, s, lost, passes)
			}
		}
	}
}
