package e2e

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/portgrave/portgrave/test/lab"
)

// spoofed is a datagram from the office, and whether the host gets it.
type spoofed struct {
	from, to string
	arrives  bool
}

// getsDatagrams sends each datagram and looks whether one of the servers gets it.
func (w *world) getsDatagrams(what string, node *lab.Node, servers []*lab.UDPServer, list ...spoofed) {
	w.t.Helper()
	w.forgetConnections() // what was answered before there were rules is no reply
	for _, s := range list {
		w.serial++
		payload := fmt.Sprintf("%s %d", w.t.Name(), w.serial)
		wait := patience
		if s.arrives {
			wait = longer
		}
		node.SpoofUDP("eth0", netip.MustParseAddrPort(s.from), netip.MustParseAddrPort(s.to), payload)
		got := false
		for deadline := time.Now().Add(wait); !got && time.Now().Before(deadline); {
			for _, server := range servers {
				got = got || server.Got(payload, lab.Timeout(0))
			}
			time.Sleep(5 * time.Millisecond)
		}
		if got != s.arrives {
			w.t.Errorf("%s: from %s to %s has arrived: %v, want %v", what, s.from, s.to, got, s.arrives)
		}
	}
}

// A DHCPv6 server may answer from any of its addresses and ports (RFC 8415 §7.2 says where to, not where from), and does so where a relay or a cloud
// stands between. What it answers to is the client's link-local address.
func TestDHCPAnswersFromAnywhere(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, e engine) {
		w := newWorld(t, e)
		servers := []*lab.UDPServer{w.Host.ListenUDP(546), w.Host.ListenUDP(68), w.Host.ListenUDP(547)}
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
				{"[fe80::1]:547", client, arrive}, {"[fd00:20::1:1]:547", client, arrive}, {"[fe80::1]:40000", client, arrive},
				{"[2001:db8:113::77]:53", client, arrive}, {"10.20.1.1:67", "10.20.0.1:68", arrive},
			}
		}
		others := func(arrive bool) []spoofed {
			return []spoofed{
				{"[fd00:20::1:1]:548", "[fd00:20::1]:546", arrive}, {"[fe80::1]:546", "[" + own.String() + "]:547", arrive},
				{"10.20.1.1:40000", "10.20.0.1:68", arrive},
			}
		}
		w.getsDatagrams("the control", w.Office, servers, append(answers(true), others(true)...)...)
		w.apply("unlisted: deny\nservices: []\n")
		w.getsDatagrams("with the essential", w.Office, servers, append(answers(true), others(false)...)...)
		w.apply("unlisted: deny\nessentials: {dhcp: false}\nservices: []\n")
		w.getsDatagrams("without it", w.Office, servers, append(answers(false), others(false)...)...)
	})
}

// linkLocalOf is the address that the kernel makes of a hardware address (RFC 4291, appendix A).
func linkLocalOf(mac []byte) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
}
