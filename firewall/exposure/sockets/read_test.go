package sockets

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

const tcp, udp = firewall.TCP, firewall.UDP

// Sockets of every form are found, with what decides what they accept; those that hear one peer
// only are not.
func TestForms(t *testing.T) {
	isolate(t)
	ip(
		t,
		"link add v0 type veth peer name v1",
		"link set v0 up",
		"link set v1 up",
		"address add 192.0.2.1/24 dev v0",
		"address add fe80::1/64 dev v0 nodad",
		"address add 2001:db8::1/64 dev v0 nodad",
	)
	open(
		t,
		socket{Protocol: tcp, Address: "0.0.0.0:1"},
		socket{Protocol: tcp, Address: "[::]:2"},
		socket{Protocol: tcp, Address: "[::]:3", V6Only: true},
		socket{Protocol: tcp, Address: "192.0.2.1:4"},
		socket{Protocol: tcp, Address: "[::ffff:192.0.2.1]:5"},
		socket{Protocol: tcp, Address: "[::ffff:0.0.0.0]:6"},
		socket{Protocol: tcp, Address: "127.0.0.1:7"},
		socket{Protocol: tcp, Address: "[::1]:8"},
		socket{Protocol: tcp, Address: "0.0.0.0:9", Device: "v0"},
		socket{Protocol: tcp, Address: "0.0.0.0:9", Device: "lo"},
		socket{Protocol: tcp, Address: "[fe80::1]:10", Zone: "v0"},
		socket{Protocol: tcp, Address: "0.0.0.0:11", Shared: true},
		socket{Protocol: tcp, Address: "0.0.0.0:11", Shared: true},
		socket{
			Protocol: tcp,
			Address:  "0.0.0.0:12",
		},
		socket{Protocol: tcp, Address: "[::]:12", V6Only: true},
		socket{Protocol: udp, Address: "0.0.0.0:1"},
		socket{Protocol: udp, Address: "[::]:2"},
		socket{Protocol: udp, Address: "[::]:3", V6Only: true},
		socket{Protocol: udp, Address: "224.0.0.251:5353"},
		socket{Protocol: udp, Address: "[ff02::fb]:5353", Zone: "v0"},
		socket{Protocol: udp, Address: "192.0.2.1:4", Peer: "192.0.2.9:53"},
		socket{Protocol: udp, Address: "[::]:5", Peer: "[2001:db8::9]:53"},
		socket{Protocol: udp, Address: "192.0.2.1:6", Device: "v1"},
	)
	// bound, but doesn't listen
	unlisted, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(unlisted) }()
	if err := unix.Bind(unlisted, &unix.SockaddrInet4{Port: 99}); err != nil {
		t.Fatal(err)
	}
	got := read(t).Current()
	want := []string{
		"tcp 0.0.0.0:1", "tcp [::]:2", "tcp [::]:3 v6only", "tcp 192.0.2.1:4", "tcp 192.0.2.1:5", "tcp 0.0.0.0:6", "tcp 127.0.0.1:7", "tcp [::1]:8",
		"tcp 0.0.0.0:9 on lo", "tcp 0.0.0.0:9 on v0", "tcp [fe80::1]:10 on v0", "tcp 0.0.0.0:11 x2", "tcp 0.0.0.0:12", "tcp [::]:12 v6only",
		"udp 0.0.0.0:1", "udp [::]:2", "udp [::]:3 v6only", "udp 192.0.2.1:6 on v1", "udp 224.0.0.251:5353", "udp [ff02::fb]:5353 on v0",
	}
	gotLines := lines(got)
	for i, l := range got { // what a socket on one address says of IPv6 alone means nothing
		if !l.Address.IsUnspecified() {
			gotLines[i] = strings.Replace(gotLines[i], " v6only", "", 1)
		}
	}
	if diff := cmp.Diff(want, gotLines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range got {
		if len(l.Owners) != 1 || l.Owners[0].PID != os.Getpid() || !slices.Equal(l.Owners[0].PIDs, []int{os.Getpid()}) || l.Owners[0].Executable != executable ||
			l.Unowned != "" ||
			l.User != "root" ||
			!l.Namespace.Current ||
			l.Namespace.Host {
			t.Errorf("%+v", l)
		}
		if want := l.Port == 5353; l.Multicast() != want {
			t.Errorf("multicast %v: %+v", !want, l)
		}
		if want := l.Port == 7 || l.Port == 8 || l.Interface == "lo"; l.Loopback() != want {
			t.Errorf("loopback %v: %+v", !want, l)
		}
	}
}

