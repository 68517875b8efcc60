package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/connections"
	"github.com/portgrave/portgrave/firewall/nft"
	"github.com/portgrave/portgrave/firewall/xt"
	"github.com/portgrave/portgrave/test/lab"
	"golang.org/x/sys/unix"
)

// flows are packets that are sent to the host without pause, and counted there before and after all
// of our chains: none may be missing of those that every State allows, and none there may be of
// those that every State refuses. Nobody answers, so nothing but the rules decides.
type flows struct {
	t       *testing.T
	host    *lab.Node
	names   []string
	total   map[string]int  // packets of each kind that had to pass
	lock    sync.RWMutex    // taken for writing while nothing may be sent
	sent    []*atomic.Int64 // by every sender
	stop    chan struct{}
	senders sync.WaitGroup
}

// kinds are the flows, each in both families. What is allowed passes whatever the mode is.
const (
	allowedFlow   = "allowed"  // a source that the service allows
	replyFlow     = "reply"    // answers to what the host asked
	echoFlow      = "echo"     // echo requests: an essential
	refusedFlow   = "refused"  // a source that the service refuses
	unlistedFlow  = "unlisted" // a port that no service lists
	servedPort    = 9090       // the service's
	unlistedPort  = 9191       // no service lists it
	hostsOwnPort  = 40_123     // the host asks from here
	answeringPort = 5_353      // and is answered from here
	allowedPort   = 20_001     // the source port of each flow tells it from others
	refusedPort   = 20_002
	anythingPort  = 20_003
)

var flowKinds = []string{allowedFlow, replyFlow, echoFlow, refusedFlow, unlistedFlow}

// startFlows sends every kind of packet in both families from the office, until the test ends.
func startFlows(w *world) *flows {
	w.t.Helper()
	f := &flows{t: w.t, host: w.Host, total: map[string]int{}, stop: make(chan struct{})}
	w.PinNeighbours()
	var before, after strings.Builder
	for _, six := range []bool{false, true} {
		for _, kind := range flowKinds {
			name := flowName(kind, six)
			f.names = append(f.names, name)
			match := witness(kind, six)
			fmt.Fprintf(&before, "  %s counter name \"%s-before\"\n", match, name)
			fmt.Fprintf(&after, "  %s counter name \"%s-after\" drop\n", match, name)
		}
	}
	var counters strings.Builder
	for _, name := range f.names {
		fmt.Fprintf(&counters, " counter %s-before {}\n counter %s-after {}\n", name, name)
	}
	// conntrack is at work whatever the engine does; replies are new packets without it.
	w.Host.NFT(fmt.Sprintf(`table inet witness {
%s chain first {
  type filter hook prerouting priority -400
%s }
 chain tracked {
  type filter hook prerouting priority -190
  ct state invalid accept
 }
 chain last {
  type filter hook input priority 400
%s }
}
`, counters.String(), before.String(), after.String()))
	for _, six := range []bool{false, true} {
		host, own, barred := inside4, office4, barred4
		if six {
			host, own, barred = inside6, office6, barred6
		}
		f.reply(w, host, own)
		f.datagrams(w, own, allowedPort, netip.AddrPortFrom(host, servedPort))
		f.datagrams(w, barred, refusedPort, netip.AddrPortFrom(host, servedPort))
		f.datagrams(w, own, anythingPort, netip.AddrPortFrom(host, unlistedPort))
		f.echoes(w, own, host)
	}
	w.t.Cleanup(func() {
		close(f.stop)
		f.senders.Wait()
	})
	return f
}

func flowName(kind string, six bool) string {
	if six {
		return kind + "6"
	}
	return kind + "4"
}

// witness is the nft match of a flow's packets.
func witness(kind string, six bool) string {
	family, echo := "meta nfproto ipv4", "icmp type echo-request"
	if six {
		family, echo = "meta nfproto ipv6", "icmpv6 type echo-request"
	}
	return "iifname eth1 " + family + " " + map[string]string{
		allowedFlow:  fmt.Sprintf("udp sport %d udp dport %d", allowedPort, servedPort),
		refusedFlow:  fmt.Sprintf("udp sport %d udp dport %d", refusedPort, servedPort),
		unlistedFlow: fmt.Sprintf("udp sport %d udp dport %d", anythingPort, unlistedPort),
		replyFlow:    fmt.Sprintf("udp sport %d udp dport %d", answeringPort, hostsOwnPort),
		echoFlow:     echo,
	}[kind]
}

// send calls a function again and again, with a pause after so many times, but not while all flows
// are held.
func (f *flows) send(burst int64, pause time.Duration, write func() error) {
	sent := &atomic.Int64{}
	f.sent = append(f.sent, sent)
	f.senders.Go(func() {
		for {
			select {
			case <-f.stop:
				return
			default:
			}
			f.lock.RLock()
			err := write()
			f.lock.RUnlock()
			if sent.Add(1)%burst == 0 {
				time.Sleep(pause)
			}
			if err != nil && !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.EAGAIN) &&
				!errors.Is(err, unix.ENOBUFS) &&
				!errors.Is(err, net.ErrClosed) {
				f.t.Errorf("sending: %v", err)
				return
			}
		}
	})
}

