// Package e2e holds the end-to-end tests: policies applied to a real kernel, judged by real packets.
//
// Each world is four network namespaces: a host with an interface to an office and one to the
// internet, and a container behind it whose port the host publishes by DNAT. Everything is IPv4 and IPv6.
package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/connections"
	"github.com/portgrave/portgrave/firewall/nft"
	"github.com/portgrave/portgrave/firewall/xt"
	"github.com/portgrave/portgrave/policy"
	"golang.org/x/sys/unix"
)

type node struct {
	name string
	fd   int
}

type world struct {
	t                                 *testing.T
	host, office, internet, container *node
	rec                               *firewall.Reconciler
}

// Addresses of the worlds. The host is .1 and ::1 everywhere, its second internet address is .9.
const (
	hostInternet4, hostInternet6 = "203.0.113.1", "2001:db8::1"
	hostSecond4                  = "203.0.113.9"
	hostOffice4, hostOffice6     = "10.20.0.1", "fd00:20::1"
	office4, office6             = "10.20.0.2", "fd00:20::2"
	officeOther4                 = "10.20.0.66"
	internet4, internet6         = "203.0.113.2", "2001:db8::2"
)

var worlds int

// engine is what enforces the policies of a test: a backend, and the variant of its programs.
type engine struct{ name, backend, variant string }

// engines are all that a policy can be enforced with. Each must give the same verdict for every probe.
var engines = []engine{{"nftables", "nftables", ""}, {"iptables-nft", "iptables", xt.NFVariant}, {"iptables-legacy", "iptables", xt.Legacy}}

// onEveryBackend runs a test once for each engine: all tests of this package are a suite that every backend conforms to.
func onEveryBackend(t *testing.T, test func(*testing.T, engine)) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: not root: end-to-end tests need network namespaces")
	}
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) { test(t, e) })
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

func newWorld(t *testing.T, e engine) *world {
	t.Helper()
	worlds++
	w := &world{t: t}
	for _, n := range []struct {
		to   **node
		name string
	}{{&w.host, "host"}, {&w.office, "office"}, {&w.internet, "internet"}, {&w.container, "container"}} {
		*n.to = w.node(fmt.Sprintf("pg%d-%d-%s", os.Getpid(), worlds, n.name))
	}
	h := w.host.name
	link := func(dev string, peer *node, v4, v6 string) {
		w.ip("link", "add", "name", dev, "netns", h, "type", "veth", "peer", "name", "eth0", "netns", peer.name)
		for _, end := range []struct{ ns, dev, last string }{{h, dev, "1"}, {peer.name, "eth0", "2"}} {
			w.ip("-n", end.ns, "addr", "add", v4+end.last+"/24", "dev", end.dev)
			w.ip("-n", end.ns, "addr", "add", v6+end.last+"/64", "dev", end.dev, "nodad")
			w.ip("-n", end.ns, "link", "set", end.dev, "up")
		}
	}
	link("eth0", w.internet, "203.0.113.", "2001:db8::")
	link("eth1", w.office, "10.20.0.", "fd00:20::")
	link("cont0", w.container, "172.17.0.", "fd00:17::")
	w.ip("-n", h, "addr", "add", hostSecond4+"/24", "dev", "eth0")
	w.ip("-n", w.office.name, "addr", "add", officeOther4+"/24", "dev", "eth0")
	w.ip("-n", w.container.name, "route", "add", "default", "via", "172.17.0.1")
	w.ip("-n", w.container.name, "route", "add", "default", "via", "fd00:17::1")
	w.host.do(func() {
		for _, path := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := os.WriteFile("/proc/sys/net/"+path, []byte("1"), 0o600); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	})
	w.nft(`table inet dockerlike {
	chain pre {
		type nat hook prerouting priority dstnat
		fib daddr type local tcp dport 8080 dnat ip to 172.17.0.2:80
		fib daddr type local meta nfproto ipv6 tcp dport 8080 dnat ip6 to [fd00:17::2]:80
	}
	chain post {
		type nat hook postrouting priority srcnat
		ip saddr 172.17.0.0/24 oifname != "cont0" masquerade
		ip6 saddr fd00:17::/64 oifname != "cont0" masquerade
	}
}
`)
	w.host.do(func() {
		b, err := e.open(t)
		if err != nil {
			t.Error(err)
			return
		}
		running, err := connections.New()
		if err != nil {
			t.Error(err)
			return
		}
		w.rec = &firewall.Reconciler{Backend: b, Connections: running, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	})
	if t.Failed() {
		t.FailNow()
	}
	return w
}

func (w *world) node(name string) *node {
	w.t.Helper()
	w.ip("netns", "add", name)
	w.t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", name).Run() })
	fd, err := unix.Open("/run/netns/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = unix.Close(fd) })
	w.ip("-n", name, "link", "set", "lo", "up")
	n := &node{name, fd}
	// Without duplicate address detection IPv6 works at once.
	sysctl(n, w.t, "ipv6/conf/all/accept_dad", "0")
	sysctl(n, w.t, "ipv6/conf/default/accept_dad", "0")
	return n
}

func (w *world) ip(args ...string) {
	w.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		w.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// nft runs a script in the host, as another program would.
func (w *world) nft(script string) {
	w.t.Helper()
	cmd := exec.Command("ip", "netns", "exec", w.host.name, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("nft: %v: %s", err, out)
	}
}

// do runs f on a thread inside the namespace. The thread is not used for anything else afterwards.
func (n *node) do(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
			panic(fmt.Sprintf("entering %s: %v", n.name, err)) // going on would touch the machine's own namespace
		}
		f()
	}()
	<-done
}

// apply applies a policy to the host.
func (w *world) apply(yaml string) firewall.Outcome {
	w.t.Helper()
	p, err := policy.Parse("policy.yaml", []byte("version: 1\n"+yaml))
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := p.Compile(context.Background(), &policy.Networks{})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.applyState(c.State)
}

func (w *world) applyState(s firewall.State) (out firewall.Outcome) {
	w.t.Helper()
	var err error
	w.host.do(func() { out, err = w.rec.Apply(context.Background(), &s, false) })
	if err != nil {
		w.t.Fatal(err)
	}
	if len(out.Warnings) > 0 {
		w.t.Errorf("warnings: %v", out.Warnings)
	}
	return out
}

// serve echoes on a TCP port of every address, and on a UDP port of the given addresses.
func (w *world) serve(n *node, port int, addresses ...string) {
	w.t.Helper()
	n.do(func() {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			w.t.Error(err)
			return
		}
		w.t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
			}
		}()
		for _, a := range addresses {
			u, err := net.ListenPacket("udp", net.JoinHostPort(a, fmt.Sprint(port)))
			if err != nil {
				w.t.Error(err)
				return
			}
			w.t.Cleanup(func() { _ = u.Close() })
			go func() {
				b := make([]byte, 2048)
				for {
					k, from, err := u.ReadFrom(b)
					if err != nil {
						return
					}
					_, _ = u.WriteTo(b[:k], from)
				}
			}()
		}
	})
}

