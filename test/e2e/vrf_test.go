//go:build kernels

package e2e

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portgrave/portgrave/test/lab"
)

// A VRF is a routing table of its own for some interfaces. The kernel hands what they receive to
// the host as the VRF's. These tests need a kernel that has VRFs; test/boot runs them in two.

// The host's VRF, and a source of the internet's that the policies below refuse.
const vrf = "red"

var refused4, refused6 = netip.MustParseAddr(
	"203.0.113.66",
), netip.MustParseAddr(
	"2001:db8:113::66",
)

// inVRF makes a world in which interfaces of the host are in a VRF.
func inVRF(t *testing.T, e engine, slaves ...string) *world {
	t.Helper()
	w := newWorld(t, e)
	w.Host.Run("ip", "link", "add", vrf, "type", "vrf", "table", "10")
	w.AddSources(w.Internet, netip.PrefixFrom(refused4, 32))
	w.AddSources(w.Internet, netip.PrefixFrom(refused6, 128))
	w.Host.Sysctl("net.ipv4.tcp_l3mdev_accept", "1")
	w.Host.Sysctl("net.ipv4.udp_l3mdev_accept", "1")
	w.Host.Run("ip", "link", "set", vrf, "up")
	for _, s := range slaves {
		w.Host.Sysctl("net.ipv6.conf."+s+".keep_addr_on_down", "1")
		own := w.Host.Link(s).LinkLocal()
		w.Host.Run("ip", "link", "set", s, "master", vrf)
		w.Host.Run("ip", "address", "replace", own.String()+"/64", "dev", s, "nodad")
		routes := []string{
			"default via 198.51.100.1 dev eth0 onlink",
			"default via 2001:db8:100::1 dev eth0 onlink",
		}
		if s == "eth1" {
			routes = []string{
				"10.20.1.1/32 dev eth1", "10.20.0.0/16 via 10.20.1.1 dev eth1 onlink",
				"fd00:20::1:1/128 dev eth1", "fd00:20::/48 via fd00:20::1:1 dev eth1 onlink",
			}
		}
		for _, r := range routes {
			w.Host.Run(
				"ip",
				append([]string{"route", "replace", "table", "10"}, strings.Fields(r)...)...)
		}
	}
	w.serve(9090, 9091)
	w.expect(tcp, // the control: everything is open
		ask{lab.Open, w.Internet, refused4, host4, 9090},
		ask{lab.Open, w.Internet, refused6, host6, 9090},
		ask{lab.Open, w.Office, whichever, inside4, 9090},
		ask{lab.Open, w.Office, whichever, inside6, 9090},
	)
	return w
}

// within tries the host's own connections through its VRF.
func (w *world) within(want lab.Answer, tos ...netip.AddrPort) {
	w.t.Helper()
	for _, to := range tos {
		if got := w.Host.Connect(to, lab.Through(vrf), lab.Timeout(longer)); got != want {
			w.t.Errorf("the host through its VRF to %v is %v, want %v", to, got, want)
		}
	}
}

func TestVRF(t *testing.T) { onEveryBackend(t, testVRF) }

func testVRF(t *testing.T, e engine) {
	for _, slaves := range [][]string{{"eth0"}, {"eth0", "eth1"}} {
		w := inVRF(t, e, slaves...)
		w.Internet.ListenTCP(53)
		w.Office.ListenTCP(80)
		datagrams := w.Host.ListenUDP(9095)
		for _, mode := range []string{"", "unlisted: deny", "unlisted: deny\nrefuse: reject", "established: keep"} {
			w.apply(mode + `
services:
  - {name: metrics, port: 9090, allow: [203.0.113.10, "2001:db8:113::10", 10.20.0.0/16, "fd00:20::/48", 198.51.100.10, "2001:db8:100::10"]}
  - {name: datagrams, port: 9095, protocol: udp, allow: [203.0.113.10, "2001:db8:113::10"]}
`)
			no, unlisted := lab.Dropped, lab.Open
			if strings.Contains(mode, "reject") {
				no = lab.Refused
			}
			if strings.Contains(mode, "deny") {
				unlisted = no
			}
			w.expect(tcp,
				ask{lab.Open, w.Internet, internet4, host4, 9090},
				ask{lab.Open, w.Internet, internet6, host6, 9090},
				ask{lab.Open, w.Office, whichever, inside4, 9090},
				ask{lab.Open, w.Office, whichever, inside6, 9090},
				ask{no, w.Internet, refused4, host4, 9090},
				ask{no, w.Internet, refused6, host6, 9090},
				ask{unlisted, w.Internet, refused4, host4, 9091},
				ask{unlisted, w.Internet, refused6, host6, 9091},
			)
			var all sync.WaitGroup // of different sources, so that they wait at the same time
			for _, from := range []struct {
				source, to netip.Addr
				arrives    bool
			}{{internet4, host4, true}, {internet6, host6, true}, {refused4, host4, false}, {refused6, host6, false}} {
				all.Go(func() {
					before := countFrom(datagrams, from.source)
					w.Internet.Connect(
						netip.AddrPortFrom(from.to, 9095),
						lab.Over(lab.UDP),
						lab.From(from.source),
						lab.Timeout(patience),
					)
					if arrived := countFrom(datagrams, from.source) > before; arrived != from.arrives {
						t.Errorf(
							"a datagram of %v arrives: %v, want %v",
							from.source,
							arrived,
							from.arrives,
						)
					}
				})
			}
			all.Wait()
			// What the host begins in the VRF, and what is routed through it, are not filtered.
			w.within(lab.Open, netip.AddrPortFrom(internet4, 53), netip.AddrPortFrom(internet6, 53))
			// Nothing tells what the host sends to itself in a VRF: the policy above allows it.
			w.within(lab.Open, netip.AddrPortFrom(host4, 9090), netip.AddrPortFrom(host6, 9090))
			if len(slaves) == 2 {
				w.expect(
					tcp,
					ask{lab.Open, w.Internet, refused4, office4, 80},
					ask{lab.Open, w.Internet, refused6, office6, 80},
				)
			}
			if t.Failed() {
				t.Fatalf("under %q with %v in the VRF", mode, slaves)
			}
		}
	}
}

