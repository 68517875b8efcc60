package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/test/lab"
)

// Addresses that only the host's DNAT knows, and one that only a route of its own makes local.
var (
	virtual4, virtual6 = netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("fd00:96::1")
	routed4, routed6   = netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8:abcd::10")
)

// refusals are the ways to refuse, with what a client sees of it.
var refusals = []struct {
	refuse string
	want   lab.Answer
}{{"drop", lab.Dropped}, {"reject", lab.Refused}}

// A container's own address is a second door to a port that it publishes, for anyone who has a
// route there.
func TestDirectWayToContainer(t *testing.T) { onEveryBackend(t, testDirectWayToContainer) }

func testDirectWayToContainer(t *testing.T, e engine) {
	w := newWorld(t, e)
	for _, p := range []uint16{80, 9099} {
		w.Container.ListenTCP(p)
		w.Container.ListenUDP(p)
	}
	w.Office.ListenTCP(9099)
	w.Office.ListenUDP(9099)
	w.Internet.ListenTCP(9099)
	w.Internet.ListenUDP(9099)
	w.Publish("tcp", 9090, 80)
	w.Publish("udp", 9090, 80)
	inside4, inside6 := w.Container.Addr4(), w.Container.Addr6()
	w.apply(officeOnly)
	w.expect(both, // the control: published to the office alone, and open to all by another door
		ask{lab.Dropped, w.Internet, whichever, host4, 9090},
		ask{lab.Dropped, w.Internet, whichever, host6, 9090},
		ask{lab.Open, w.Internet, whichever, inside4, 80},
		ask{lab.Open, w.Internet, whichever, inside6, 80},
		ask{lab.Open, w.Office, whichever, inside4, 80})
	goesOn := []ask{
		{lab.Open, w.Office, office4, host4, 9090}, // published, and allowed
		{lab.Open, w.Office, office6, host6, 9090},
		{lab.Open, w.Host, whichever, inside4, 80}, // the host itself
		{lab.Open, w.Host, whichever, inside6, 80},
		{lab.Open, w.Container, whichever, internet4, 9099}, // what containers begin
		{lab.Open, w.Container, whichever, internet6, 9099},
		{lab.Open, w.Internet, whichever, office4, 9099}, // routed past
		{lab.Open, w.Internet, whichever, office6, 9099},
	}
	for _, mode := range refusals {
		for _, unlisted := range []string{"ignore", "deny"} {
			w.apply(
				fmt.Sprintf(
					"refuse: %s\nunlisted: %s\ndirect: {interfaces: [\"docker*\"]}%s",
					mode.refuse,
					unlisted,
					officeOnly,
				),
			)
			w.expect(both, append(goesOn,
				ask{mode.want, w.Internet, whichever, inside4, 80},
				ask{mode.want, w.Internet, whichever, inside6, 80},
				ask{mode.want, w.Office, whichever, inside4, 80},
				ask{mode.want, w.Office, whichever, inside6, 9099})...)
		}
	}
	if n := firewall.Sum(w.traffic(firewall.DirectTraffic).Refused).Packets; n == 0 {
		t.Error("packets that were refused on the direct way are not counted")
	}
	w.apply("direct: {interfaces: [docker0, eth1]}" + officeOnly)
	w.expect(both, append(goesOn[:6],
		ask{lab.Open, w.Office, whichever, inside4, 80}, // from one named interface to another
		ask{lab.Open, w.Office, whichever, inside6, 80},
		ask{lab.Dropped, w.Internet, whichever, inside4, 80},
		ask{lab.Dropped, w.Internet, whichever, office4, 9099})...)
	w.apply("direct: {interfaces: [docker0]}\nservices: []\n")
	w.expect(both, // also without any service
		ask{lab.Open, w.Internet, whichever, host4, 9090}, // published, and closed to no one
		ask{lab.Open, w.Internet, whichever, host6, 9090},
		ask{lab.Dropped, w.Internet, whichever, inside4, 80},
		ask{lab.Dropped, w.Internet, whichever, inside6, 80})
}

