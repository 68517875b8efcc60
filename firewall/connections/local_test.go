package connections

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// track makes conntrack work in the host's namespace: it sleeps until a rule asks for it.
func (w world) track() {
	w.host.nft(
		"table inet watch { chain c { type filter hook prerouting priority 0; ct state new counter; }; chain o { type filter hook output priority 0; ct state new counter; }; }",
	)
}

// ownName is this process's name as /proc has it.
func ownName(t *testing.T) string {
	b, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// TestLocal: a client's connections to sockets of the host are listed and ended, whatever the
// family of the socket, with conntrack and without; the listener and other clients live on.
func TestLocal(t *testing.T) {
	for _, c := range []struct{ name, network, bind, dial string }{
		{"ipv4", "tcp4", "0.0.0.0:9090", at(host4, 9090)},
		{"ipv4 on one address", "tcp4", at(host4, 9090), at(host4, 9090)},
		{"ipv4 on a dual-stack socket", "tcp", "[::]:9090", at(host4, 9090)},
		{"ipv6 on a dual-stack socket", "tcp", "[::]:9090", at(host6, 9090)},
		{"ipv6", "tcp6", at(host6, 9090), at(host6, 9090)},
	} {
		for _, tracked := range []bool{false, true} {
			name := c.name
			if tracked {
				name += ", tracked"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				if tracked {
					w.track()
				}
				l := w.host.listen(c.network, c.bind)
				s := serve(t, l, push)
				conn := w.client.mustDial("tcp", c.dial)
				other := w.client.mustDial("tcp", c.dial)
				loopback, err := w.host.dial("tcp", c.dial)
				if err != nil || !say(conn, time.Second) || !say(other, time.Second) ||
					!say(loopback, time.Second) {
					t.Fatal("no connection", err)
				}
				k := testKernel()
				want := firewall.Connection{
					Protocol:  firewall.TCP,
					Client:    netip.MustParseAddrPort(conn.LocalAddr().String()),
					Dialled:   netip.MustParseAddrPort(c.dial),
					Interface: "h0",
				}
				second := want
				second.Client = netip.MustParseAddrPort(other.LocalAddr().String())
				got := w.host.list(k)
				if len(got) != 2 || (got[0] != want && got[1] != want) ||
					(got[0] != second && got[1] != second) {
					t.Fatalf("listed %+v, want %+v and %+v", got, want, second)
				}
				if k.NameOwners(t.Context(), got); got[0].Owner != ownName(t) ||
					got[1].Owner != ownName(t) {
					t.Errorf("owners %q, %q, want %q", got[0].Owner, got[1].Owner, ownName(t))
				}
				w.host.end(k, want)
				eventually(t, "the client is reset", func() bool {
					_, err := conn.Read(make([]byte, 1<<16))
					return errors.Is(err, unix.ECONNRESET)
				})
				eventually(t, "the server notices", func() bool { return s.ended.Load() == 1 })
				w.host.end(k, want) // gone already: no error
				w.host.end(testKernel(), want)
				if !hears(other, time.Second) || !hears(loopback, time.Second) {
					t.Error("another connection died too")
				}
				if again, err := w.client.dial("tcp", c.dial); err != nil ||
					!say(again, time.Second) {
					t.Errorf("the listener died too: %v", err)
				}
			})
		}
	}
}

// TestOwnConnectionsAreNotListed: what the host opened is never a client's, even when the host
// listens on the very port that it dials from.
func TestOwnConnectionsAreNotListed(t *testing.T) {
	for _, tracked := range []bool{false, true} {
		w := newWorld(t)
		if tracked {
			w.track()
		}
		serve(t, w.client.listen("tcp", "[::]:443"), echo)
		w.host.listen("tcp", "[::]:9090")
		for _, remote := range []string{at(client4, 443), at(client6, 443)} {
			if c := w.host.mustDial("tcp", remote); !say(c, time.Second) {
				t.Fatal("no connection")
			}
		}
		if tracked { // from a port on which the host listens: only conntrack can tell
			c := w.host.dialFrom("tcp", at(host4, 9090), at(client4, 443))
			if !say(c, time.Second) {
				t.Fatal("no connection")
			}
		}
		if got := w.host.list(testKernel()); len(got) != 0 {
			t.Errorf("tracked %v: listed %+v", tracked, got)
		}
	}
}