func (f *flows) datagrams(w *world, from netip.Addr, port uint16, to netip.AddrPort) {
	f.t.Helper()
	c, err := w.Office.Dial(
		context.Background(),
		"udp",
		to.String(),
		lab.From(from),
		lab.FromPort(port),
	)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = c.Close() })
	burst, pause := int64(1), time.Millisecond
	if port == allowedPort { // some 100 000 a second, if the machine has nothing else to do
		burst, pause = 16, 100*time.Microsecond
	}
	f.send(burst, pause, func() error { _, err := c.Write([]byte("portgrave")); return err })
}

// reply lets the host ask, once, and answers without end.
func (f *flows) reply(w *world, host, office netip.Addr) {
	f.t.Helper()
	c, err := w.Office.ListenPacket("udp", netip.AddrPortFrom(office, answeringPort).String())
	if err != nil {
		f.t.Fatal(err)
	}
	asking, err := w.Host.Dial(
		context.Background(),
		"udp",
		netip.AddrPortFrom(office, answeringPort).String(),
		lab.From(host),
		lab.FromPort(hostsOwnPort),
	)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = asking.Close() })
	if _, err := asking.Write([]byte("?")); err != nil {
		f.t.Fatal(err)
	}
	b := make([]byte, 16)
	if err := c.SetReadDeadline(time.Now().Add(longer)); err != nil {
		f.t.Fatal(err)
	}
	_, back, err := c.ReadFrom(b)
	if err != nil {
		f.t.Fatal(err)
	}
	f.send(
		2,
		100*time.Microsecond,
		func() error { _, err := c.WriteTo([]byte("!"), back); return err },
	)
}

// echoes sends echo requests.
func (f *flows) echoes(w *world, from, to netip.Addr) {
	f.t.Helper()
	network, request := "ip4:icmp", []byte{8, 0, 0, 0, 0, 1, 0, 1}
	if to.Is6() {
		network, request[0] = "ip6:ipv6-icmp", 128 // the kernel writes the checksum
	} else {
		sum := uint32(8<<8) + 1 + 1
		binary.BigEndian.PutUint16(request[2:], ^uint16(sum))
	}
	c, err := w.Office.ListenPacket(network, from.String())
	if err != nil {
		f.t.Fatal(err)
	}
	f.send(
		2,
		100*time.Microsecond,
		func() error { _, err := c.WriteTo(request, &net.IPAddr{IP: to.AsSlice()}); return err },
	)
}

var countedPackets = regexp.MustCompile(`counter (\S+) \{\s*packets (\d+)`)

// counted is how many packets of each flow came in, and how many went through, once all that were
// sent have arrived; nothing is sent meanwhile.
func (f *flows) counted() map[string]int {
	f.t.Helper()
	f.lock.Lock()
	defer f.lock.Unlock()
	last := ""
	for range 100 {
		time.Sleep(5 * time.Millisecond)
		now := f.host.Run("nft", "list", "counters", "table", "inet", "witness")
		if now == last {
			break
		}
		last = now
	}
	n := map[string]int{}
	for _, m := range countedPackets.FindAllStringSubmatch(last, -1) {
		n[m[1]], _ = strconv.Atoi(m[2])
	}
	return n
}

// wait returns when every sender has sent n more packets.
func (f *flows) wait(n int64) {
	f.t.Helper()
	for i, s := range f.sent {
		want := s.Load() + n
		for end := time.Now().Add(longer); s.Load() < want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				f.t.Fatalf("sender %d stands still", i)
			}
		}
	}
}

// during makes a change while packets arrive, for a while before and after it too, and reports the
// flows of which a packet was lost, or got through.
func (f *flows) during(what string, change func(), pass, block []string) {
	f.t.Helper()
	was := f.counted()
	f.wait(20)
	change()
	f.wait(20)
	is := f.counted()
	for _, six := range []bool{false, true} {
		for _, kind := range pass {
			name := flowName(kind, six)
			sent, got := is[name+"-before"]-was[name+"-before"], is[name+"-after"]-was[name+"-after"]
			if sent < 10 {
				f.t.Errorf("%s: only %d packets of flow %s", what, sent, name)
			}
			f.total[kind] += sent
			if sent != got {
				f.t.Errorf(
					"%s: %d of %d packets of flow %s were refused",
					what,
					sent-got,
					sent,
					name,
				)
			}
		}
		for _, kind := range block {
			name := flowName(kind, six)
			if got := is[name+"-after"] - was[name+"-after"]; got != 0 {
				f.t.Errorf("%s: %d packets of flow %s got in", what, got, name)
			}
		}
	}
}

// switching is a host with all engines, each of which takes over from the others.
type switching struct {
	*world
	recs map[string]*firewall.Reconciler
}

