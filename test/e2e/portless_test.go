package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/test/lab"
	"github.com/portgrave/portgrave/test/peers"
)

// portless are protocols without ports that the host answers: some with a name, some without.
var portless = []firewall.Protocol{
	firewall.VRRP,
	firewall.GRE,
	firewall.ESP,
	94,
	254,
	firewall.Ping,
}

// servePortless sends back what comes for them. The kernel itself answers echo requests.
func (w *world) servePortless() {
	w.t.Helper()
	for _, p := range portless {
		if p != firewall.Ping {
			w.Host.ListenRaw(lab.Protocol(p))
		}
	}
}

// forgetConnections empties the host's table of tracked connections. To it all packets of a
// protocol without ports between two addresses are one connection, which would be an established
// one to a later State.
func (w *world) forgetConnections() {
	w.t.Helper()
	err := w.Host.Do(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) })
	if err != nil {
		w.t.Fatalf("flushing the table of connections: %v", err)
	}
}

// vrrpGroup4 and vrrpGroup6 are where VRRP goes (RFC 9568 §5.1.1.2, §5.1.2.2).
var vrrpGroup4, vrrpGroup6 = netip.MustParseAddr("224.0.0.18"), netip.MustParseAddr("ff02::12")

// Each protocol without ports is open to its sources and to nobody else, under deny and under
// ignore. What no service lists is refused under deny alone, but for pings, which essentials decide
// about.
func TestProtocolsWithoutPorts(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, e engine) {
		w := newWorld(t, e)
		w.servePortless()
		all := func(wants map[firewall.Protocol][2]lab.Answer) {
			t.Helper()
			var questions []lab.Question
			var want []lab.Answer
			for p, answers := range wants {
				for i, sources := range [][]netip.Addr{{office4, office6}, {barred4, barred6}} {
					for j, to := range []netip.Addr{inside4, inside6} {
						questions = append(
							questions,
							lab.Question{
								Source: sources[j],
								To:     netip.AddrPortFrom(to, 0),
								Over:   lab.Protocol(p),
							},
						)
						want = append(want, answers[i])
					}
				}
			}
			w.forgetConnections()
			for i, got := range w.probe(w.Office, questions, want) {
				if got != want[i] {
					t.Errorf(
						"%v from %v to %v is %v, want %v",
						firewall.Protocol(questions[i].Over),
						questions[i].Source,
						questions[i].To.Addr(),
						got,
						want[i],
					)
				}
			}
		}
		open, shut, half := [2]lab.Answer{
			lab.Open,
			lab.Open,
		}, [2]lab.Answer{}, [2]lab.Answer{
			lab.Open,
			lab.Dropped,
		}
		const services = `services:
  - {name: keepalived, protocol: vrrp, allow: [10.20.1.1, "fd00:20::1:1"]}
  - {name: tunnels, protocol: [gre, 94], allow: [10.20.0.0/16, "fd00:20::/48"], except: [10.20.66.0/24, "fd00:20:0:66::/64"], interfaces: ["eth*"]}
`
		const monitoring = `  - {name: monitoring, protocol: ping, allow: [10.20.1.1, "fd00:20::1:1"], log: all, rate: {per_source: 1000/second}}` + "\n"
		v, g, n, x, p := firewall.VRRP, firewall.GRE, firewall.Protocol(
			94,
		), firewall.ESP, firewall.Ping

		all(
			map[firewall.Protocol][2]lab.Answer{v: open, g: open, n: open, x: open, p: open},
		) // the control
		w.apply("unlisted: deny\nservices: []\n")
		all(map[firewall.Protocol][2]lab.Answer{v: shut, g: shut, n: shut, x: shut, p: open})
		w.apply("unlisted: deny\n" + services)
		all(map[firewall.Protocol][2]lab.Answer{v: half, g: half, n: half, x: shut, p: open})
		w.apply("unlisted: ignore\n" + services)
		all(map[firewall.Protocol][2]lab.Answer{v: half, g: half, n: half, x: open, p: open})
		w.apply("unlisted: deny\nessentials: {echo: false}\n" + services + monitoring)
		all(map[firewall.Protocol][2]lab.Answer{v: half, g: half, n: half, x: shut, p: half})
		w.apply("unlisted: ignore\n" + services + monitoring)
		all(map[firewall.Protocol][2]lab.Answer{v: half, g: half, n: half, x: open, p: half})
		if seen := w.traffic("monitoring"); seen.Allowed[address.IPv4].Packets == 0 ||
			seen.Refused[address.IPv6].Packets == 0 {
			t.Errorf("of pings the kernel has counted %+v", seen)
		}
		w.apply(
			"unlisted: deny\nrefuse: reject\nessentials: {echo: false}\n" + services + monitoring,
		)
		told := [2]lab.Answer{lab.Open, lab.Refused}
		refused := [2]lab.Answer{lab.Refused, lab.Refused}
		all(map[firewall.Protocol][2]lab.Answer{v: told, g: told, n: told, x: refused, p: told})
	})
}

