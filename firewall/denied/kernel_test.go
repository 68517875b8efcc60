package denied

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/nft"
	"github.com/portgrave/portgrave/firewall/xt"
	"github.com/portgrave/portgrave/test/lab"
	"golang.org/x/sys/unix"
)

// engines are the backends, each with its own log rules.
var engines = map[string]func() (firewall.Backend, error){
	"nftables":        func() (firewall.Backend, error) { return nft.New() },
	"iptables-nft":    func() (firewall.Backend, error) { return xt.New(context.Background(), xt.NFVariant) },
	"iptables-legacy": func() (firewall.Backend, error) { return xt.New(context.Background(), xt.Legacy) },
}

// collected are the events of a running Listener.
type collected struct {
	mu     sync.Mutex
	events []Event
}

func (c *collected) add(e Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, e)
	return nil
}

func (c *collected) all() []Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.events)
}

// packets returns the number of packets in the events with some actions.
func (c *collected) packets(actions ...Action) (n uint64) {
	for _, e := range c.all() {
		if slices.Contains(actions, e.Action) {
			n += e.Count
		}
	}
	return n
}

// waitFor waits for a condition, at most ten seconds.
func waitFor(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for ten seconds: %s", what)
		}
	}
}

// runListener runs a Listener until the test ends.
func runListener(t testing.TB, l *Listener) (c *collected, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c = &collected{}
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx, c.add) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
		_ = l.Close()
	})
	t.Cleanup(stop)
	return c, stop
}

