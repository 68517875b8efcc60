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

// naive is a firewall as many write it: it lets replies in and refuses the port. It is the control that
// shows that the attack works.
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
	w.Internet.NFT("table inet silent {\n chain out {\n type filter hook output priority 0\n tcp flags rst drop\n icmp type destination-unreachable drop\n icmpv6 type destination-unreachable drop\n }\n }")
	// IPv4 takes a packet from its own address only so.
	w.Host.Sysctl("net.ipv4.conf.all.accept_local", "1")
	w.Host.Sysctl("net.ipv4.conf.eth0.accept_local", "1")
	port, enforced := uint16(40000), false
	attack := func(host, attacker netip.Addr, over lab.Protocol, dialled uint16) lab.Answer {
		port++
		before := w.spoofed()
		w.Router.Inject("eth1", over, netip.AddrPortFrom(host, dialled), netip.AddrPortFrom(attacker, port))
		if enforced {
			w.waitSpoofed(before)
		} else {
			time.Sleep(patience) // until it is forwarded; if it takes longer, the control fails
		}
		return w.Internet.Connect(netip.AddrPortFrom(host, dialled), lab.Over(over), lab.From(attacker), lab.FromPort(port))
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
			if got := attack(host, attacker, over, 9090); got != lab.Dropped && !(got == lab.Refused && strings.Contains(mode, "reject")) {
				t.Errorf("%q, %s: the attacker's packet is %v", mode, name, got)
			}
			if !strings.Contains(mode, "deny") {
				return
			}
			if got := attack(host, attacker, over, 9095); got != lab.Dropped && !(got == lab.Refused && strings.Contains(mode, "reject")) {
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

// Over IPv6 nobody checks whose address a packet bears. Two blind packets, one to make a connection and
// one that looks like its reply, must not reach a refused port, where nothing is forwarded either.
func TestBlindInjection(t *testing.T) { onEveryBackend(t, testBlindInjection) }

func testBlindInjection(t *testing.T, e engine) {
	w := newWorld(t, e)
	server := w.Host.ListenUDP(9090)
	w.Host.Sysctl("net.ipv6.conf.all.forwarding", "0")
	enforced := false
	inject := func(port uint16) {
		before := w.spoofed()
		w.Router.Inject("eth1", lab.UDP, netip.AddrPortFrom(second6, 9090), netip.AddrPortFrom(host6, port))
		if enforced {
			w.waitSpoofed(before)
		} else {
			time.Sleep(patience)
		}
		w.Router.Inject("eth1", lab.UDP, netip.AddrPortFrom(host6, port), netip.AddrPortFrom(second6, 9090))
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
func TestLinkLocalAddressOfAnother(t *testing.T) { onEveryBackend(t, testLinkLocalAddressOfAnother) }

func testLinkLocalAddressOfAnother(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(9090)
	router := netip.MustParseAddr("fe80::1")
	w.Host.Run("ip", "address", "add", "fe80::1/64", "dev", "docker0", "nodad")
	w.Router.Run("ip", "address", "add", "fe80::1/64", "dev", "eth1", "nodad")
	w.Host.Sysctl("net.ipv6.conf.eth0.accept_ra", "2")
	for _, mode := range []string{"unlisted: deny", "unlisted: deny\nrefuse: reject", ""} {
		w.apply(mode + "\nservices: [{name: metrics, port: 9090, protocol: [tcp, udp], allow: [private]}]\n")
		w.Router.Advertise("eth1", router)
		learnt := func() bool {
			return strings.Contains(w.Host.Run("ip", "-6", "route", "show", "default", "proto", "ra"), "fe80::1")
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
		w.Router.Inject("eth1", lab.UDP, netip.AddrPortFrom(own, 9090), netip.AddrPortFrom(own, 9096))
		time.Sleep(patience)
		if server.Count() > 0 {
			t.Errorf("%q: a packet that bears the host's link-local address was delivered", mode)
		}
		server.Close()
	}
}
