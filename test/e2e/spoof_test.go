package e2e

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/test/lab"
)

// A packet from outside that bears the host's own address makes a connection in which the attacker
// answers. What he sends next looks like a reply, and must not get in.
func TestReplyThatIsNone(t *testing.T) { onEveryBackend(t, testReplyThatIsNone) }

// naive is a firewall as many write it: it lets replies in and refuses the port. It is the control
// that shows that the attack works.
const naive = `table inet naive {
	chain in {
		type filter hook prerouting priority -150; policy accept;
		ct direction reply accept
		meta l4proto { tcp, udp } th dport { 9090, 9095 } drop
	}
}`

func testReplyThatIsNone(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(9090, 9095)
	// The attacker answers nothing by himself.
	w.Internet.NFT(
		"table inet silent {\n chain out {\n type filter hook output priority 0\n tcp flags rst drop\n icmp type destination-unreachable drop\n icmpv6 type destination-unreachable drop\n }\n }",
	)
	// IPv4 takes a packet from its own address only so.
	w.Host.Sysctl("net.ipv4.conf.all.accept_local", "1")
	w.Host.Sysctl("net.ipv4.conf.eth0.accept_local", "1")
	port, enforced := uint16(40000), false
	attack := func(host, attacker netip.Addr, over lab.Protocol, dialled uint16) lab.Answer {
		port++
		before := w.spoofed()
		w.Router.Inject(
			"eth1",
			over,
			netip.AddrPortFrom(host, dialled),
			netip.AddrPortFrom(attacker, port),
		)
		if enforced {
			w.waitSpoofed(before)
		} else {
			time.Sleep(patience) // until it is forwarded; if it takes longer, the control fails
		}
		return w.Internet.Connect(
			netip.AddrPortFrom(host, dialled),
			lab.Over(over),
			lab.From(attacker),
			lab.FromPort(port),
		)
	}
	each := func(f func(name string, host, attacker netip.Addr, over lab.Protocol)) {
		for _, over := range both {
			f(firewall.Protocol(over).String()+" IPv4", host4, internet4, over)
			f(firewall.Protocol(over).String()+" IPv6", host6, internet6, over)
		}
	}
	w.Host.NFT(naive)
	each(func(name string, host, attacker netip.Addr, over lab.Protocol) {
		if got := attack(host, attacker, over, 9090); got != lab.Open {
			t.Errorf("control, %s: the attack is %v, so this test proves nothing", name, got)
		}
	})
	w.Host.NFT("delete table inet naive")
	for _, mode := range []string{"", "unlisted: deny", "refuse: reject", "unlisted: deny\nrefuse: reject", "established: keep"} {
		w.apply(mode + officeOnly)
		enforced = true
		each(func(name string, host, attacker netip.Addr, over lab.Protocol) {
			if got := attack(host, attacker, over, 9090); got != lab.Dropped &&
				!(got == lab.Refused && strings.Contains(mode, "reject")) {
				t.Errorf("%q, %s: the attacker's packet is %v", mode, name, got)
			}
			if !strings.Contains(mode, "deny") {
				return
			}
			if got := attack(host, attacker, over, 9095); got != lab.Dropped &&
				!(got == lab.Refused && strings.Contains(mode, "reject")) {
				t.Errorf("%q, %s, unlisted port: the attacker's packet is %v", mode, name, got)
			}
		})
		w.ownConnectionsGoOn(mode)
	}
	if n := firewall.Sum(w.traffic(firewall.SpoofedTraffic).Refused).Packets; n == 0 {
		t.Error("refused packets with the host's own address are not counted")
	}
}

// spoofed is how many packets with the host's own address were refused; 0 where nobody counts.
func (w *world) spoofed() uint64 {
	w.t.Helper()
	return firewall.Sum(w.traffic(firewall.SpoofedTraffic).Refused).Packets
}

// waitSpoofed waits until there are more of them than before.
func (w *world) waitSpoofed(before uint64) {
	w.t.Helper()
	for end := time.Now().Add(longer); w.spoofed() <= before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Error("a packet with the host's own address was not refused as such")
			return
		}
	}
}

