package e2e

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/test/lab"
)

// spoofed is a datagram from the office, and whether the host gets it.
type spoofed struct {
	from, to string
	arrives  bool
}

// getsDatagrams sends each datagram and looks whether one of the servers gets it.
func (w *world) getsDatagrams(
	what string,
	node *lab.Node,
	servers []*lab.UDPServer,
	list ...spoofed,
) {
	w.t.Helper()
	w.forgetConnections() // what was answered before there were rules is no reply
	for _, s := range list {
		w.serial++
		payload := fmt.Sprintf("%s %d", w.t.Name(), w.serial)
		wait := patience
		if s.arrives {
			wait = longer
		}
		node.SpoofUDP(
			"eth0",
			netip.MustParseAddrPort(s.from),
			netip.MustParseAddrPort(s.to),
			payload,
		)
		got := false
		for deadline := time.Now().Add(wait); !got && time.Now().Before(deadline); {
			for _, server := range servers {
				got = got || server.Got(payload, lab.Timeout(0))
			}
			time.Sleep(5 * time.Millisecond)
		}
		if got != s.arrives {
			w.t.Errorf(
				"%s: from %s to %s has arrived: %v, want %v",
				what,
				s.from,
				s.to,
				got,
				s.arrives,
			)
		}
	}
}

// A DHCPv6 server may answer from any of its addresses and ports (RFC 8415 §7.2 says where to, not
// where from), and does so where a relay or a cloud stands between. What it answers to is the
// client's link-local address.
func TestDHCPAnswersFromAnywhere(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, e engine) {
		w := newWorld(t, e)
		servers := []*lab.UDPServer{
			w.Host.ListenUDP(546),
			w.Host.ListenUDP(68),
			w.Host.ListenUDP(547),
		}
		var own netip.Addr
		for _, a := range w.Host.Link("eth1").V6 {
			if a.IsLinkLocalUnicast() {
				own = a
			}
		}
		if !own.IsValid() {
			own = linkLocalOf(w.Host.Link("eth1").MAC)
		}
		client := "[" + own.String() + "]:546"
		answers := func(arrive bool) []spoofed {
			return []spoofed{
				{
					"[fe80::1]:547",
					client,
					arrive,
				}, {"[fd00:20::1:1]:547", client, arrive}, {"[fe80::1]:40000", client, arrive},
				{"[2001:db8:113::77]:53", client, arrive}, {"10.20.1.1:67", "10.20.0.1:68", arrive},
			}
		}
		others := func(arrive bool) []spoofed {
			return []spoofed{
				{
					"[fd00:20::1:1]:548",
					"[fd00:20::1]:546",
					arrive,
				}, {"[fe80::1]:546", "[" + own.String() + "]:547", arrive},
				{"10.20.1.1:40000", "10.20.0.1:68", arrive},
			}
		}
		w.getsDatagrams("the control", w.Office, servers, append(answers(true), others(true)...)...)
		w.apply("unlisted: deny\nservices: []\n")
		w.getsDatagrams(
			"with the essential",
			w.Office,
			servers,
			append(answers(true), others(false)...)...)
		w.apply("unlisted: deny\nessentials: {dhcp: false}\nservices: []\n")
		w.getsDatagrams(
			"without it",
			w.Office,
			servers,
			append(answers(false), others(false)...)...)
	})
}

// linkLocalOf is the address that the kernel makes of a hardware address (RFC 4291, appendix A).
func linkLocalOf(mac []byte) netip.Addr {
	return netip.AddrFrom16(
		[16]byte{
			0xfe,
			0x80,
			0,
			0,
			0,
			0,
			0,
			0,
			mac[0] ^ 2,
			mac[1],
			mac[2],
			0xff,
			0xfe,
			mac[3],
			mac[4],
			mac[5],
		},
	)
}