// The essential multicast-membership lets IGMP in. That is a protocol of IPv4 alone (RFC 9776);
// MLD is ICMPv6.
func TestMembershipIsOfIPv4(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, e engine) {
		w := newWorld(t, e)
		over := lab.Protocol(firewall.IGMP)
		w.Host.ListenRaw(over)
		questions := []lab.Question{
			{Source: office4, To: netip.AddrPortFrom(inside4, 0), Over: over},
			{Source: office6, To: netip.AddrPortFrom(inside6, 0), Over: over},
		}
		for policy, want := range map[string][]lab.Answer{
			"unlisted: deny\nservices: []\n": {lab.Open, lab.Dropped},
			"unlisted: deny\nessentials: {multicast-membership: false}\nservices: []\n": {
				lab.Dropped, lab.Dropped},
		} {
			w.apply(policy)
			w.forgetConnections()
			if got := w.probe(w.Office, questions, want); !slices.Equal(got, want) {
				t.Errorf("under %q IGMP is %v, want %v", policy, got, want)
			}
		}
	})
}

// What VRRP and OSPF send goes to a group. The service decides about it as about any other packet,
// and so it does about what an Authentication Header protects, which ip6tables looks past.
func TestProtocolsOfGroups(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, e engine) {
		w := newWorld(t, e)
		h := w.hear("eth1", firewall.VRRP, firewall.AH)
		sends := func(want map[netip.Addr]bool) {
			t.Helper()
			var packets []*packet
			for source, arrives := range want {
				group := vrrpGroup4
				to := inside4
				if source.Is6() {
					group, to = vrrpGroup6, inside6
				}
				packets = append(
					packets,
					h.send(firewall.VRRP, source, group, arrives, func(payload []byte) {
						w.Office.SendRaw(
							"eth0",
							lab.Protocol(firewall.VRRP),
							source,
							group,
							payload,
						)
					}),
					h.send(firewall.AH, source, to, arrives, func(payload []byte) {
						// next header 59, no more than the header itself: RFC 4302 §2
						w.Office.SendRaw(
							"eth0",
							lab.Protocol(firewall.AH),
							source,
							to,
							append(
								[]byte{59, 1 + byte(len(payload)/4), 0, 0, 0, 0, 0, 1, 0, 0, 0, 1},
								payload...),
						)
					}),
				)
			}
			h.expect(t, packets)
		}
		everybody := map[netip.Addr]bool{office4: true, office6: true, barred4: true, barred6: true}
		nobody := map[netip.Addr]bool{
			office4: false,
			office6: false,
			barred4: false,
			barred6: false,
		}
		some := map[netip.Addr]bool{office4: true, office6: true, barred4: false, barred6: false}
		const services = `services: [{name: a, protocol: [vrrp, ah], allow: [10.20.1.1, "fd00:20::1:1"]}]` + "\n"
		sends(everybody) // the control
		w.apply("unlisted: deny\nservices: []\n")
		sends(nobody)
		w.apply("unlisted: deny\n" + services)
		sends(some)
		w.apply("unlisted: ignore\n" + services)
		sends(some)
	})
}

// hearing notes what the host receives of some protocols.
type hearing struct {
	mu   sync.Mutex
	seen map[string]bool // protocol, source and payload's end
	sent int
}

// hear begins to listen, in the groups of VRRP on one interface too.
func (w *world) hear(iface string, protocols ...firewall.Protocol) *hearing {
	w.t.Helper()
	h := &hearing{seen: map[string]bool{}}
	link := w.Host.Link(iface)
	for _, p := range protocols {
		for _, six := range []bool{false, true} {
			network, address := "ip4", "0.0.0.0"
			if six {
				network, address = "ip6", "::"
			}
			pc, err := w.Host.ListenPacket(fmt.Sprintf("%s:%d", network, p), address)
			if err != nil {
				w.t.Fatal(err)
			}
			raw, err := pc.(*net.IPConn).SyscallConn()
			if err == nil {
				err = raw.Control(func(fd uintptr) {
					if six {
						err = unix.SetsockoptIPv6Mreq(
							int(fd),
							unix.SOL_IPV6,
							unix.IPV6_JOIN_GROUP,
							&unix.IPv6Mreq{
								Multiaddr: vrrpGroup6.As16(),
								Interface: uint32(link.Index),
							},
						)
					} else {
						err = unix.SetsockoptIPMreqn(int(fd), unix.SOL_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: vrrpGroup4.As4(), Ifindex: int32(link.Index)})
					}
				})
			}
			if err != nil {
				w.t.Fatalf("joining a group: %v", err)
			}
			go func() {
				buf := make([]byte, 2048)
				for {
					n, from, err := pc.ReadFrom(buf)
					if errors.Is(err, net.ErrClosed) {
						return
					}
					if err == nil && n >= tagSize {
						h.mu.Lock()
						h.seen[fmt.Sprintf("%v %v %s", p, from, buf[n-tagSize:n])] = true
						h.mu.Unlock()
					}
				}
			}()
		}
	}
	return h
}