// ownConnectionsGoOn tries what the host itself begins, and what others may.
func (w *world) ownConnectionsGoOn(mode string) {
	w.t.Helper()
	asks := []ask{
		{lab.Open, w.Host, whichever, host4, 9090},
		{lab.Open, w.Host, whichever, host6, 9090},
		{lab.Open, w.Host, second4, host4, 9090},
		{lab.Open, w.Host, second6, host6, 9090},
		{lab.Open, w.Host, whichever, loopback4, 9090},
		{lab.Open, w.Office, whichever, inside4, 9090},
		{lab.Open, w.Office, whichever, inside6, 9090},
		{lab.Open, w.Host, whichever, office4, 9099}, // replies of a listed port's neighbour
		{lab.Open, w.Host, whichever, office6, 9099},
	}
	if w.officeServes == nil {
		w.officeServes = w.Office.ListenTCP(9099)
		w.Office.ListenUDP(9099)
	}
	w.expect(both, asks...)
	if w.t.Failed() {
		w.t.Logf("under %q", mode)
	}
}

// Over IPv6 nobody checks whose address a packet bears. Two blind packets, one to make a connection
// and one that looks like its reply, must not reach a refused port, where nothing is forwarded
// either.
func TestBlindInjection(t *testing.T) { onEveryBackend(t, testBlindInjection) }

func testBlindInjection(t *testing.T, e engine) {
	w := newWorld(t, e)
	server := w.Host.ListenUDP(9090)
	w.Host.Sysctl("net.ipv6.conf.all.forwarding", "0")
	enforced := false
	inject := func(port uint16) {
		before := w.spoofed()
		w.Router.Inject(
			"eth1",
			lab.UDP,
			netip.AddrPortFrom(second6, 9090),
			netip.AddrPortFrom(host6, port),
		)
		if enforced {
			w.waitSpoofed(before)
		} else {
			time.Sleep(patience)
		}
		w.Router.Inject(
			"eth1",
			lab.UDP,
			netip.AddrPortFrom(host6, port),
			netip.AddrPortFrom(second6, 9090),
		)
	}
	w.Host.NFT(naive)
	inject(5001)
	if !server.Got(lab.InjectedPayload) {
		t.Error("control: the attack fails, so this test proves nothing")
	}
	w.Host.NFT("delete table inet naive")
	for i, mode := range []string{"", "unlisted: deny", "refuse: reject"} {
		w.apply(mode + officeOnly)
		enforced = true
		before := server.Count()
		inject(uint16(5002 + i))
		time.Sleep(patience)
		if server.Count() != before {
			t.Errorf("%q: a refused datagram was delivered", mode)
		}
	}
}

// A router's advertisement comes from fe80::1, and a bridge of the host has that address too.
func TestLinkLocalAddressOfAnother(
	t *testing.T,
) {
	onEveryBackend(t, testLinkLocalAddressOfAnother)
}

func testLinkLocalAddressOfAnother(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(9090)
	router := netip.MustParseAddr("fe80::1")
	w.Host.Run("ip", "address", "add", "fe80::1/64", "dev", "docker0", "nodad")
	w.Router.Run("ip", "address", "add", "fe80::1/64", "dev", "eth1", "nodad")
	w.Host.Sysctl("net.ipv6.conf.eth0.accept_ra", "2")
	for _, mode := range []string{"unlisted: deny", "unlisted: deny\nrefuse: reject", ""} {
		w.apply(
			mode + "\nservices: [{name: metrics, port: 9090, protocol: [tcp, udp], allow: [private]}]\n",
		)
		w.Router.Advertise("eth1", router)
		learnt := func() bool {
			return strings.Contains(
				w.Host.Run("ip", "-6", "route", "show", "default", "proto", "ra"),
				"fe80::1",
			)
		}
		for end := time.Now().Add(longer); !learnt(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%q: the router's advertisement was refused", mode)
			}
		}
		w.Host.Run("ip", "-6", "route", "flush", "proto", "ra")
		// And the host's own address of that interface is nobody else's.
		own := w.Host.Link("eth0").LinkLocal()
		server := w.Host.ListenUDP(9096)
		w.Router.Inject(
			"eth1",
			lab.UDP,
			netip.AddrPortFrom(own, 9090),
			netip.AddrPortFrom(own, 9096),
		)
		time.Sleep(patience)
		if server.Count() > 0 {
			t.Errorf("%q: a packet that bears the host's link-local address was delivered", mode)
		}
		server.Close()
	}
}