// Whoever answers a multicast question of this host does so from an address of its own: only what
// was asked, only from connected networks, and not for long. A question that a group's member asks
// itself is no question of this host.
func TestMulticastAnswers(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, e engine) {
		w := newWorld(t, e)
		asker := w.Host.ListenUDP(
			40001,
		) // asks from a port of its own, as SSDP, LLMNR and one-shot mDNS do
		member := w.Host.ListenUDP(5353) // mDNS asks from the group's port
		servers := []*lab.UDPServer{asker, member}
		group4, group6 := netip.MustParseAddr("224.0.0.251"), netip.MustParseAddr("ff02::fb")
		member.Join(group4, "eth1")
		member.Join(group6, "eth1")
		ask := func(ports ...uint16) {
			for _, port := range ports {
				w.Host.SpeakUDP("eth1", asker, netip.AddrPortFrom(group4, port))
				w.Host.SpeakUDP("eth1", asker, netip.AddrPortFrom(group6, port))
			}
		}
		own := "[" + linkLocalOf(
			w.Host.Link("eth1").MAC,
		).String() +
			"]" // which asks the groups of a link
		answers := func(arrive bool) []spoofed {
			return []spoofed{
				{"10.20.1.1:5353", "10.20.0.1:40001", arrive},
				{"[fe80::1]:5353", own + ":40001", arrive},
				{"[fd00:20::1:1]:5353", own + ":40001", arrive},
			}
		}
		others := func(arrive bool) []spoofed {
			return []spoofed{
				{
					"10.20.1.1:5354",
					"10.20.0.1:40001",
					arrive,
				}, {"[fe80::1]:1900", own + ":40001", arrive}, // another port than was asked
				{
					"10.20.1.1:5353",
					"10.20.0.1:5353",
					arrive,
				}, {"[fe80::1]:5353", own + ":5353", arrive}, // another port than asked
				{
					"203.0.113.77:5353",
					"10.20.0.1:40001",
					arrive,
				}, {"[2001:db8:113::77]:5353", own + ":40001", arrive}, // no connected network
				{"[fe80::1]:5353", "[fd00:20::1]:40001", arrive}, // another address than asked
			}
		}
		w.getsDatagrams("the control", w.Office, servers, append(answers(true), others(true)...)...)
		w.getsDatagrams(
			"the control, to the group",
			w.Office,
			servers,
			spoofed{"10.20.1.1:5353", "224.0.0.251:5353", true},
			spoofed{"[fe80::1]:5353", "[ff02::fb]:5353", true},
		)
		w.apply("unlisted: deny\nservices: []\n")
		ask(5353)
		w.getsDatagrams(
			"without the essential",
			w.Office,
			servers,
			append(answers(false), others(false)...)...)
		w.apply("unlisted: deny\nessentials: {multicast-answers: true}\nservices: []\n")
		w.getsDatagrams(
			"before any question",
			w.Office,
			servers,
			append(answers(false), others(false)...)...)
		for _, a := range answers(true) { // within three seconds, each after a question of its own
			ask(5353)
			w.getsDatagrams("after a question", w.Office, servers, a)
		}
		for _, o := range others(false) {
			ask(5353)
			w.getsDatagrams("after a question", w.Office, servers, o)
		}
		// mDNS's own port asks, and the group is answered.
		groups := []spoofed{
			{"10.20.1.1:5353", "224.0.0.251:5353", false},
			{"[fe80::1]:5353", "[ff02::fb]:5353", false},
		}
		w.getsDatagrams("to the group, not asked by its port", w.Office, servers, groups...)
		for _, s := range groups {
			w.Host.SpeakUDP("eth1", member, netip.AddrPortFrom(group4, 5353))
			w.Host.SpeakUDP("eth1", member, netip.AddrPortFrom(group6, 5353))
			s.arrives = true
			w.getsDatagrams("to the group", w.Office, servers, s)
		}
		ask(5353)
		time.Sleep(firewall.AnswerTime + time.Second)
		w.getsDatagrams("too late", w.Office, servers, answers(false)...)
		if e.backend == "iptables" {
			w.fullOfQuestions(ask, servers, answers)
		}
		w.apply(
			"unlisted: deny\nrefuse: reject\nessentials: {multicast-answers: true}\nservices: []\n",
		)
		for _, a := range answers(true) {
			ask(5353)
			w.getsDatagrams("refuse: reject, after a question", w.Office, servers, a)
		}
		ask(5353)
		w.getsDatagrams("refuse: reject, another port", w.Office, servers, others(false)[0])
		w.apply("unlisted: deny\nessentials: {multicast-answers: true}\nservices: []\n")
		ask(5353) // what packets put into a set is no drift
		if out := w.apply("unlisted: deny\nessentials: {multicast-answers: true}\nservices: []\n"); !out.Plan.InSync() {
			t.Errorf("the second apply changed %v", out.Plan.Changes)
		}
		w.apply("unlisted: deny\nservices: []\n")
		ask(5353)
		w.getsDatagrams("without the essential again", w.Office, servers, answers(false)...)
	})
}

// fullOfQuestions fills a set of questions: answers to further ones are refused until there is room
// again. The kernel counts each half of the set by itself, so one may be full before the other: the
// set is full once no element of many gets in.
func (w *world) fullOfQuestions(
	ask func(...uint16), servers []*lab.UDPServer, answers func(bool) []spoofed,
) {
	w.t.Helper()
	w.Host.Run("ipset", "flush", "PORTGRAVE-P4")
	w.Host.Run("sh", "-c", `
		ipset add PORTGRAVE-P4 192.0.2.1,udp:1-4096 timeout 600 2>/dev/null
		port=1 refused=0
		while [ $refused -lt 50 ] && [ $port -lt 2000 ]; do
			ipset add PORTGRAVE-P4 192.0.2.2,udp:$port timeout 600 2>/dev/null && refused=0
			refused=$((refused + 1)) port=$((port + 1))
		done
		[ $port -lt 2000 ]`)
	ask(5353)
	w.getsDatagrams("full", w.Office, servers, answers(false)[0])
	w.Host.Run("ipset", "flush", "PORTGRAVE-P4")
	ask(5353)
	w.getsDatagrams("with room again", w.Office, servers, answers(true)[0])
}
