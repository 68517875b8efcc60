package connections

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// namespace is a network namespace made for one test. It lives as long as the test holds the file.
type namespace struct {
	t    *testing.T
	file *os.File
}

// newNamespace makes an empty namespace with loopback up. The machine's own is never touched.
func newNamespace(t *testing.T) *namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: not root: network namespaces can't be made")
	}
	n := &namespace{t: t}
	onThread(func() {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			t.Error(err)
			return
		}
		n.file = f
	})
	if n.file == nil {
		t.FailNow()
	}
	t.Cleanup(func() { _ = n.file.Close() })
	n.run("ip link set lo up")
	return n
}

// onThread runs f on a thread of its own, which ends with it, so its namespace harms nobody.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
}

// in runs f inside. f must not start goroutines that open sockets, nor call t.Fatal.
func (n *namespace) in(f func()) {
	onThread(func() {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			n.t.Errorf("setns: %v", err)
			return
		}
		f()
	})
}

// run executes commands inside, one a line.
func (n *namespace) run(lines string) {
	n.t.Helper()
	for line := range strings.Lines(lines) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		n.exec("", fields...)
	}
}

func (n *namespace) nft(script string) {
	n.t.Helper()
	n.exec(script, "nft", "-f", "-")
}

func (n *namespace) exec(stdin string, args ...string) {
	n.t.Helper()
	var out []byte
	var err error
	n.in(func() {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err = cmd.CombinedOutput()
	})
	if err != nil {
		n.t.Fatalf("%v: %v\n%s%s", args, err, out, stdin)
	}
}

func (n *namespace) sysctl(path, value string) {
	n.t.Helper()
	var err error
	n.in(func() { err = os.WriteFile("/proc/sys/"+path, []byte(value), 0) })
	if err != nil {
		n.t.Fatal(err)
	}
}

// path names the namespace for commands outside it.
func (n *namespace) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

func (n *namespace) listen(network, address string) net.Listener {
	n.t.Helper()
	var l net.Listener
	var err error
	n.in(func() { l, err = shared.Listen(context.Background(), network, address) })
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = l.Close() })
	return l
}

// shared lets other sockets have the same local port.
var shared = net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
	return c.Control(
		func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) },
	)
}}

func (n *namespace) listenPacket(address string) net.PacketConn {
	n.t.Helper()
	var c net.PacketConn
	var err error
	n.in(func() { c, err = shared.ListenPacket(context.Background(), "udp", address) })
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = c.Close() })
	return c
}

