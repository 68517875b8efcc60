package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Node is one machine of a world: a network namespace. Its methods may be called from any
// goroutine. Those without an error result report errors through the world's TB.
type Node struct {
	// Name is the node's name in messages, and the banner of its listeners.
	Name string

	t      TB
	ns     *namespace
	routes *netlink.Handle // its socket belongs to this namespace, whatever thread uses it

	ctx    context.Context // ends with the world, and kills the programs of Command
	cancel context.CancelFunc

	mu      sync.Mutex
	links   []*Link
	closers []func()
	sctp    *sctpServer // nil until ListenSCTP is called
}

// newNode makes an empty node with loopback up.
func newNode(t TB, name string) (*Node, error) {
	ns, err := newNamespace()
	if err != nil {
		return nil, err
	}
	n := &Node{Name: name, t: t, ns: ns}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	err = n.Do(func() error {
		if n.routes, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return fmt.Errorf("lab: opening rtnetlink: %w", err)
		}
		lo, err := n.routes.LinkByName("lo")
		if err != nil {
			return err
		}
		return n.routes.LinkSetUp(lo)
	})
	if err != nil {
		n.close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}

// close ends everything that runs in the node, and releases its namespace.
func (n *Node) close() {
	n.cancel()
	n.mu.Lock()
	closers := n.closers
	n.closers = nil
	n.mu.Unlock()
	for i := len(closers) - 1; i >= 0; i-- {
		closers[i]()
	}
	if n.routes != nil {
		n.routes.Close()
	}
	n.ns.close()
}

// onClose registers f to be called when the world ends.
func (n *Node) onClose(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closers = append(n.closers, f)
}

// Do runs f inside the node, on a locked thread, and returns its error. Sockets that f opens stay
// in the node. Goroutines that f starts do not run inside it.
func (n *Node) Do(f func() error) error { return n.ns.do(f) }

// Path names the node's namespace for programs that enter it (nsenter --net=…), until the world
// ends. It is a descriptor of this process, so nothing is mounted.
func (n *Node) Path() string { return n.ns.path() }

// Inode identifies the node's namespace, as in /proc/PID/ns/net.
func (n *Node) Inode() uint64 { return n.ns.inode }

// Command prepares a program that will run inside the node. It is killed when ctx or the world
// ends.
func (n *Node) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(n.ctx, cancel)
	context.AfterFunc(ctx, func() { stop() })

	path, missing := exec.LookPath(name)
	if missing != nil {
		path = name
	}
	cmd := exec.CommandContext(
		ctx,
		"nsenter",
		append([]string{"--net=" + n.Path(), "--", path}, args...)...)
	if missing != nil {
		cmd.Err = missing
	}
	return cmd
}

// Run runs a program inside the node and returns its output. An error ends the test.
func (n *Node) Run(name string, args ...string) string {
	n.t.Helper()
	return n.run("", name, args...)
}

// NFT loads a script with the nft program. An error ends the test.
func (n *Node) NFT(script string) string {
	n.t.Helper()
	return n.run(script, "nft", "-f", "-")
}

func (n *Node) run(stdin, name string, args ...string) string {
	n.t.Helper()
	cmd := n.Command(n.ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		n.t.Fatalf("%s: %s %s: %v\n%s%s", n.Name, name, strings.Join(args, " "), err, out, stdin)
	}
	return string(out)
}

// Sysctl sets a setting of the node, such as "net.ipv4.ip_forward".
func (n *Node) Sysctl(name, value string) {
	n.t.Helper()
	if err := n.Do(func() error { return setSysctl(name, value) }); err != nil {
		n.t.Fatalf("%s: %v", n.Name, err)
	}
}

// setSysctl sets a setting of the calling thread's namespace.
func setSysctl(name, value string) error {
	path := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("lab: setting %s to %s: %w", name, value, err)
	}
	return nil
}

// setSysctlIfPresent is setSysctl for settings that some kernels lack.
func setSysctlIfPresent(name, value string) error {
	if err := setSysctl(name, value); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Dial connects from the node. network and to are as in net.Dial, with an IP address in to. From
// and FromPort set the source, Through the interface.
func (n *Node) Dial(ctx context.Context, network, to string, opts ...Option) (net.Conn, error) {
	o := options(opts)
	target, err := netip.ParseAddrPort(to)
	if err != nil {
		return nil, fmt.Errorf("lab: dialling from %s: %w", n.Name, err)
	}
	d := net.Dialer{
		Timeout: o.timeout,
		Control: func(network, address string, c syscall.RawConn) error {
			if err := freebind(network, address, c); err != nil {
				return err
			}
			var err error
			fail := c.Control(func(fd uintptr) { err = setDevice(int(fd), o.device) })
			return errors.Join(fail, err)
		},
	}
	if local := o.local(target.Addr()); local.IsValid() {
		if strings.HasPrefix(network, "udp") {
			d.LocalAddr = net.UDPAddrFromAddrPort(local)
		} else {
			d.LocalAddr = net.TCPAddrFromAddrPort(local)
		}
	}
	var c net.Conn
	err = n.Do(func() error {
		c, err = d.DialContext(ctx, network, to)
		return err
	})
	return c, err
}

// Listen listens inside the node, as net.Listen does, until the world ends.
func (n *Node) Listen(network, address string) (net.Listener, error) {
	var l net.Listener
	lc := net.ListenConfig{Control: freebind}
	err := n.Do(func() error {
		var err error
		l, err = lc.Listen(n.ctx, network, address)
		return err
	})
	if err == nil {
		n.onClose(func() { _ = l.Close() })
	}
	return l, err
}

// ListenPacket listens for datagrams inside the node, as net.ListenPacket does, until the world
// ends.
func (n *Node) ListenPacket(network, address string) (net.PacketConn, error) {
	var c net.PacketConn
	lc := net.ListenConfig{Control: freebind}
	err := n.Do(func() error {
		var err error
		c, err = lc.ListenPacket(n.ctx, network, address)
		return err
	})
	if err == nil {
		n.onClose(func() { _ = c.Close() })
	}
	return c, err
}

// freebind lets a socket bind to any address. Without it, IPv6 refuses addresses that are in a
// local route (Node.AddSources) but on no interface.
func freebind(network, _ string, c syscall.RawConn) error {
	var err error
	six := strings.HasSuffix(network, "6")
	fail := c.Control(func(fd uintptr) { err = setFreebind(int(fd), six) })
	if fail != nil {
		return fail
	}
	return err
}

func setFreebind(fd int, six bool) error {
	if six {
		return os.NewSyscallError(
			"setsockopt IPV6_FREEBIND",
			unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_FREEBIND, 1),
		)
	}
	return os.NewSyscallError(
		"setsockopt IP_FREEBIND",
		unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1),
	)
}

func hostPort(port uint16) string { return ":" + strconv.Itoa(int(port)) }