// TestPickedUpInTheMiddle: conntrack that wakes up during a connection sees the server's packet
// first and takes the server for the client; the listening socket tells otherwise. And the other
// way round.
func TestPickedUpInTheMiddle(t *testing.T) {
	w := newWorld(t)
	s := serve(t, w.host.listen("tcp", "[::]:9090"), echo)
	conn := w.client.mustDial("tcp", at(host4, 9090))
	if !say(conn, time.Second) {
		t.Fatal("no connection")
	}
	far := serve(t, w.client.listen("tcp", "[::]:443"), echo)
	own := w.host.mustDial("tcp", at(client4, 443))
	if !say(own, time.Second) {
		t.Fatal("no connection")
	}
	w.track()
	// Each server speaks first.
	for _, x := range []struct {
		server *server
		conn   net.Conn
	}{{s, conn}, {far, own}} {
		x.server.mu.Lock()
		_, err := x.server.conns[0].Write([]byte("hello"))
		x.server.mu.Unlock()
		if err != nil || !hears(x.conn, time.Second) {
			t.Fatalf("the server can't speak: %v", err)
		}
	}
	var tracked []flow
	w.host.in(func() { tracked, _ = flows(t.Context(), netlink.Dialer(netlink.Dial)) })
	backwards := 0
	for _, f := range tracked {
		if !f.pickedUp {
			t.Errorf("%+v is not marked as picked up in the middle", f)
		}
		if f.orig.src == netip.MustParseAddrPort(at(host4, 9090)) ||
			f.orig.src == netip.MustParseAddrPort(at(client4, 443)) {
			backwards++
		}
	}
	if backwards != 2 {
		t.Fatalf("conntrack was to see both connections backwards: %+v", tracked)
	}
	k := testKernel()
	got := w.host.list(k)
	if len(got) != 1 || got[0].Client.String() != conn.LocalAddr().String() ||
		got[0].Dialled.String() != at(host4, 9090) {
		t.Fatalf("listed %+v", got)
	}
	w.host.end(k, got[0])
	eventually(t, "the server notices", func() bool { return s.ended.Load() == 1 })
	if !say(own, time.Second) {
		t.Error("the host's own connection died")
	}
}

// TestRedirect: the client's own view of the connection is listed, not the socket's.
func TestRedirect(t *testing.T) {
	w := newWorld(t)
	w.host.nft(
		`table inet lab { chain c { type nat hook prerouting priority dstnat; tcp dport 80 redirect to :8080; }; }`,
	)
	s := serve(t, w.host.listen("tcp", "[::]:8080"), push)
	conn := w.client.mustDial("tcp", at(host4, 80))
	if !say(conn, time.Second) {
		t.Fatal("no connection")
	}
	k := testKernel()
	got := w.host.list(k)
	if len(got) != 1 || got[0].Dialled.String() != at(host4, 80) || got[0].Forwarded {
		t.Fatalf("listed %+v", got)
	}
	w.host.end(k, got[0])
	eventually(t, "the server notices", func() bool { return s.ended.Load() == 1 })
}

// TestServerThatNoLongerListens: conntrack knows the client although nobody waits on the port any
// more.
func TestServerThatNoLongerListens(t *testing.T) {
	w := newWorld(t)
	w.track()
	l := w.host.listen("tcp", "[::]:9090")
	serve(t, l, echo)
	if !say(w.client.mustDial("tcp", at(host6, 9090)), time.Second) {
		t.Fatal("no connection")
	}
	_ = l.Close()
	if got := w.host.list(testKernel()); len(got) != 1 {
		t.Errorf("listed %+v", got)
	}
}