// Addresses of the host that no look at a packet's source tells: anycast of a router's network, and
// local routes that a rule chooses. A reply to this host is one only if the host itself has begun.
func TestReplyToAnAddressThatNobodyTells(t *testing.T) {
	onEveryBackend(t, testReplyToAnAddressThatNobodyTells)
}

func testReplyToAnAddressThatNobodyTells(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.Host.ListenTCP(9090)
	server := w.Host.ListenUDP(9090)
	unlisted := w.Host.ListenUDP(9095)
	anycast := netip.MustParseAddr("2001:db8:100::") // of eth0's network (RFC 4291 §2.6.1)
	w.Host.Run("ip", "-6", "route", "add", "local", routed6.String(), "dev", "lo", "table", "100")
	w.Host.Run("ip", "-6", "rule", "add", "iif", "eth0", "lookup", "100")
	w.Host.Run("ip", "route", "add", "local", routed4.String(), "dev", "lo", "table", "100")
	w.Host.Run("ip", "rule", "add", "to", routed4.String(), "lookup", "100")
	w.Host.Sysctl("net.ipv4.conf.all.accept_local", "1")
	w.Host.Sysctl("net.ipv4.conf.eth0.accept_local", "1")
	port := uint16(42000)
	attack := func(own netip.Addr, s *lab.UDPServer, dialled uint16) bool {
		port++
		attacker := netip.AddrPortFrom(w.Internet.Addr(own.Is6()), port)
		before := s.Count()
		w.Router.Inject("eth1", lab.UDP, netip.AddrPortFrom(own, dialled), attacker)
		time.Sleep(patience) // until it is forwarded; if it takes longer, the attack fails
		w.Router.Inject("eth1", lab.UDP, attacker, netip.AddrPortFrom(own, dialled))
		for end := time.Now().Add(patience); time.Now().Before(end) && s.Count() == before; time.Sleep(10 * time.Millisecond) {
		}
		return s.Count() > before
	}
	addresses := []netip.Addr{anycast, routed6, routed4}
	w.Host.NFT(naive)
	for _, own := range addresses {
		if !attack(own, server, 9090) {
			t.Errorf("control, %v: the attack fails, so this test proves nothing", own)
		}
	}
	w.Host.NFT("delete table inet naive")
	// A service that is open to everybody on the attacker's own port is no way past that of the
	// port asked.
	const besides = "  - {name: open, port: \"42000-42999\", protocol: udp, allow: [any]}\n"
	for _, mode := range []string{"", "unlisted: deny", "unlisted: deny\nestablished: keep"} {
		w.apply(mode + officeOnly)
		for _, own := range addresses {
			if attack(own, server, 9090) {
				t.Errorf("%q: a refused datagram to %v was delivered", mode, own)
			}
			if mode != "" && attack(own, unlisted, 9095) {
				t.Errorf(
					"%q: a refused datagram to an unlisted port of %v was delivered",
					mode,
					own,
				)
			}
		}
		w.ownConnectionsGoOn(mode)
		w.apply(mode + officeOnly + besides)
		for _, own := range addresses {
			if attack(own, server, 9090) {
				t.Errorf(
					"%q: by a port that is open to everybody, a refused datagram to %v was delivered",
					mode,
					own,
				)
			}
			if mode != "" && attack(own, unlisted, 9095) {
				t.Errorf(
					"%q: by a port that is open to everybody, a refused datagram to an unlisted port of %v was delivered",
					mode,
					own,
				)
			}
		}
	}
}

// A packet with the host's address, forged before any rule refused it, makes a connection in which
// what its receiver sends looks like an answer. The first policy ends it.
func TestForgedBeforeTheFirstPolicy(
	t *testing.T,
) {
	onEveryBackend(t, testForgedBeforeTheFirstPolicy)
}

