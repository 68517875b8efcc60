package connections

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
)

// forwarded is a published container port with one client connected to it.
type forwarded struct {
	world
	server *server
	conn   net.Conn
	kernel *Kernel
	listed firewall.Connection
}

type family struct{ name, host, container, client string }

var families = []family{{"ipv4", host4, container4, client4}, {"ipv6", host6, container6, client6}}

func newForwarded(
	t *testing.T,
	f family,
	published int,
	talk func(net.Conn, []byte) error,
) forwarded {
	t.Helper()
	x := forwarded{world: newWorld(t), kernel: testKernel()}
	x.publish(published, 9090)
	x.server = serve(t, x.container.listen("tcp", at(f.container, 9090)), talk)
	x.conn = x.client.mustDial("tcp", at(f.host, published))
	if !say(x.conn, 3*time.Second) && talk != nil {
		t.Fatal("the server does not answer")
	}
	var found []firewall.Connection
	for _, c := range x.host.list(x.kernel) {
		if c.Forwarded {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		t.Fatalf("listed: %+v", found)
	}
	x.listed = found[0]
	want := firewall.Connection{
		Protocol:  firewall.TCP,
		Client:    netip.MustParseAddrPort(x.conn.LocalAddr().String()),
		Dialled:   netip.MustParseAddrPort(at(f.host, published)),
		Interface: "h0",
		Forwarded: true,
	}
	if x.listed != want {
		t.Fatalf("listed %+v, want %+v", x.listed, want)
	}
	x.revoke(published)
	return x
}

// deaf reports whether what the client says no longer reaches the server.
func (x forwarded) deaf() bool {
	before := x.server.received.Load()
	for range 5 {
		_, _ = x.conn.Write([]byte("still here"))
		time.Sleep(100 * time.Millisecond)
	}
	return x.server.received.Load() == before
}

func TestEndForwarded(t *testing.T) {
	talks := map[string]func(net.Conn, []byte) error{"push": push, "flood": flood, "echo": echo}
	for _, f := range families {
		for _, published := range []int{9090, 8080} {
			for name, talk := range talks {
				t.Run(fmt.Sprintf("%s/%d/%s", f.name, published, name), func(t *testing.T) {
					t.Parallel()
					x := newForwarded(t, f, published, talk)
					x.host.end(x.kernel, x.listed)
					if !drain(x.conn, 3*time.Second) {
						t.Error("the client still receives")
					}
					if !x.deaf() {
						t.Error("the client still reaches the server")
					}
					if name != "echo" {
						eventually(
							t,
							"the server's side ends",
							func() bool { return x.server.ended.Load() == 1 },
						)
						return
					}
					// The silent server speaks up only now: the connection must not come back.
					x.server.mu.Lock()
					_, _ = x.server.conns[0].Write([]byte("anybody there?"))
					x.server.mu.Unlock()
					if hears(x.conn, 500*time.Millisecond) {
						t.Error("the client hears the server that speaks up")
					}
					if !x.deaf() {
						t.Error("the connection came back to life")
					}
					eventually(
						t,
						"the server's side ends",
						func() bool { return x.server.ended.Load() == 1 },
					)
				})
			}
		}
	}
}

// TestBareDeletionResurrects is the control for TestEndForwarded: it shows that the tombstone is
// needed.
func TestBareDeletionResurrects(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			x := newForwarded(t, f, 9090, push)
			flow := x.kernel.last[keyOf(x.listed)][0].flow
			x.host.in(func() {
				conn, err := netlink.Dial(12) // NETLINK_NETFILTER
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = conn.Close() }()
				if err := remove(t.Context(), conn, *flow); err != nil {
					t.Error(err)
				}
			})
			alive := false
			for range 3 { // a busy machine may leave a gap in what the server sends
				alive = alive || !drain(x.conn, time.Second) && !x.deaf()
			}
			if !alive {
				t.Error("a bare deletion ended the connection: this kernel needs no tombstone, " +
					"and the test of it proves nothing")
			}
		})
	}
}
