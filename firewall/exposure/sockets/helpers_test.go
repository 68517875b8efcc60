package sockets

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"golang.org/x/sys/unix"
)

// socket is one to be made by a test.
type socket struct {
	Protocol firewall.Protocol
	Address  string // "192.0.2.1:80", "[::ffff:192.0.2.1]:80"; of IPv6 by the form of the address
	V6Only   bool
	Device   string // SO_BINDTODEVICE
	Shared   bool   // SO_REUSEPORT
	Peer     string // to connect to, for UDP
	Zone     string // interface of a link-local address
}

// open makes the socket in the calling thread's namespace; TCP ones listen.
func (s socket) open() (fd int, err error) {
	at := netip.MustParseAddrPort(s.Address)
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	if at.Addr().Is6() {
		family = unix.AF_INET6
	}
	if s.Protocol == firewall.UDP {
		kind = unix.SOCK_DGRAM
	}
	if fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC, int(s.Protocol)); err != nil {
		return -1, fmt.Errorf("%+v: %w", s, err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
			err = fmt.Errorf("%+v: %w", s, err)
		}
	}()
	if family == unix.AF_INET6 {
		only := 0
		if s.V6Only {
			only = 1
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return -1, err
		}
	}
	if s.Device != "" {
		if err := unix.BindToDevice(fd, s.Device); err != nil {
			return -1, err
		}
	}
	if s.Shared {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return -1, err
		}
	}
	if err := unix.Bind(fd, sockaddr(at, s.Zone)); err != nil {
		return -1, err
	}
	if s.Peer != "" {
		return fd, unix.Connect(fd, sockaddr(netip.MustParseAddrPort(s.Peer), s.Zone))
	}
	if s.Protocol == firewall.TCP {
		return fd, unix.Listen(fd, 16)
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort, zone string) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{
		Port:   int(a.Port()),
		Addr:   a.Addr().As16(),
		ZoneId: uint32(indexOf(zone)),
	}
}

// indexOf is the index of an interface of the calling thread's namespace; 0 for "" and none.
func indexOf(name string) int {
	if name == "" {
		return 0
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer func() { _ = unix.Close(fd) }()
	ifr, err := unix.NewIfreq(name)
	if err != nil || unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr) != nil {
		return 0
	}
	return int(ifr.Uint32())
}

// open makes sockets for as long as the test runs.
func open(t testing.TB, list ...socket) {
	t.Helper()
	for _, s := range list {
		fd, err := s.open()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
	}
}

// isolate moves the test into a fresh namespace with loopback up.
func isolate(t testing.TB) {
	t.Helper()
	backendtest.Isolate(t)
	ip(t, "link set lo up")
}

func ip(t testing.TB, commands ...string) {
	t.Helper()
	for _, c := range commands {
		backendtest.Program(t, "", "ip", strings.Fields(c)...)
	}
}

// read is a Snapshot of the real host.
func read(t testing.TB) Snapshot {
	t.Helper()
	s, err := Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lines are listeners as a test compares them: protocol, address, device and family, without what
// differs from run to run.
func lines(list []Listener) []string {
	out := []string{}
	for _, l := range list {
		s := fmt.Sprintf("%s %s", l.Protocol, netip.AddrPortFrom(l.Address, l.Port))
		if l.V6Only {
			s += " v6only"
		}
		if l.Interface != "" {
			s += " on " + l.Interface
		}
		if l.Sockets != 1 {
			s += fmt.Sprintf(" x%d", l.Sockets)
		}
		out = append(out, s)
	}
	return out
}

// job is what another process of the test is to do.
type job struct {
	Hold []socket // make these and keep them until standard input ends
	Read bool     // print a Snapshot
}

// jobVariable carries a job to the test's own program.
const jobVariable = "PORTGRAVE_SOCKETS_TEST_JOB"

func TestMain(m *testing.M) {
	if encoded := os.Getenv(jobVariable); encoded != "" {
		if err := work(encoded); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// result is a Snapshot on its way from another process.
type result struct {
	Listeners []Listener
	Unread    []string
	Denied    bool // some of Unread is firewall.ErrPermission
}

func work(encoded string) error {
	var j job
	if err := json.Unmarshal([]byte(encoded), &j); err != nil {
		return err
	}
	for _, s := range j.Hold {
		if _, err := s.open(); err != nil {
			return err
		}
	}
	if j.Read {
		s, err := Read(context.Background())
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(plain(s))
	}
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until the test lets go, or dies
	return nil
}

// link is where a symbolic link leads.
func link(t testing.TB, name string) string {
	t.Helper()
	to, err := os.Readlink(name)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// start starts the test's program on a job, from the calling thread and so in its namespace, and
// waits until it is ready. It ends with the test.
func start(t testing.TB, j job, attributes syscall.SysProcAttr) (pid int) {
	t.Helper()
	cmd := command(t, j, attributes)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the process said %q, %v", line, err)
	}
	return cmd.Process.Pid
}

func command(t testing.TB, j job, attributes syscall.SysProcAttr) *exec.Cmd {
	t.Helper()
	encoded, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), jobVariable+"="+string(encoded))
	cmd.SysProcAttr = &attributes
	cmd.Stderr = os.Stderr
	return cmd
}