// All backends give the same events for the same packets: both families, every protocol, refused
// and accepted packets, ports that no service lists, and a name too long for a prefix of iptables.
func TestAllBackendsGiveTheSameEvents(t *testing.T) {
	lab.RequireRoot(t)
	t.Setenv("XTABLES_LOCKFILE", t.TempDir()+"/lock")
	const long = "a-name-as-long-as-a-service-may-have-which-is-48"
	var services []firewall.Service
	for name, port := range map[string]uint16{"metrics": 9090, long: 9443} {
		svc := firewall.Service{
			Name:    name,
			Sources: address.Must("10.20.0.0/16", "fd00:20::/48"),
			Log:     firewall.LogDenied,
		}
		if name == long {
			svc.Log = firewall.LogAll
		}
		for _, p := range firewall.Protocols {
			svc.Ports = append(svc.Ports, firewall.PortRange{Protocol: p, First: port, Last: port})
		}
		services = append(services, svc)
	}
	state := backendtest.Canonical(
		t,
		firewall.State{
			Unlisted:    firewall.UnlistedDeny,
			Refuse:      firewall.RefuseDrop,
			Established: firewall.EstablishedCut,
			Essentials:  firewall.DefaultEssentials &^ firewall.EssentialEcho,
			Services:    services,
		},
	)
	for name, backend := range engines {
		t.Run(name, func(t *testing.T) {
			w := lab.New(t)
			w.AddSources(w.Internet, netip.MustParsePrefix("192.0.2.0/24"))
			w.AddSources(w.Internet, netip.MustParsePrefix("2001:db8:77::/48"))
			for _, port := range []uint16{9090, 9443} {
				w.Host.ListenTCP(port)
				w.Host.ListenUDP(port)
				w.Host.ListenSCTP(port)
			}
			var l *Listener
			if err := w.Host.Do(func() error {
				b, err := backend()
				if err != nil {
					return err
				}
				if _, err := backendtest.Reconciler(b).Apply(context.Background(), &state,
					false); err != nil {
					return err
				}
				l, err = Open()
				return err
			}); err != nil {
				t.Fatal(err)
			}
			l.SetServices([]string{"metrics", long})
			got, stop := runListener(t, l)

			var want []Event
			sourcePort := uint16(40000)
			// Each request has its own source (IPv6: its own /64), so that no rate limit applies.
			foreigner := func(six bool) netip.Addr {
				if six {
					return netip.MustParseAddr(fmt.Sprintf("2001:db8:77:%d::1", len(want)+1))
				}
				return netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", len(want)+1))
			}
			for _, six := range []bool{false, true} {
				for _, protocol := range []lab.Protocol{lab.TCP, lab.UDP, lab.SCTP} {
					for port, service := range map[uint16]string{
						9090: "metrics",
						9443: long,
						7:    firewall.LogLabelUnlisted,
					} {
						sourcePort++
						to, source := w.Host.At(port, six), foreigner(six)
						if answer := w.Internet.Connect(to, lab.Over(protocol), lab.From(source),
							lab.FromPort(sourcePort),
							lab.Timeout(100*time.Millisecond)); answer != lab.Dropped {
							t.Errorf("%s to %s: %s", source, to, answer)
						}
						want = append(
							want,
							Event{
								Action:      Denied,
								Service:     service,
								Protocol:    firewall.Protocol(protocol).String(),
								Source:      source,
								SourcePort:  sourcePort,
								Destination: to.Addr(),
								Port:        port,
								Interface:   "eth0",
								Count:       1,
							},
						)
					}
					sourcePort++
					to := w.Host.At(9443, six)
					if answer := w.Office.Connect(to, lab.Over(protocol),
						lab.FromPort(sourcePort)); answer != lab.Open {
						t.Errorf("from the office to %s: %s", to, answer)
					}
					want = append(
						want,
						Event{
							Action:      Allowed,
							Service:     long,
							Protocol:    firewall.Protocol(protocol).String(),
							Source:      w.Office.Addr(six),
							SourcePort:  sourcePort,
							Destination: to.Addr(),
							Port:        9443,
							Interface:   "eth1",
							Count:       1,
						},
					)
					// log: denied says nothing of it
					if answer := w.Office.Connect(
						w.Host.At(9090, six), lab.Over(protocol),
					); answer != lab.Open {
						t.Errorf("from the office to metrics: %s", answer)
					}
				}
				e := Event{
					Action:      Denied,
					Service:     firewall.LogLabelUnlisted,
					Protocol:    "icmp",
					Source:      w.Internet.Addr(six),
					Destination: w.Host.Addr(six),
					ICMP:        &ICMP{Type: 8},
					Interface:   "eth0",
					Count:       1,
				}
				if six {
					e.Protocol, e.ICMP = "icmpv6", &ICMP{Type: 128}
				}
				_ = w.Internet.Command(context.Background(), "ping", "-c1", "-W1", "-I",
					e.Source.String(), e.Destination.String()).
					Run()

					// not answered
				want = append(want, e)
			}
			// The lab repeats requests over UDP; the aggregator merges them.
			merged := func() []Event {
				return slices.DeleteFunc(
					got.all(),
					func(e Event) bool { return e.Protocol == "udp" && e.Last.After(e.Time) },
				)
			}
			waitFor(t, "every packet has its event",
				func() bool { return len(merged()) >= len(want) })
			time.Sleep(2 * batchWait) // for events that should not come
			stop()
			less := func(a, b Event) bool {
				return fmt.Sprint(a.Source, a.Port, a.Protocol) < fmt.Sprint(b.Source, b.Port,
					b.Protocol)
			}
			if diff := cmp.Diff(want, merged(), equal, cmpopts.SortSlices(less),
				cmpopts.IgnoreFields(Event{}, "Time", "Last")); diff != "" {
				t.Error(diff)
			}
			for _, e := range got.all() {
				if age := time.Since(e.Time); age < 0 || age > time.Minute ||
					e.Time.Location() != time.UTC {
					t.Errorf("the time is %v", e.Time)
				}
			}
			if s := l.Stats(); s.Lost != 0 || s.Foreign != 0 ||
				s.Received != got.packets(Denied, Allowed) {
				t.Errorf("%+v, and %d packets in events", s, got.packets(Denied, Allowed))
			}
		})
	}
}

// loopTable logs, counts and drops what is sent to UDP port 9 over loopback, without a rate limit.
const loopTable = `table inet loop {
	counter reported { }
	chain output {
		type filter hook output priority -300
		udp dport 9 counter name reported log prefix "portgrave:denied:discard" group 9090 snaplen 128 drop
		udp dport 10 log prefix "something else" group 9090 drop
	}
}`

// isolateWithLoop isolates a test with loopTable. send sends n packets to a port.
func isolateWithLoop(t testing.TB) (send func(port, n int)) {
	backendtest.Isolate(t)
	backendtest.Program(t, "", "ip", "link", "set", "lo", "up")
	backendtest.Program(t, loopTable, "nft", "-f", "-")
	return func(port, n int) {
		t.Helper()
		conn, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		for range n {
			if _, err := conn.Write([]byte("x")); err != nil &&
				!errors.Is(err, unix.EPERM) { // EPERM: it was dropped
				t.Fatal(err)
			}
		}
	}
}

// counterPackets returns the packets of a named counter in nft's output.
func counterPackets(t testing.TB, list string) uint64 {
	t.Helper()
	_, after, _ := strings.Cut(list, "packets ")
	number, _, _ := strings.Cut(after, " ")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		t.Fatalf("%v in %s", err, list)
	}
	return n
}