// dialFrom connects from a local port, also one on which another shared socket waits.
func (n *namespace) dialFrom(network, local, remote string) net.Conn {
	n.t.Helper()
	d := net.Dialer{Timeout: 3 * time.Second, Control: shared.Control}
	if network == "udp" {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local))
	} else {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(local))
	}
	var c net.Conn
	var err error
	n.in(func() { c, err = d.Dial(network, remote) })
	if err != nil {
		n.t.Fatalf("from %s to %s: %v", local, remote, err)
	}
	n.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (n *namespace) dial(network, remote string) (net.Conn, error) {
	var c net.Conn
	var err error
	n.in(func() { c, err = net.DialTimeout(network, remote, 3*time.Second) })
	if err == nil {
		n.t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

func (n *namespace) mustDial(network, remote string) net.Conn {
	n.t.Helper()
	c, err := n.dial(network, remote)
	if err != nil {
		n.t.Fatalf("dial %s: %v", remote, err)
	}
	return c
}

func (n *namespace) list(k *Kernel) []firewall.Connection {
	n.t.Helper()
	var out []firewall.Connection
	var err error
	n.in(func() { out, err = k.List(context.Background()) })
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

func (n *namespace) end(k *Kernel, c firewall.Connection) {
	n.t.Helper()
	var err error
	n.in(func() { err = k.End(context.Background(), c) })
	if err != nil {
		n.t.Fatalf("ending %+v: %v", c, err)
	}
}

// world is client — host — container, dual stack.
type world struct{ client, host, container *namespace }

const (
	client4, client6       = "192.0.2.2", "2001:db8:1::2"
	host4, host6           = "192.0.2.1", "2001:db8:1::1"
	container4, container6 = "10.88.0.2", "fd88::2"
)

func newWorld(t *testing.T) world {
	t.Helper()
	w := world{newNamespace(t), newNamespace(t), newNamespace(t)}
	w.host.run("ip link add h0 type veth peer name c0 netns " + w.client.path() + `
		ip link add h1 type veth peer name k0 netns ` + w.container.path() + `
		ip address add 192.0.2.1/24 dev h0
		ip address add 2001:db8:1::1/64 dev h0 nodad
		ip address add 10.88.0.1/24 dev h1
		ip address add fd88::1/64 dev h1 nodad
		ip link set h0 up
		ip link set h1 up`)
	w.client.run(`ip address add 192.0.2.2/24 dev c0
		ip address add 2001:db8:1::2/64 dev c0 nodad
		ip link set c0 up`)
	w.container.run(`ip address add 10.88.0.2/24 dev k0
		ip address add fd88::2/64 dev k0 nodad
		ip link set k0 up
		ip route add default via 10.88.0.1
		ip -6 route add default via fd88::1`)
	w.host.sysctl("net/ipv4/ip_forward", "1")
	w.host.sysctl("net/ipv6/conf/all/forwarding", "1")
	return w
}

// publish makes the host hand tcp and udp port published to the container's port, as container
// engines do, and prepares the chain in which revoke drops.
func (w world) publish(published, port int) {
	w.host.nft(fmt.Sprintf(`table inet lab {
		chain portgrave {
			type filter hook prerouting priority dstnat - 10; policy accept;
			ct direction reply accept
		}
		chain published {
			type nat hook prerouting priority dstnat; policy accept;
			fib daddr type local meta l4proto { tcp, udp } th dport %[1]d dnat ip to 10.88.0.2:%[2]d
			fib daddr type local meta l4proto { tcp, udp } th dport %[1]d dnat ip6 to [fd88::2]:%[2]d
		}
		chain leaving {
			type nat hook postrouting priority srcnat; policy accept;
			ip saddr 10.88.0.0/24 oifname "h0" masquerade
			ip6 saddr fd88::/64 oifname "h0" masquerade
		}
	}`, published, port))
}

// revoke refuses the client at a port from now on, as the applied rules would.
func (w world) revoke(port int) {
	w.host.nft(
		fmt.Sprintf(
			`add rule inet lab portgrave iifname h0 meta l4proto { tcp, udp } th dport %d drop`,
			port,
		),
	)
}

func (w world) pardon() {
	w.host.nft(
		"flush chain inet lab portgrave\nadd rule inet lab portgrave ct direction reply accept",
	)
}

// server accepts connections and remembers what became of them.
type server struct {
	t        *testing.T
	received atomic.Int64 // bytes
	ended    atomic.Int64 // connections
	mu       sync.Mutex
	conns    []net.Conn
	last     error // why the last one ended
}

// serve runs each accepted connection: it reads all, and writes as talk says (nil: nothing).
func serve(t *testing.T, l net.Listener, talk func(c net.Conn, got []byte) error) *server {
	s := &server{t: t}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			go s.one(c, talk)
		}
	}()
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, c := range s.conns {
			_ = c.Close()
		}
	})
	return s
}

func (s *server) one(c net.Conn, talk func(c net.Conn, got []byte) error) {
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		s.received.Add(int64(n))
		if err == nil && talk != nil {
			err = talk(c, buf[:n])
		}
		if err != nil {
			s.mu.Lock()
			s.last = err
			s.mu.Unlock()
			s.ended.Add(1)
			return
		}
	}
}

func echo(c net.Conn, got []byte) error {
	_, err := c.Write(got)
	return err
}

// push starts to send without end at the first word, and goes on reading.
func push(c net.Conn, _ []byte) error {
	go func() {
		for {
			if _, err := c.Write([]byte("tick")); err != nil {
				return
			}
			time.Sleep(500 * time.Microsecond)
		}
	}()
	return nil
}

// flood sends as fast as it can.
func flood(c net.Conn, _ []byte) error {
	go func() {
		block := make([]byte, 16<<10)
		for {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	}()
	return nil
}

// say sends a byte and reports whether anything came back in time.
func say(c net.Conn, wait time.Duration) bool {
	if _, err := c.Write([]byte("x")); err != nil {
		return false
	}
	return hears(c, wait)
}

func hears(c net.Conn, wait time.Duration) bool {
	_ = c.SetReadDeadline(time.Now().Add(wait))
	n, _ := c.Read(make([]byte, 1<<16))
	return n > 0
}

// drain reads until nothing comes for a while or the connection ends, at most for limit; it reports
// whether it fell silent. What the kernel has received already may be megabytes.
func drain(c net.Conn, limit time.Duration) bool {
	block := make([]byte, 1<<20)
	for end := time.Now().Add(limit); time.Now().Before(end); {
		_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := c.Read(block); err != nil {
			return true
		}
	}
	return false
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	end := time.Now().Add(20 * time.Second)
	for ; time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Errorf("never: %s", what)
}

func testKernel() *Kernel {
	k, _ := New()
	return k
}

func at(address string, port int) string { return net.JoinHostPort(address, fmt.Sprint(port)) }
