package e2e

import (
	"net/netip"
	"testing"
	"time"

	"github.com/portgrave/portgrave/test/lab"
)

// Groups that nobody in these worlds joins by himself (RFC 5771 §10: administratively scoped; RFC
// 4291 §2.7).
var (
	group4, group6 = netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("ff05::1:3")
	broadcast4     = netip.MustParseAddr("172.17.0.255")
)

const closedToBridge = `
services:
  - {name: metrics, port: [67, 5353, 9090], protocol: udp, interfaces: eth0, allow: [192.0.2.1]}
`

// What a bridge carries from one guest to another is no business of the host's, even where the
// kernel shows it to the host's firewall.
func TestBridgedBroadcastAndMulticast(t *testing.T) {
	onEveryBackend(t, testBridgedBroadcastAndMulticast)
}

func testBridgedBroadcastAndMulticast(t *testing.T, e engine) {
	w := newWorld(t, e)
	guest := w.Guest("guest")
	guest.Run("ip", "route", "add", "224.0.0.0/4", "dev", "eth0")
	w.Host.Sysctl("net.bridge.bridge-nf-call-iptables", "1")
	w.Host.Sysctl("net.bridge.bridge-nf-call-ip6tables", "1")
	w.Host.Run("ip", "link", "set", "docker0", "type", "bridge", "mcast_snooping", "0")
	servers := map[uint16]*lab.UDPServer{}
	for _, p := range []uint16{67, 5353, 9999} {
		servers[p] = w.Container.ListenUDP(p)
		servers[p].Join(group4, "eth0")
		servers[p].Join(group6, "eth0")
	}
	for _, mode := range []string{"", "unlisted: deny", "unlisted: deny\nrefuse: reject", "unlisted: deny\nessentials: {echo: false, dhcp: false, multicast-membership: false}"} {
		w.apply(mode + closedToBridge)
		for port, s := range servers {
			for _, to := range []netip.Addr{broadcast4, group4, group6} {
				payload := mode + to.String()
				guest.Send("eth0", netip.AddrPortFrom(to, port), payload)
				if !s.Got(payload, lab.Timeout(longer)) {
					t.Errorf("%q: a datagram to %v port %d did not pass the bridge", mode, to, port)
				}
			}
		}
	}
	// The host itself hears them only where the policy says so.
	own := w.Host.ListenUDP(67)
	own.Join(group4, "docker0")
	own.Join(group6, "docker0")
	for _, mode := range []string{"", "unlisted: deny"} {
		w.apply(mode + closedToBridge)
		for _, to := range []netip.Addr{broadcast4, group4, group6} {
			guest.Send("eth0", netip.AddrPortFrom(to, 67), mode+"host"+to.String())
		}
		time.Sleep(patience)
		if n := own.Count(); n > 0 {
			t.Errorf("%q: %d datagrams of a guest reached the host's own listed port", mode, n)
		}
	}
	w.apply(
		"\nservices: [{name: dhcp, port: 67, protocol: udp, interfaces: docker0, allow: [any]}]\n",
	)
	for _, to := range []netip.Addr{broadcast4, group4, group6} {
		guest.Send("eth0", netip.AddrPortFrom(to, 67), "allowed"+to.String())
		if !own.Got("allowed"+to.String(), lab.Timeout(longer)) {
			t.Errorf("a datagram to %v did not reach the host, which allows it", to)
		}
	}
}

// Multicast and directed broadcast that the host only forwards passes, whatever port it is for.
func TestRoutedMulticast(t *testing.T) { onEveryBackend(t, testRoutedMulticast) }

func testRoutedMulticast(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.Host.Run("ip", "link", "set", "docker0", "type", "bridge", "mcast_snooping", "0")
	w.Host.RouteMulticast(office4, group4, "eth1", "docker0")
	w.Host.RouteMulticast(office6, group6, "eth1", "docker0")
	w.Office.Run("ip", "route", "add", "224.0.0.0/4", "dev", "eth0")
	w.Office.Sysctl("net.ipv4.conf.all.rp_filter", "0")
	server := w.Container.ListenUDP(9090)
	server.Join(group4, "eth0")
	server.Join(group6, "eth0")
	// Directed broadcast: from the office to all of the bridge's network.
	w.Host.Sysctl("net.ipv4.conf.all.bc_forwarding", "1")
	w.Host.Sysctl("net.ipv4.conf.eth1.bc_forwarding", "1")
	w.Host.Sysctl("net.ipv4.conf.docker0.bc_forwarding", "1")
	own := w.Host.ListenUDP(9090)
	own.Join(group4, "eth1")
	own.Join(group6, "eth1")
	for _, mode := range []string{"none", "", "unlisted: deny", "refuse: reject"} {
		if mode != "none" { // the control
			w.apply(mode + closedToBridge)
		}
		before := own.Count()
		for _, to := range []netip.Addr{group4, group6, broadcast4} {
			payload := mode + to.String()
			arrived := false
			// the first may be lost while its route settles
			for tries := 0; tries < 3 && !arrived; tries++ {
				w.Office.SendHops("eth0", netip.AddrPortFrom(to, 9090), payload, 8)
				arrived = server.Got(payload, lab.Timeout(patience))
			}
			if !arrived {
				t.Errorf("%q: a datagram to %v was not forwarded", mode, to)
			}
		}
		if heard := own.Count() - before; mode != "none" && heard > 0 {
			t.Errorf("%q: %d datagrams reached the host's own listed port", mode, heard)
		}
	}
}