// virtualIPs leads two addresses that the host does not have to the container, one port of them to
// the host itself, and a port of the host's own addresses to the container, for every source, as
// kube-proxy does.
func (w *world) virtualIPs() {
	w.t.Helper()
	for _, a := range []netip.Addr{virtual4, virtual6} {
		w.Router.Run(
			"ip",
			"route",
			"add",
			netip.PrefixFrom(a, a.BitLen()).String(),
			"via",
			w.Host.Addr(a.Is6()).String(),
		)
	}
	w.Host.NFT(fmt.Sprintf(`table inet virtual {
	chain prerouting {
		type nat hook prerouting priority -100; policy accept;
		ip daddr %[1]s meta l4proto { tcp, udp } th dport { 443, 9090, 9444 } dnat ip to %[3]s:80
		ip6 daddr %[2]s meta l4proto { tcp, udp } th dport { 443, 9090, 9444 } dnat ip6 to [%[4]s]:80
		ip daddr %[1]s meta l4proto { tcp, udp } th dport { 444, 9445 } dnat ip to %[5]s:6443
		ip6 daddr %[2]s meta l4proto { tcp, udp } th dport { 444, 9445 } dnat ip6 to [%[6]s]:6443
		fib daddr type local meta l4proto { tcp, udp } th dport { 9446, 9447 } meta nfproto ipv4 dnat ip to %[3]s:80
		fib daddr type local meta l4proto { tcp, udp } th dport { 9446, 9447 } meta nfproto ipv6 dnat ip6 to [%[4]s]:80
	}
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		iifname docker0 oifname docker0 masquerade
	}
}`, virtual4, virtual6, w.Container.Addr4(), w.Container.Addr6(), host4, host6))
}

// A virtual IP is no hole: services decide about it as about the host's own addresses. But the
// host's own workloads reach the virtual IPs of services that have nothing to do with the policy's.
func TestVirtualIP(t *testing.T) { onEveryBackend(t, testVirtualIP) }

const virtualPolicy = `
services:
  - {name: metrics, port: 9090, protocol: [tcp, udp], allow: [10.20.0.0/16, "fd00:20::/48"]}
  - {name: web, port: [443, 444], protocol: [tcp, udp], allow: [10.20.0.0/16, "fd00:20::/48"]}
  - {name: published, port: 9446, protocol: [tcp, udp], allow: [10.20.0.0/16, "fd00:20::/48"]}
`

func testVirtualIP(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(6443)
	w.Container.ListenTCP(80)
	w.Container.ListenUDP(80)
	w.virtualIPs()
	pod := w.Guest("pod") // beside the container
	pod.Run("ip", "route", "add", "default", "via", bridge4.String())
	pod.Run("ip", "route", "add", "default", "via", bridge6.String())
	w.expect(both, // the control
		ask{lab.Open, w.Internet, whichever, virtual4, 9090},
		ask{lab.Open, w.Internet, whichever, virtual6, 9090},
		ask{lab.Open, w.Internet, whichever, virtual4, 9445},
		ask{lab.Open, w.Internet, whichever, virtual6, 9445},
		ask{lab.Open, pod, whichever, virtual4, 443},
		ask{lab.Open, pod, whichever, virtual6, 443})
	for _, mode := range refusals {
		for _, unlisted := range []string{"ignore", "deny"} {
			w.apply(fmt.Sprintf("refuse: %s\nunlisted: %s%s", mode.refuse, unlisted, virtualPolicy))
			published := lab.Open // a port that nobody lists, at the host's own address
			if unlisted == "deny" {
				published = mode.want
			}
			w.expect(both,
				ask{mode.want, w.Internet, whichever, virtual4, 9090},
				ask{mode.want, w.Internet, whichever, virtual6, 9090},
				ask{mode.want, w.Internet, whichever, virtual4, 444}, // to a process of the host
				ask{mode.want, w.Internet, whichever, virtual6, 444},
				ask{lab.Open, w.Office, whichever, virtual4, 9090},
				ask{lab.Open, w.Office, whichever, virtual6, 9090},
				ask{lab.Open, w.Office, whichever, virtual4, 444},
				ask{lab.Open, w.Office, whichever, virtual6, 444},
				ask{lab.Open, pod, whichever, virtual4, 443}, // the workloads' own business
				ask{lab.Open, pod, whichever, virtual6, 443},
				ask{lab.Open, pod, whichever, virtual4, 444},
				ask{lab.Open, pod, whichever, virtual6, 444},
				ask{mode.want, w.Internet, whichever, host4, 9446},
				ask{mode.want, w.Internet, whichever, host6, 9446},
				ask{lab.Open, w.Office, whichever, inside4, 9446},
				ask{lab.Open, w.Office, whichever, inside6, 9446},
				// unlisted on a virtual IP: never ours
				ask{lab.Open, w.Internet, whichever, virtual4, 9444},
				ask{lab.Open, w.Internet, whichever, virtual6, 9444},
				ask{lab.Open, w.Internet, whichever, virtual4, 9445},
				ask{lab.Open, w.Internet, whichever, virtual6, 9445},
				ask{published, w.Internet, whichever, host4, 9447},
				ask{published, w.Internet, whichever, host6, 9447},
			)
			// But the host's own addresses are the policy's. A reset from one container to another,
			// both on one bridge, may be lost on its way.
			for _, to := range []netip.Addr{host4, host6} {
				w.expectClosed(both, pod, to, 9446)
				if unlisted == "deny" {
					w.expectClosed(both, pod, to, 9447)
				} else {
					w.expect(both, ask{lab.Open, pod, whichever, to, 9447})
				}
			}
		}
	}
	// A service that names the address decides for workloads too.
	w.apply(fmt.Sprintf(`
services:
  - {name: metrics, port: [443, 9090], protocol: [tcp, udp], addresses: [%s, "%s"], allow: [10.20.0.0/16, "fd00:20::/48"]}
`, virtual4, virtual6))
	w.expect(both,
		ask{lab.Dropped, w.Internet, whichever, virtual4, 9090},
		ask{lab.Dropped, w.Internet, whichever, virtual6, 9090},
		ask{lab.Open, w.Office, whichever, virtual4, 9090},
		ask{lab.Open, w.Office, whichever, virtual6, 9090},
		ask{lab.Dropped, pod, whichever, virtual4, 443},
		ask{lab.Dropped, pod, whichever, virtual6, 443})
	// Also where it is open by another interface only.
	w.apply(fmt.Sprintf(`
services:
  - {name: metrics, port: [443, 9090], protocol: [tcp, udp], addresses: [%s, "%s"], interfaces: eth1, allow: [any]}
`, virtual4, virtual6))
	w.expect(both,
		ask{lab.Open, w.Office, whichever, virtual4, 9090},
		ask{lab.Open, w.Office, whichever, virtual6, 9090},
		ask{lab.Dropped, w.Internet, whichever, virtual4, 9090},
		ask{lab.Dropped, pod, whichever, virtual4, 443},
		ask{lab.Dropped, pod, whichever, virtual6, 443})
	// One that names another address does not.
	w.apply(fmt.Sprintf(`
services:
  - {name: metrics, port: [443, 9090], protocol: [tcp, udp], addresses: [%s, "%s"], allow: [any]}
`, host4, host6))
	w.expect(both,
		ask{lab.Dropped, w.Office, whichever, virtual4, 9090},
		ask{lab.Dropped, w.Office, whichever, virtual6, 9090},
		ask{lab.Open, pod, whichever, virtual4, 443},
		ask{lab.Open, pod, whichever, virtual6, 443})
}

