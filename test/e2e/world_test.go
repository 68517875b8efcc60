// Package e2e holds the end-to-end tests: policies applied to a real kernel, judged by real
// packets.
//
// The worlds are those of test/lab; its package comment has their map.
package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/connections"
	"github.com/portgrave/portgrave/firewall/exposure/hostview"
	"github.com/portgrave/portgrave/firewall/ipvs"
	"github.com/portgrave/portgrave/firewall/nft"
	"github.com/portgrave/portgrave/firewall/xt"
	"github.com/portgrave/portgrave/policy"
	"github.com/portgrave/portgrave/test/lab"
)

// scratch is a folder for what the tests share, which TestMain makes and removes.
var scratch string

// TestMain gives the legacy iptables programs a lock of their own: the machine's is for the
// machine's firewall.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "portgrave-e2e-")
	if err == nil {
		err = os.Setenv("XTABLES_LOCKFILE", filepath.Join(dir, "xtables.lock"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	scratch = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// engine is what enforces the policies of a test: a backend, and the variant of its programs.
type engine struct{ name, backend, variant string }

// engines are all that a policy can be enforced with. Each must give the same verdict for every
// probe.
var engines = []engine{
	{"nftables", "nftables", ""},
	{"iptables-nft", "iptables", xt.NFVariant},
	{"iptables-legacy", "iptables", xt.Legacy},
}

// onEveryBackend runs a test once for each engine: all tests of this package are a suite that every
// backend conforms to. They run side by side, each in a world of its own, since most of their time
// is spent waiting for nothing to come.
func onEveryBackend(t *testing.T, test func(*testing.T, engine)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: not root: end-to-end tests need network namespaces")
	}
	t.Parallel()
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			test(t, e)
		})
	}
}

// open makes the engine's backend, in the namespace of the calling thread.
func (e engine) open(t *testing.T) (firewall.Backend, error) {
	if e.backend == "iptables" {
		return xt.New(context.Background(), e.variant)
	}
	b, err := nft.New()
	if err == nil {
		t.Cleanup(func() { _ = b.Close() })
	}
	return b, err
}

// Addresses of a world; see the package comment of lab.
var (
	host4, host6 = netip.MustParseAddr(
		"198.51.100.10",
	), netip.MustParseAddr(
		"2001:db8:100::10",
	)
	second4, second6 = netip.MustParseAddr(
		"198.51.100.11",
	), netip.MustParseAddr(
		"2001:db8:100::11",
	)
	inside4, inside6 = netip.MustParseAddr(
		"10.20.0.1",
	), netip.MustParseAddr(
		"fd00:20::1",
	) // the host's, towards the office
	bridge4, bridge6     = netip.MustParseAddr("172.17.0.1"), netip.MustParseAddr("fd00:17::1")
	internet4, internet6 = netip.MustParseAddr(
		"203.0.113.10",
	), netip.MustParseAddr(
		"2001:db8:113::10",
	)
	office4, office6 = netip.MustParseAddr("10.20.1.1"), netip.MustParseAddr("fd00:20::1:1")
	barred4, barred6 = netip.MustParseAddr(
		"10.20.66.6",
	), netip.MustParseAddr(
		"fd00:20:0:66::6",
	) // two more of the office's
	loopback4, loopback6 = netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
)

// world is a lab with an engine on its host.
type world struct {
	*lab.World
	t   *testing.T
	rec *firewall.Reconciler
	// networks is how policies find what depends on the host.
	networks policy.Networks

	officeServes *lab.Server // what the host itself connects to, once it does
	serial       int         // of the datagrams that getsDatagrams has sent
}