// TestUDP: a socket connected to the client can be ended; one that serves everybody is left alone
// and its flows are not listed, for there is nothing to end.
func TestUDP(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			w := newWorld(t)
			w.track()
			open := w.host.listenPacket(at(f.host, 5353))
			c := w.client.dialFrom("udp", at(f.client, 40000), at(f.host, 5353))
			_, _ = c.Write([]byte("x"))
			if _, _, err := open.ReadFrom(make([]byte, 9)); err != nil {
				t.Fatal(err)
			}
			k := testKernel()
			if got := w.host.list(k); len(got) != 0 {
				t.Errorf("listed %+v", got)
			}
			connected := w.host.dialFrom("udp", at(f.host, 5353), at(f.client, 40000))
			got := w.host.list(k)
			if len(got) != 1 || got[0].Protocol != firewall.UDP ||
				got[0].Client.String() != at(f.client, 40000) {
				t.Fatalf("listed %+v", got)
			}
			w.host.end(k, got[0])
			if _, err := connected.Read(make([]byte, 9)); !errors.Is(err, unix.ECONNABORTED) {
				t.Errorf("the connected socket: %v", err)
			}
			_ = connected.Close() // until its process does so, it stays bound and takes the packets
			_ = connected.Close() // it is bound to the shared port still
			_, _ = c.Write([]byte("y"))
			_ = open.SetReadDeadline(time.Now().Add(time.Second))
			if _, _, err := open.ReadFrom(make([]byte, 9)); err != nil {
				t.Errorf("the open socket: %v", err)
			}
		})
	}
}

// TestForwardedUDP: the flow ends for the client in both directions.
func TestForwardedUDP(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			w := newWorld(t)
			w.publish(9090, 9090)
			server := w.container.listenPacket(at(f.container, 9090))
			c := w.client.mustDial("udp", at(f.host, 9090))
			_, _ = c.Write([]byte("x"))
			_ = server.SetReadDeadline(time.Now().Add(3 * time.Second))
			_, from, err := server.ReadFrom(make([]byte, 9))
			if err != nil {
				t.Fatal(err)
			}
			k := testKernel()
			got := w.host.list(k)
			if len(got) != 1 || !got[0].Forwarded || got[0].Protocol != firewall.UDP ||
				got[0].Client.String() != c.LocalAddr().String() {
				t.Fatalf("listed %+v", got)
			}
			w.revoke(9090)
			w.host.end(k, got[0])
			for range 3 {
				_, _ = server.WriteTo([]byte("push"), from)
				if hears(c, 100*time.Millisecond) {
					t.Error("the client still receives")
				}
				_, _ = c.Write([]byte("again"))
			}
			_ = server.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
			if n, from, err := server.ReadFrom(make([]byte, 9)); err == nil {
				t.Errorf("the client still reaches the server: %d bytes from %v", n, from)
			}
		})
	}
}

// TestPardoned: a client that is allowed again connects at once.
func TestPardoned(t *testing.T) {
	t.Parallel()
	x := newForwarded(t, families[0], 9090, echo)
	x.host.end(x.kernel, x.listed)
	x.pardon()
	if c, err := x.client.dial("tcp", at(host4, 9090)); err != nil || !say(c, time.Second) {
		t.Errorf("a new connection: %v", err)
	}
}

// TestEntriesAreCounted: the kernel counts those of the namespace alone, none where nothing asks
// for tracking.
func TestEntriesAreCounted(t *testing.T) {
	w := newWorld(t)
	none := func() (none bool) {
		w.host.in(func() { none = tracksNothing(os.DirFS("/proc")) })
		return none
	}
	serve(t, w.host.listen("tcp", at(host4, 9090)), echo)
	if c := w.client.mustDial("tcp", at(host4, 9090)); !say(c, time.Second) || !none() {
		t.Fatal("there are entries before anything is tracked")
	}
	w.track()
	if c := w.client.mustDial("tcp", at(host4, 9090)); !say(c, time.Second) || none() {
		t.Error("a tracked connection is not counted")
	}
}