func testForgedBeforeTheFirstPolicy(t *testing.T, e engine) {
	w := newWorld(t, e)
	server := w.Host.ListenUDP(9090)
	w.Host.Sysctl("net.ipv4.conf.all.accept_local", "1")
	w.Host.Sysctl("net.ipv4.conf.eth0.accept_local", "1")
	port := uint16(43000)
	for _, mode := range []string{"", "unlisted: deny"} {
		w.applyState(nil)
		for _, own := range []netip.Addr{host4, host6} {
			port++
			attacker := netip.AddrPortFrom(w.Internet.Addr(own.Is6()), port)
			reaches := func() bool {
				before := server.Count()
				w.Router.Inject("eth1", lab.UDP, attacker, netip.AddrPortFrom(own, 9090))
				for end := time.Now().Add(patience); time.Now().Before(end) && server.Count() == before; {
					time.Sleep(10 * time.Millisecond)
				}
				return server.Count() > before
			}
			w.Router.Inject("eth1", lab.UDP, netip.AddrPortFrom(own, 9090), attacker)
			time.Sleep(patience) // until it is forwarded
			if !reaches() {
				t.Errorf("control, %v: nothing arrives without rules", own)
			}
			w.apply(mode + officeOnly)
			if reaches() {
				t.Errorf("%q, %v: a connection forged before goes on", mode, own)
			}
			w.applyState(nil)
		}
	}
}

// What somebody keeps from being tracked begins no connection, and may not bear the host's address
// either.
func TestUntrackedWithOwnAddress(t *testing.T) { onEveryBackend(t, testUntrackedWithOwnAddress) }

func testUntrackedWithOwnAddress(t *testing.T, e engine) {
	w := newWorld(t, e)
	server := w.Host.ListenUDP(9090)
	w.Host.Sysctl("net.ipv4.conf.all.accept_local", "1")
	w.Host.Sysctl("net.ipv4.conf.eth0.accept_local", "1")
	w.Host.NFT(
		"table inet careless {\n chain p {\n type filter hook prerouting priority -300\n iifname eth0 notrack\n }\n }",
	)
	inject := func() {
		w.Router.Inject(
			"eth1",
			lab.UDP,
			netip.AddrPortFrom(second6, 5000),
			netip.AddrPortFrom(host6, 9090),
		)
		w.Router.Inject(
			"eth1",
			lab.UDP,
			netip.AddrPortFrom(second4, 5000),
			netip.AddrPortFrom(host4, 9090),
		)
	}
	inject()
	time.Sleep(patience)
	if server.Count() != 2 {
		t.Fatalf("control: %d of 2 datagrams were delivered without rules", server.Count())
	}
	for _, mode := range []string{"", "unlisted: deny"} {
		w.apply(
			mode + "\nservices: [{name: metrics, port: 9090, protocol: udp, allow: [198.51.100.0/24, \"2001:db8:100::/64\"]}]\n",
		)
		before, had := w.spoofed(), server.Count()
		inject()
		w.waitSpoofed(before + 1)
		if server.Count() != had {
			t.Errorf("%q: an untracked datagram with the host's own address was delivered", mode)
		}
	}
}

// A forged packet from a container, by another way than the container's, must not open the direct
// way.
func TestForgedFromContainer(t *testing.T) { onEveryBackend(t, testForgedFromContainer) }

func testForgedFromContainer(t *testing.T, e engine) {
	w := newWorld(t, e)
	server := w.Container.ListenUDP(80)
	w.Container.ListenTCP(80)
	w.Internet.ListenTCP(9099)
	w.Internet.NFT(
		"table inet silent {\n chain out {\n type filter hook output priority 0\n tcp flags rst drop\n icmp type destination-unreachable drop\n icmpv6 type destination-unreachable drop\n }\n }",
	)
	for _, mode := range []string{"", "unlisted: deny\n"} {
		w.apply(mode + "direct: {interfaces: [docker0]}" + officeOnly)
		for i, six := range []bool{false, true} {
			inside, attacker := w.Container.Addr(six), w.Internet.Addr(six)
			for j, over := range both {
				port := uint16(43000 + 100*len(mode) + 10*i + j)
				w.Router.Inject(
					"eth1",
					over,
					netip.AddrPortFrom(inside, 80),
					netip.AddrPortFrom(attacker, port),
				)
				time.Sleep(patience)
				if got := w.Internet.Connect(netip.AddrPortFrom(inside, 80), lab.Over(over), lab.From(attacker), lab.FromPort(port)); got != lab.Dropped {
					t.Errorf(
						"%q: over %v the container at %v is %v",
						mode,
						firewall.Protocol(over),
						inside,
						got,
					)
				}
			}
		}
		w.expect(tcp, // what the container itself begins goes on
			ask{lab.Open, w.Container, whichever, internet4, 9099},
			ask{lab.Open, w.Container, whichever, internet6, 9099})
	}
	if server.Count() > 0 {
		t.Errorf("%d datagrams came to the container", server.Count())
	}
}