// Go's own listeners, which are MPTCP where the kernel has it: the TCP socket that does the work
// has the inode that the process holds.
func TestMultipathTCP(t *testing.T) {
	isolate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := read(t).Current()
	if len(got) != 1 || got[0].Unowned != "" || len(got[0].Owners) != 1 ||
		got[0].Owners[0].PID != os.Getpid() {
		t.Errorf("%+v", got)
	}
}

// An interface that goes away leaves its sockets bound to nothing that has a name.
func TestInterfaceThatIsGone(t *testing.T) {
	isolate(t)
	ip(t, "link add v0 index 77 type veth peer name v1")
	open(t, socket{Protocol: tcp, Address: "0.0.0.0:1", Device: "v0"})
	ip(t, "link del v0")
	if got := lines(read(t).Current()); !slices.Equal(got, []string{"tcp 0.0.0.0:1 on index 77"}) {
		t.Errorf("got %v", got)
	}
}

// One address and port shared by three processes, one of which has two sockets there.
func TestSharedPort(t *testing.T) {
	isolate(t)
	s := socket{Protocol: tcp, Address: "0.0.0.0:80", Shared: true}
	first := start(t, job{Hold: []socket{s, s}}, syscall.SysProcAttr{})
	second := start(t, job{Hold: []socket{s}}, syscall.SysProcAttr{})
	open(t, s)
	got := read(t).Current()
	if len(got) != 1 || got[0].Sockets != 4 || got[0].Unowned != "" {
		t.Fatalf("%+v", got)
	}
	var pids []int
	for _, o := range got[0].Owners {
		pids = append(pids, o.PIDs...)
		if o.PID != o.PIDs[0] {
			t.Errorf("%+v", o)
		}
	}
	slices.Sort(pids)
	if want := slices.Sorted(slices.Values([]int{os.Getpid(), first, second})); !slices.Equal(
		pids,
		want,
	) {
		t.Errorf("held by %v, want %v", pids, want)
	}
}

// Namespaces of other processes, of threads, of descriptors and of mounts: each is found once, with
// its sockets and their owner, and the reader stays where it was.
func TestOtherNamespaces(t *testing.T) {
	isolate(t)
	here := link(t, "/proc/thread-self/ns/net")
	pid := start(
		t,
		job{
			Hold: []socket{
				{Protocol: tcp, Address: "0.0.0.0:1001"},
				{Protocol: udp, Address: "[::]:1002"},
			},
		},
		syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET},
	)
	at := map[string]uint16{link(t, fmt.Sprintf("/proc/%d/ns/net", pid)): 1001}
	// A thread of this process elsewhere; it makes a socket there.
	release := make(chan struct{})
	defer close(release)
	elsewhere(t, socket{Protocol: tcp, Address: "0.0.0.0:1003"}, func() {
		name, _ := os.Readlink("/proc/thread-self/ns/net")
		at[name] = 1003
	}, func() { <-release })
	// A descriptor alone, as a daemon keeps it that makes namespaces for others.
	elsewhere(t, socket{Protocol: tcp, Address: "0.0.0.0:1004"}, func() {
		name, _ := os.Readlink("/proc/thread-self/ns/net")
		at[name] = 1004
		if f, err := os.Open("/proc/thread-self/ns/net"); err == nil {
			t.Cleanup(func() { _ = f.Close() })
		}
	}, func() {})
	if len(at) != 3 {
		t.Fatalf("namespaces %v", at)
	}
	// Other programs may listen in namespaces of theirs, on these ports too.
	var s Snapshot
	byPort := map[uint16]Listener{}
	for range 100 { // the thread that was with the descriptor ends when it likes
		s = read(t)
		clear(byPort)
		for _, l := range s.Listeners {
			if at[fmt.Sprintf("net:[%d]", l.Namespace.Inode)] != 0 {
				byPort[l.Port] = l
			}
		}
		if byPort[1004].Namespace.Processes == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if link(t, "/proc/thread-self/ns/net") != here {
		t.Fatal("the reader was moved")
	}
	if len(byPort) != 4 {
		t.Errorf("%+v", byPort)
	}
	for port, want := range map[uint16]struct {
		owner, processes int
		namespace        uint16 // by the first port there
	}{1001: {pid, 1, 1001}, 1002: {pid, 1, 1001}, 1003: {os.Getpid(), 1, 1003}, 1004: {os.Getpid(), 0, 1004}} {
		l, found := byPort[port]
		if !found || len(l.Owners) != 1 || l.Owners[0].PID != want.owner || l.Unowned != "" ||
			l.Namespace.Processes != want.processes ||
			l.Namespace.Current ||
			l.Namespace.Host ||
			at[fmt.Sprintf("net:[%d]", l.Namespace.Inode)] != want.namespace {
			t.Errorf("port %d: %v, %+v; want %+v", port, found, l, want)
		}
	}
	var inodes []uint64
	for _, n := range s.Namespaces {
		inodes = append(inodes, n.Inode)
	}
	if !s.Namespaces[0].Current ||
		len(slices.Compact(slices.Sorted(slices.Values(inodes)))) != len(inodes) {
		t.Errorf("namespaces %+v", s.Namespaces)
	}
}