func newWorld(t *testing.T, e engine) *world {
	t.Helper()
	w := &world{World: lab.New(t), t: t}
	w.networks = policy.Networks{
		Connected: hostview.Connected,
		Virtual:   ipvs.VirtualServices,
	}
	for _, a := range []netip.Addr{barred4, barred6} {
		w.AddSources(w.Office, netip.PrefixFrom(a, a.BitLen()))
	}
	err := w.Host.Do(func() error {
		b, err := e.open(t)
		if err != nil {
			return err
		}
		running, err := connections.New()
		w.rec = &firewall.Reconciler{
			Backend:     b,
			Connections: running,
			Now:         time.Now,
			Log:         slog.New(slog.DiscardHandler),
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// serve echoes on TCP and UDP ports of every address of the host.
func (w *world) serve(ports ...uint16) {
	w.t.Helper()
	for _, p := range ports {
		w.Host.ListenTCP(p)
		w.Host.ListenUDP(p)
	}
}

// apply applies a policy to the host.
func (w *world) apply(yaml string) firewall.Outcome {
	w.t.Helper()
	s := w.compile(yaml)
	return w.applyState(&s)
}

// compile is the State of a policy on the host.
func (w *world) compile(yaml string) firewall.State {
	w.t.Helper()
	p, err := policy.Parse("policy.yaml", []byte("version: 1\n"+yaml))
	if err != nil {
		w.t.Fatal(err)
	}
	var c *policy.Compiled
	err = w.Host.Do(func() error { // which networks the host is part of may matter
		c, err = p.Compile(context.Background(), &w.networks)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return c.State
}

// applyState applies a State; nil removes everything of ours.
func (w *world) applyState(s *firewall.State) (out firewall.Outcome) {
	w.t.Helper()
	err := w.Host.Do(func() (err error) {
		out, err = w.rec.Apply(context.Background(), s, false)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(out.Warnings) > 0 {
		w.t.Errorf("warnings: %v", out.Warnings)
	}
	return out
}

// traffic reads what the kernel counted for a service.
func (w *world) traffic(service string) (seen firewall.Traffic) {
	w.t.Helper()
	err := w.Host.Do(func() error {
		o, err := w.rec.Backend.Observe(context.Background())
		if err == nil {
			seen, _ = o.Traffic(service)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return seen
}

// patience is how long no answer must last to be silence. Answers inside one machine take well
// under a millisecond; where one is expected, more time is given, since the machine may be busy.
const (
	patience = 300 * time.Millisecond
	longer   = 5 * time.Second
)

// ask is a connection that one node tries, and what must come of it.
type ask struct {
	want   lab.Answer
	from   *lab.Node
	source netip.Addr // the zero Addr: whichever the kernel chooses
	to     netip.Addr
	port   uint16
}

var (
	whichever netip.Addr
	tcp       = []lab.Protocol{lab.TCP}
	both      = []lab.Protocol{lab.TCP, lab.UDP}
)

// expect tries all connections at once, over each protocol, and fails for those that do not end as
// wanted. Open means that data came back.
func (w *world) expect(protocols []lab.Protocol, asks ...ask) {
	w.t.Helper()
	var all sync.WaitGroup
	for _, a := range asks {
		for _, p := range protocols {
			all.Go(func() {
				if got := a.try(p); got != a.want {
					w.t.Errorf(
						"%s from %s %v to %v port %d is %v, want %v",
						firewall.Protocol(p),
						a.from.Name,
						a.source,
						a.to,
						a.port,
						got,
						a.want,
					)
				}
			})
		}
	}
	all.Wait()
}

// expectClosed fails if anything gets through, and does not ask how it is refused.
func (w *world) expectClosed(protocols []lab.Protocol, from *lab.Node, to netip.Addr, port uint16) {
	w.t.Helper()
	for _, p := range protocols {
		if got := (ask{lab.Dropped, from, whichever, to, port}).try(p); got != lab.Dropped &&
			got != lab.Refused {
			w.t.Errorf(
				"%s from %s to %v port %d is %v, want it closed",
				firewall.Protocol(p),
				from.Name,
				to,
				port,
				got,
			)
		}
	}
}

// try makes one connection and says what became of it.
func (a ask) try(p lab.Protocol) lab.Answer {
	wait := longer
	if a.want == lab.Dropped {
		wait = patience
	}
	opts := []lab.Option{lab.Over(p), lab.Timeout(wait)}
	if a.source.IsValid() {
		opts = append(opts, lab.From(a.source))
	}
	to := netip.AddrPortFrom(a.to, a.port)
	if p == lab.TCP && a.want == lab.Open {
		if _, err := a.from.RoundTrip(to, opts...); err == nil {
			return lab.Open
		}
		opts = append(opts, lab.Timeout(patience)) // to name what is wrong
		if got := a.from.Connect(to, opts...); got != lab.Open {
			return got
		}
		return lab.Failed // connected, but no data came back
	}
	return a.from.Connect(to, opts...)
}