// countFrom counts the datagrams of a source that arrived.
func countFrom(s *lab.UDPServer, source netip.Addr) (n int) {
	for _, d := range s.Received() {
		if d.From.Addr() == source {
			n++
		}
	}
	return n
}

func TestVRFInterfaces(t *testing.T) { onEveryBackend(t, testVRFInterfaces) }

func testVRFInterfaces(t *testing.T, e engine) {
	w := inVRF(t, e, "eth0", "eth1")
	for _, mode := range []string{"", "unlisted: deny"} {
		w.apply(mode + `
services:
  - {name: by-vrf, port: 9090, interfaces: red, allow: [203.0.113.10, "2001:db8:113::10", 10.20.0.0/16, "fd00:20::/48"]}
  - {name: by-port, port: 9091, interfaces: eth0, allow: [any]}
`)
		slave := lab.Open
		if e.backend == "iptables" {
			slave = lab.Dropped // at INPUT the kernel shows xtables the VRF's name only
		}
		w.expect(tcp,
			ask{lab.Open, w.Internet, internet4, host4, 9090},
			ask{lab.Open, w.Internet, internet6, host6, 9090},
			ask{lab.Open, w.Office, whichever, inside4, 9090},
			ask{lab.Open, w.Office, whichever, inside6, 9090},
			ask{lab.Dropped, w.Internet, refused4, host4, 9090},
			ask{lab.Dropped, w.Internet, refused6, host6, 9090},
			ask{slave, w.Internet, refused4, host4, 9091},
			ask{slave, w.Internet, refused6, host6, 9091},
			ask{lab.Dropped, w.Office, whichever, inside4, 9091},
			ask{lab.Dropped, w.Office, whichever, inside6, 9091},
		)
	}
}

// A packet from outside that bears an address of the host in the VRF begins nothing.
func TestVRFReplyThatIsNone(t *testing.T) { onEveryBackend(t, testVRFReplyThatIsNone) }

func testVRFReplyThatIsNone(t *testing.T, e engine) {
	w := inVRF(t, e, "eth0")
	server := w.Host.ListenUDP(9095)
	w.Host.Sysctl("net.ipv4.conf.all.accept_local", "1")
	w.Host.Sysctl("net.ipv4.conf.eth0.accept_local", "1")
	w.Host.Sysctl("net.ipv4.conf."+vrf+".accept_local", "1")
	port := uint16(5000)
	inject := func(from, to netip.Addr) bool {
		port++
		before := server.Count()
		w.Router.Inject(
			"eth1",
			lab.UDP,
			netip.AddrPortFrom(from, 9095),
			netip.AddrPortFrom(to, port),
		)
		time.Sleep(patience)
		w.Router.Inject(
			"eth1",
			lab.UDP,
			netip.AddrPortFrom(to, port),
			netip.AddrPortFrom(from, 9095),
		)
		time.Sleep(patience)
		return server.Count() > before
	}
	w.Host.NFT(strings.ReplaceAll(naive, "9090, 9095", "9095"))
	if !inject(second6, host6) {
		t.Error("control: the attack fails, so this test proves nothing")
	}
	w.Host.NFT("delete table inet naive")
	for _, mode := range []string{"", "unlisted: deny"} {
		w.apply(
			mode + "\nservices: [{name: datagrams, port: 9095, protocol: udp, allow: [10.20.0.0/16]}]\n",
		)
		if inject(second6, host6) {
			t.Errorf("%q, IPv6: a refused datagram was delivered", mode)
		}
		if inject(second4, host4) {
			t.Errorf("%q, IPv4: a refused datagram was delivered", mode)
		}
	}
}