// While nothing reads, the kernel's buffer fills up and the rest is dropped. All losses are counted
// and reported.
func TestLossesAddUp(t *testing.T) {
	send := isolateWithLoop(t)
	l, err := open(
		limits{
			window:            50 * time.Millisecond,
			keys:              16,
			sourcesPerService: 16,
			sourcesPerPort:    4,
			ports:             4,
			portsPerService:   4,
			services:          4,
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	send(9, 150_000)
	got, stop := runListener(t, l)
	waitFor(t, "the buffer is read", func() bool { return got.packets(Denied) > 0 })
	var before uint64
	waitFor(t, "nothing more comes", func() bool {
		now := l.Stats().Received
		defer func() { before = now }()
		time.Sleep(2 * batchWait)
		return now == before
	})
	send(9, 1) // its sequence number reveals the losses before it
	send(10, 5)
	waitFor(t, "the last ones", func() bool { return l.Stats().Foreign == 5 })
	time.Sleep(4 * 50 * time.Millisecond)
	stop()
	sent, s := counterPackets(
		t,
		backendtest.Program(t, "", "nft", "list", "counter", "inet", "loop", "reported"),
	), l.Stats()
	t.Logf("%d packets reported, %+v", sent, s)
	if s.Lost == 0 {
		t.Error("nothing was lost: the test proves nothing")
	}
	if s.Received-s.Foreign+s.Lost != sent {
		t.Errorf("%+v do not add up to %d", s, sent)
	}
	if denied, lost := got.packets(Denied), got.packets(Lost); denied+lost != sent ||
		lost != s.Lost {
		t.Errorf("events of %d packets and %d lost, of %d", denied, lost, sent)
	}
}

// A writer that blocks forever does not block the reader, and delays the end of Run only briefly.
func TestRunEndsWhileTheWriterBlocks(t *testing.T) {
	send := isolateWithLoop(t)
	small := limits{
		window:            20 * time.Millisecond,
		keys:              1,
		sourcesPerService: 1,
		sourcesPerPort:    1,
		ports:             1,
		portsPerService:   1,
		services:          1,
	}
	l, err := open(small)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ctx, cancel := context.WithCancel(context.Background())
	block, ended := make(chan struct{}), make(chan error)
	defer close(block)
	go func() { ended <- l.Run(ctx, func(Event) error { <-block; return nil }) }()
	for range 20 {
		send(9, 500)
		time.Sleep(20 * time.Millisecond)
	}
	waitFor(
		t,
		"all is read though the writer blocks",
		func() bool { return l.Stats().Received == 10_000 },
	)
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Run does not end")
	}
	if s := l.Stats(); s.Lost != 9999 { // the writer still has the first one
		t.Errorf("%+v, want 9999 lost", s)
	}
}

func TestOpenErrors(t *testing.T) {
	backendtest.Isolate(t)
	l, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(); !errors.Is(err, ErrTaken) {
		t.Errorf("a second listener: %v, want ErrTaken", err)
	}
	ended := make(chan error)
	go func() { ended <- l.Run(context.Background(), func(Event) error { return nil }) }()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close, Run ended with %v", err)
	}
	if err := l.Run(context.Background(), nil); err == nil {
		t.Error("Run ran twice")
	}
	if l, err = Open(); err != nil {
		t.Fatalf("after the first one is closed: %v", err)
	}
	_ = l.Close()

	// The thread ends with the test, so its privileges need not be restored.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(); !errors.Is(err, firewall.ErrPermission) || errors.Is(err, ErrTaken) {
		t.Errorf("without privileges: %v, want ErrPermission", err)
	}
}

func TestInterfaceNames(t *testing.T) {
	backendtest.Isolate(t)
	backendtest.Program(t, "", "ip", "link", "add", "first", "type", "veth", "peer", "name",
		"other")
	l, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	link, err := net.InterfaceByName("first")
	if err != nil {
		t.Fatal(err)
	}
	index := uint32(link.Index)
	check := func(want string) {
		t.Helper()
		// From a thread in another namespace: the socket's namespace counts.
		name := make(chan string)
		go func() { name <- l.interfaces.name(index) }()
		if got := <-name; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	check("first")
	backendtest.Program(t, "", "ip", "link", "set", "first", "name", "second")
	check("first") // from the cache
	l.interfaces.forget()
	check("second")
	backendtest.Program(t, "", "ip", "link", "del", "second")
	l.interfaces.forget()
	check(fmt.Sprintf("index %d", index))
	for i := range uint32(3 * maxInterfaces) {
		l.interfaces.name(i + 1000)
	}
	if n := len(l.interfaces.names); n > maxInterfaces {
		t.Errorf("%d names are remembered", n)
	}
	if l.interfaces.name(0) != "" {
		t.Error("a packet of no interface has one")
	}
}