func newSwitching(t *testing.T) *switching {
	t.Helper()
	s := &switching{world: newWorld(t, engines[0]), recs: map[string]*firewall.Reconciler{}}
	err := s.Host.Do(func() error {
		running, err := connections.New()
		if err != nil {
			return err
		}
		native, err := nft.New()
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = native.Close() })
		for _, e := range engines {
			b, others := firewall.Backend(native), []firewall.Backend(nil)
			x, err := xt.New(context.Background(), e.variant)
			if err != nil {
				return err
			}
			if e.backend == "iptables" {
				b, others = x, []firewall.Backend{native}
			} else {
				others = []firewall.Backend{x}
			}
			s.recs[e.name] = &firewall.Reconciler{
				Backend:     b,
				Others:      others,
				Connections: running,
				Now:         time.Now,
				Log:         slog.New(slog.DiscardHandler),
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *switching) to(e string, state *firewall.State) {
	s.t.Helper()
	s.rec = s.recs[e]
	s.applyState(state)
}

// officeState is a State that lets the office use a service, and n sources more, of lengths that
// take several shapes in the kernel; further services come after it.
func officeState(t *testing.T, unlisted firewall.Unlisted, n, further int) *firewall.State {
	t.Helper()
	var b address.Builder
	for k := range n {
		a := address.V4(1<<30 + uint64(k)<<9)
		for _, p := range []netip.Prefix{netip.PrefixFrom(a.IP(), 24+k%8), netip.PrefixFrom(address.V6{Hi: 0x2100<<48 | uint64(a)<<24}.IP(), 48)} {
			if err := b.Add(p.Masked()); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := firewall.State{
		Unlisted:    unlisted,
		Refuse:      firewall.RefuseDrop,
		Established: firewall.EstablishedCut,
		Essentials:  firewall.AllEssentials,
	}
	own := address.Must(office4.String()+"/32", office6.String()+"/128")
	for i := range 1 + further {
		s.Services = append(
			s.Services,
			firewall.Service{
				Name:    fmt.Sprintf("served-%d", i),
				Sources: b.Set().Union(own),
				Log:     firewall.LogNone,
				Ports: []firewall.PortRange{
					{
						Protocol: firewall.UDP,
						First:    servedPort + uint16(i),
						Last:     servedPort + uint16(i),
					},
				},
			},
		)
	}
	s = canonical(t, s)
	return &s
}

// Packets that every State of a change lets through, and those that every one refuses.
var (
	throughout = []string{allowedFlow, replyFlow, echoFlow}
	notAtAll   = []string{refusedFlow, unlistedFlow}
)

// A packet that both the rules of before and those of afterwards let through is never refused, as
// the rules come, go, and stop or begin to refuse what no service lists.
func TestComingAndGoingShowsNoGap(t *testing.T) {
	lab.RequireRoot(t)
	for _, e := range engines {
		for _, n := range []int{0, 5000} {
			few, many := 1, 1 // iptables changes a table at once
			if e.backend == "nftables" && n == 0 {
				few, many = 3, 25
			}
			t.Run(fmt.Sprintf("%s, %d sources", e.name, n), func(t *testing.T) {
				w := newWorld(t, e)
				f := startFlows(w)
				deny, ignore := officeState(
					t,
					firewall.UnlistedDeny,
					n,
					0,
				), officeState(
					t,
					firewall.UnlistedIgnore,
					n,
					0,
				)
				nothing := *ignore
				nothing.Services = nil
				f.during("the control: without rules", func() {}, flowKinds, nil)
				turn := func(times int, states ...*firewall.State) func() {
					return func() {
						for range times {
							for _, s := range states {
								w.applyState(s)
								f.wait(5)
							}
						}
					}
				}
				f.during("apply and teardown", turn(many, deny, nil), throughout, nil)
				f.during("a first apply", turn(1, deny), throughout, nil)
				f.during("deny", func() {}, throughout, notAtAll)
				f.during(
					"deny to ignore and back",
					turn(few, ignore, deny),
					throughout,
					notAtAll[:1],
				)
				f.during(
					"deny to ignore without the service, and back",
					turn(few, &nothing, deny),
					throughout,
					nil,
				)
				t.Logf("packets: %v", f.total)
			})
		}
	}
}

// The same as the rules move from one engine to another, in every direction, and back by a
// rollback.
func TestSwitchingEnginesShowsNoGap(t *testing.T) {
	lab.RequireRoot(t)
	for _, n := range []int{0, 5000} {
		t.Run(fmt.Sprintf("%d sources", n), func(t *testing.T) {
			s := newSwitching(t)
			f := startFlows(s.world)
			deny, other := officeState(
				t,
				firewall.UnlistedDeny,
				n,
				0,
			), officeState(
				t,
				firewall.UnlistedDeny,
				n,
				1,
			)
			s.to("nftables", deny)
			from, switches := "nftables", 0
			for _, to := range []string{"iptables-nft", "nftables", "iptables-legacy", "iptables-nft", "iptables-legacy", "nftables"} {
				state := other
				if switches++; switches%2 == 0 {
					state = deny // what was in force before
				}
				f.during(from+" to "+to, func() { s.to(to, state) }, throughout, notAtAll)
				from = to
			}
			t.Logf("%d switches; packets: %v", switches, f.total)
		})
	}
}
