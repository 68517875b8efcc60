package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// consecutiveAddresses returns n addresses from first on.
func consecutiveAddresses(first string, n int) []netip.Addr {
	out := make([]netip.Addr, n)
	a := netip.MustParseAddr(first)
	for i := range out {
		out[i] = a
		a = a.Next()
	}
	return out
}

// machineState returns the state of the machine's own namespace, without counters, which change by
// themselves. It only reads.
func machineState(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, args := range [][]string{
		{"ip", "-j", "link"}, {"ip", "-j", "address"}, {"ip", "-j", "route", "show", "table", "all"},
		{"nft", "-s", "list", "ruleset"}, {"sysctl", "net.ipv4.ip_forward", "net.ipv4.tcp_syncookies", "net.ipv6.conf.all.forwarding"},
	} {
		out, err := exec.Command(args[0], args[1:]...).Output()
		if err != nil && args[0] != "sysctl" {
			t.Fatalf("%v: %v", args, err)
		}
		all.Write(out)
	}
	return all.String()
}

// leftovers lists what still holds one of the namespaces: mounts, and this process's threads,
// namespace descriptors and sockets.
func leftovers(t *testing.T, inodes map[uint64]string) []string {
	t.Helper()
	var found []string
	tasks, _ := filepath.Glob("/proc/self/task/*/ns/net")
	for _, p := range tasks {
		var st unix.Stat_t
		if unix.Stat(p, &st) == nil && inodes[st.Ino] != "" {
			found = append(found, "thread "+p+" in "+inodes[st.Ino])
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for inode, name := range inodes {
		if bytes.Contains(mounts, fmt.Appendf(nil, "net:[%d]", inode)) {
			found = append(found, "mount of "+name)
		}
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		n := 0
		for _, c := range fd.Name() {
			n = n*10 + int(c-'0')
		}
		target, _ := os.Readlink("/proc/self/fd/" + fd.Name())
		var st unix.Stat_t
		switch {
		case strings.HasPrefix(target, "net:["):
			if unix.Fstat(n, &st) != nil {
				continue
			}
		case strings.HasPrefix(target, "socket:["):
			ns, err := unix.IoctlRetInt(n, unix.SIOCGSKNS)
			if err != nil {
				continue
			}
			err = unix.Fstat(ns, &st)
			_ = unix.Close(ns)
			if err != nil {
				continue
			}
		}
		if inodes[st.Ino] != "" {
			found = append(found, "descriptor "+fd.Name()+" ("+target+") in "+inodes[st.Ino])
		}
	}
	return found
}

// TestLeavesNothing uses everything in a world, and then looks for anything left over.
func TestLeavesNothing(t *testing.T) {
	RequireRoot(t)
	before := machineState(t)
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	inodes := map[uint64]string{}
	var program *exec.Cmd
	err = Run(io.Discard, func(r TB) {
		w := New(r)
		for _, n := range w.nodes() {
			inodes[n.Inode()] = n.Name
		}
		server, pusher := w.Host.ListenTCP(9090), w.Host.ListenPusher(9091)
		w.Host.ListenUDP(9090)
		w.Host.ListenSCTP(9090)
		w.Publish("tcp", 8080, 80)
		w.Office.Open(server, w.Host.At(9090, true))
		w.Office.Open(pusher, w.Host.At(9091, false))
		w.Stream(w.Internet, consecutiveAddresses("8.8.0.0", 10), w.Host.At(9090, false))
		w.Probe(w.Internet, consecutiveAddresses("8.9.0.0", 10), w.Host.At(9090, false))
		program = w.Host.Command(context.Background(), "sleep", "1000")
		if err := program.Start(); err != nil {
			r.Fatalf("%v", err)
		}
		if found := leftovers(t, inodes); len(found) < 5 {
			r.Errorf("the control found only %v", found)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Wait(); err == nil {
		t.Error("a program outlived its world")
	}
	if !waitUntil(2*time.Second, func() bool { return len(leftovers(t, inodes)) == 0 }) {
		t.Errorf("left behind: %v", leftovers(t, inodes))
	}
	if now, _ := os.Readlink("/proc/self/ns/net"); now != own {
		t.Errorf("the process is in %s, and was in %s", now, own)
	}
	if after := machineState(t); after != before {
		t.Errorf("the machine's own network changed:\n%s\n---\n%s", before, after)
	}
}

// TestThreads enters and leaves nodes from many goroutines, and checks where each is.
func TestThreads(t *testing.T) {
	RequireRoot(t)
	w := New(t)
	own, err := threadInode()
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for i := range 50 {
				n := w.nodes()[i%5]
				err := n.Do(func() error {
					if at, err := threadInode(); err != nil || at != n.Inode() {
						t.Errorf("in %d instead of %d: %v", at, n.Inode(), err)
					}
					// From inside one node into another, and back.
					if err := w.Host.Do(func() error { return nil }); err != nil {
						return err
					}
					if at, err := threadInode(); err != nil || at != n.Inode() {
						t.Errorf("after the other node in %d instead of %d: %v", at, n.Inode(), err)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				if at, err := threadInode(); err != nil || at != own {
					t.Errorf("outside in %d instead of %d: %v", at, own, err)
				}
			}
		})
	}
	all.Wait()

	w.Close()
	if err := w.Host.Do(func() error { return nil }); !errors.Is(err, errClosed) {
		t.Errorf("a closed world answers %v", err)
	}
	if err := w.Host.Command(context.Background(), "true").Run(); err == nil {
		t.Error("a program ran in a closed world")
	}
}

// TestWrongNamespace gives a node a descriptor of another namespace, as if its own was closed and
// reused. Nothing may be done there.
func TestWrongNamespace(t *testing.T) {
	RequireRoot(t)
	a, err := newNamespace()
	if err != nil {
		t.Fatal(err)
	}
	b, err := newNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.close)
	t.Cleanup(b.close)
	a.file, b.file = b.file, a.file
	if err := a.do(func() error { t.Error("it ran in the wrong namespace"); return nil }); err == nil {
		t.Error("no error")
	}
}

func TestRunReports(t *testing.T) {
	var log bytes.Buffer
	var order []string
	err := Run(&log, func(r TB) {
		r.Cleanup(func() { order = append(order, "first") })
		r.Cleanup(func() { order = append(order, "second"); r.Fatalf("late") })
		r.Logf("hello %d", 1)
		r.Fatalf("enough %d", 2)
		order = append(order, "never")
	})
	if err == nil || err.Error() != "enough 2" {
		t.Errorf("error %v", err)
	}
	if got := strings.Join(order, " "); got != "second first" {
		t.Errorf("clean-ups ran: %s", got)
	}
	if got := log.String(); got != "hello 1\nenough 2\nlate\n" {
		t.Errorf("log %q", got)
	}
}

// TestFatalInside calls Fatalf from inside a node, which must end the test and free the thread.
func TestFatalInside(t *testing.T) {
	RequireRoot(t)
	err := Run(io.Discard, func(r TB) {
		w := New(r)
		_ = w.Host.Do(func() error { r.Fatalf("inside"); return nil })
		t.Error("it went on")
	})
	if err == nil || err.Error() != "inside" {
		t.Errorf("error %v", err)
	}
}

func TestAddresses(t *testing.T) {
	RequireRoot(t)
	w := New(t)
	server := w.Host.ListenTCP(9090)
	udp := w.Host.ListenUDP(9090)
	for _, name := range []string{"eth0", "eth1", "docker0"} {
		l := w.Host.Link(name)
		for _, a := range append(l.V4, l.V6...) {
			for _, from := range []*Node{w.Office, w.Container} {
				to := netip.AddrPortFrom(a, 9090)
				if got := from.Connect(to); got != Open {
					t.Errorf("%s to %v: %v", from.Name, to, got)
				}
				// UDP must answer from the address it was sent to, or the connected socket ignores
				// it.
				if got := from.Connect(to, Over(UDP)); got != Open {
					t.Errorf("%s to %v over UDP: %v", from.Name, to, got)
				}
			}
		}
	}
	for _, n := range w.nodes() {
		// IPv6 works from the first packet: every interface has a link-local address that is not
		// tentative.
		if out := n.Run("ip", "-6", "address"); strings.Contains(out, "tentative") {
			t.Errorf("%s waits for duplicate address detection: %s", n.Name, out)
		}
	}
	if len(w.Host.Link("eth0").V4) != 2 || server.Accepted() == 0 || udp.Count() == 0 {
		t.Error("the host lacks something")
	}
	w.Host.AddAddress("eth0", netip.MustParsePrefix("198.51.100.50/24"))
	if got := w.Internet.Connect(netip.MustParseAddrPort("198.51.100.50:9090")); got != Open {
		t.Errorf("to an address that was added: %v", got)
	}
	for _, p := range []string{
		"10.20.66.0/24", "100.64.0.0/10", "fd00:20:0:5::/64", "2001:db8:bad::/48",
	} {
		prefix := netip.MustParsePrefix(p)
		w.AddSources(w.Office, prefix)
		source := prefix.Addr().Next()
		s := w.Office.Open(server, w.Host.At(9090, source.Is6()), From(source), FromPort(4444))
		if s.Client != netip.AddrPortFrom(source, 4444) || !s.Alive() {
			t.Errorf("from %v: %v", source, s.Client)
		}
	}
	if got := w.Office.Connect(w.Internet.At(1, true)); got != Refused {
		t.Errorf("office to internet through the host: %v", got)
	}
	if got := w.Internet.Connect(w.Office.At(1, false)); got != Refused {
		t.Errorf("internet to office through the host: %v", got)
	}
}