// Outcomes of connect.
const (
	open    = "open"
	refused = "refused" // a reset, or ICMP unreachable
	dropped = "dropped" // no answer at all
)

// patience is how long no answer must last to be silence. Answers inside one machine take well under
// a millisecond; where one is expected, expect waits longer, since the machine may be busy.
const (
	patience = 300 * time.Millisecond
	longer   = 3 * time.Second
)

// connect tries a connection and an echo over it. source may be "".
func connect(from *node, network, source, to string, port int) string {
	return connectWithin(patience, from, network, source, to, port)
}

func connectWithin(wait time.Duration, from *node, network, source, to string, port int) (result string) {
	from.do(func() {
		d := net.Dialer{Timeout: wait}
		if source != "" && network == "tcp" {
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
		} else if source != "" {
			d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(source)}
		}
		c, err := d.Dial(network, net.JoinHostPort(to, fmt.Sprint(port)))
		if err != nil {
			result = verdict(err)
			return
		}
		defer func() { _ = c.Close() }()
		result = echo(c, wait)
	})
	return result
}

func echo(c net.Conn, wait time.Duration) string {
	_ = c.SetDeadline(time.Now().Add(wait))
	if _, err := c.Write([]byte("ping")); err != nil {
		return verdict(err)
	}
	b := make([]byte, 4)
	if _, err := io.ReadFull(c, b); err != nil {
		return verdict(err)
	}
	if !bytes.Equal(b, []byte("ping")) {
		return "garbled"
	}
	return open
}

func verdict(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ECONNRESET), errors.Is(err, io.EOF):
		return refused
	case errors.As(err, &timeout) && timeout.Timeout():
		return dropped
	}
	return err.Error()
}

// expect fails unless a connection ends as wanted.
func (w *world) expect(want string, from *node, network, source, to string, port int) {
	w.t.Helper()
	wait := patience
	if want == open {
		wait = longer
	}
	if got := connectWithin(wait, from, network, source, to, port); got != want {
		w.t.Errorf("%s %s from %s %s to %s:%d is %s, want %s", w.t.Name(), network, from.name, source, to, port, got, want)
	}
}

func sysctl(n *node, t *testing.T, name, value string) {
	n.do(func() {
		if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o600); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
}