// elsewhere makes a namespace and a socket in it on a thread of its own and runs meanwhile there
// before it returns. Then the thread runs after, and ends.
func elsewhere(t *testing.T, s socket, meanwhile, after func()) {
	t.Helper()
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with it
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			var fd int
			if fd, err = s.open(); err == nil {
				t.Cleanup(func() { _ = unix.Close(fd) })
			}
		}
		if err == nil {
			meanwhile()
		}
		ready <- err
		after()
	}()
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
}

// A namespace that only a mount keeps, under a name, with a socket that a process elsewhere holds.
func TestMountedNamespace(t *testing.T) {
	isolate(t)
	if err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("portgrave-test-%d", os.Getpid())
	dir := t.TempDir()
	at := dir + "/" + name
	if err := os.WriteFile(at, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var there *os.File
	elsewhere(
		t,
		socket{Protocol: udp, Address: "0.0.0.0:1004"},
		func() { there, _ = os.Open("/proc/thread-self/ns/net") },
		func() {},
	)
	// The mount is this thread's alone.
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", there.Fd()), at, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, 0) })
	_ = there.Close()
	find := func() (Snapshot, int) {
		s := read(t)
		return s, slices.IndexFunc(
			s.Listeners,
			func(l Listener) bool { return l.Namespace.Name == name },
		)
	}
	s, i := find()
	for range 100 { // the thread that was there ends when it likes
		if i >= 0 && s.Listeners[i].Namespace.Processes == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
		s, i = find()
	}
	if i < 0 || s.Listeners[i].Port != 1004 || s.Listeners[i].Namespace.Processes != 0 ||
		s.Listeners[i].Namespace.String() != name ||
		len(s.Listeners[i].Owners) != 1 ||
		s.Listeners[i].Owners[0].PID != os.Getpid() {
		t.Errorf("%d, %+v", i, s.Listeners)
	}
}

// A user without rights sees the sockets of his namespace, his own processes behind them, and is
// told what he can't see.
func TestWithoutRights(t *testing.T) {
	isolate(t)
	open(t, socket{Protocol: tcp, Address: "0.0.0.0:80"})
	nobody := syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd := command(
		t,
		job{Read: true, Hold: []socket{{Protocol: udp, Address: "0.0.0.0:5000"}}},
		nobody,
	)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var got result
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	got.Listeners = slices.DeleteFunc(
		got.Listeners,
		func(l Listener) bool { return !l.Namespace.Current },
	)
	if diff := cmp.Diff([]string{"tcp 0.0.0.0:80", "udp 0.0.0.0:5000"}, lines(got.Listeners)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	mine, others := got.Listeners[1], got.Listeners[0]
	if len(mine.Owners) != 1 || mine.Unowned != "" || mine.User != mine.Owners[0].User {
		t.Errorf("one's own: %+v", mine)
	}
	if len(others.Owners) != 0 || !strings.Contains(others.Unowned, "CAP_SYS_PTRACE") ||
		others.User != "root" {
		t.Errorf("another's: %+v", others)
	}
	if !got.Denied {
		t.Errorf("nothing is said of missing rights: %q", got.Unread)
	}
}

func plain(s Snapshot) result {
	r := result{Listeners: s.Listeners}
	for _, err := range s.Unread {
		r.Unread = append(r.Unread, err.Error())
		r.Denied = r.Denied || errors.Is(err, firewall.ErrPermission)
	}
	return r
}