// An address may be local by a route in a table of its own (ip rule … lookup 100).
func TestLocalByPolicyRouting(t *testing.T) { onEveryBackend(t, testLocalByPolicyRouting) }

func testLocalByPolicyRouting(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(9090, 9091)
	for _, a := range []netip.Addr{routed4, routed6} {
		family, p := "-4", netip.PrefixFrom(a, a.BitLen()).String()
		if a.Is6() {
			family = "-6"
		}
		w.Router.Run("ip", "route", "add", p, "via", w.Host.Addr(a.Is6()).String())
		w.Host.Run("ip", family, "rule", "add", "to", p, "lookup", "100")
		if a.Is4() { // which answers only from addresses that it has
			w.Host.Run("ip", "address", "add", p, "dev", "lo")
			w.Host.Run("ip", "route", "delete", "local", p, "dev", "lo", "table", "local")
		}
		w.Host.Run("ip", family, "route", "add", "local", p, "dev", "lo", "table", "100")
	}
	w.expect(both, // the control
		ask{lab.Open, w.Internet, whichever, routed4, 9091},
		ask{lab.Open, w.Internet, whichever, routed6, 9091})
	for _, mode := range refusals {
		w.apply("unlisted: deny\nrefuse: " + mode.refuse + officeOnly)
		w.expect(both,
			ask{mode.want, w.Internet, whichever, routed4, 9090},
			ask{mode.want, w.Internet, whichever, routed6, 9090},
			ask{mode.want, w.Internet, whichever, routed4, 9091},
			ask{mode.want, w.Internet, whichever, routed6, 9091},
			ask{lab.Open, w.Office, whichever, routed4, 9090},
			ask{lab.Open, w.Office, whichever, routed6, 9090})
	}
	w.apply(officeOnly)
	w.expect(both,
		ask{lab.Dropped, w.Internet, whichever, routed4, 9090},
		ask{lab.Dropped, w.Internet, whichever, routed6, 9090},
		ask{lab.Open, w.Internet, whichever, routed4, 9091})
}