// tagSize is how much of each packet's end tells it from the others.
const tagSize = 8

// packet is one that was sent, and whether it should arrive.
type packet struct {
	protocol   firewall.Protocol
	source, to netip.Addr
	key        string // in hearing.seen
	arrives    bool
}

// send sends a packet and waits for nothing.
func (h *hearing) send(
	p firewall.Protocol,
	source, to netip.Addr,
	arrives bool,
	send func(payload []byte),
) *packet {
	h.sent++
	tag := fmt.Sprintf("%08d", h.sent)
	send([]byte(tag))
	return &packet{
		p,
		source,
		to,
		fmt.Sprintf("%v %v %s", p, &net.IPAddr{IP: source.AsSlice()}, tag),
		arrives,
	}
}

// expect waits for the packets that should arrive, and then as long as silence takes for those that
// should not.
func (h *hearing) expect(t *testing.T, packets []*packet) {
	t.Helper()
	heard := func(p *packet) bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.seen[p.key]
	}
	silence := time.Now().Add(patience) // all were sent by now
	for _, p := range packets {
		if p.arrives {
			waitFor(longer, func() bool { return heard(p) })
		}
	}
	if slices.ContainsFunc(packets, func(p *packet) bool { return !p.arrives }) {
		time.Sleep(time.Until(silence))
	}
	for _, p := range packets {
		if heard(p) != p.arrives {
			t.Errorf(
				"%v from %v to %v has arrived: %v, want %v",
				p.protocol,
				p.source,
				p.to,
				heard(p),
				p.arrives,
			)
		}
	}
}

// Two routers that share an address by VRRP, one of them this host: under deny neither hears the
// other, and both think they are the master, until a service lets the other's advertisements in.
func TestTwoMasters(t *testing.T) {
	lab.RequireRoot(t)
	if _, err := peers.Folder(); err != nil {
		t.Fatal(err)
	}
	onEveryBackend(t, func(t *testing.T, e engine) {
		w := newWorld(t, e)
		w.startKeepalived(w.Office, "eth0", 200)
		w.startKeepalived(w.Host, "eth1", 100)
		masters := func(want int) {
			t.Helper()
			const shared = "10.20.0.99 fd00:20::99"
			count := func() (n int) {
				for node, iface := range map[*lab.Node]string{w.Office: "eth0", w.Host: "eth1"} {
					out := node.Run("ip", "-o", "address", "show", "dev", iface)
					for _, a := range strings.Fields(shared) {
						if strings.Contains(out, " "+a+"/") {
							n++
						}
					}
				}
				return n
			}
			// Both families, each with a master or two. What is so must stay so for a while: three
			// advertisements, and more, decide.
			since := time.Now()
			for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline) && time.Since(since) < 3*time.Second; {
				if count() != 2*want {
					since = time.Now()
				}
				time.Sleep(50 * time.Millisecond)
			}
			if got := count(); got != 2*want || time.Since(since) < 3*time.Second {
				t.Errorf("the two shared addresses stand %d times, want %d times %d", got, want, 2)
			}
		}
		masters(1)
		w.apply("unlisted: deny\nservices: []\n")
		masters(2)
		w.apply(
			"unlisted: deny\nservices: [{name: keepalived, protocol: vrrp, allow: [10.20.1.1, \"fe80::/10\"]}]\n",
		)
		masters(1)
		w.apply(
			"unlisted: ignore\nservices: [{name: keepalived, protocol: vrrp, allow: [10.20.1.2, \"fd00::1\"]}]\n",
		)
		masters(2)
	})
}

func (w *world) startKeepalived(node *lab.Node, iface string, priority int) {
	w.t.Helper()
	var config strings.Builder
	config.WriteString("global_defs {\n vrrp_version 3\n}\n")
	for name, address := range map[string]string{"four": "10.20.0.99/32", "six": "fe80::99/64\n  fd00:20::99/128"} {
		fmt.Fprintf(
			&config,
			"vrrp_instance %s {\n state BACKUP\n interface %s\n virtual_router_id 51\n priority %d\n advert_int 0.3\n virtual_ipaddress {\n  %s\n }\n}\n",
			name,
			iface,
			priority,
			address,
		)
	}
	peers.Start(
		w.t,
		node,
		"cat >/etc/keepalived.conf <<'END'\n"+config.String()+"END\necho ready\nexec keepalived --dont-fork --log-console --log-detail --use-file /etc/keepalived.conf\n",
	)
}
