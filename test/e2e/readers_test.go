package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/test/lab"
	"golang.org/x/sys/unix"
)

// Who may read from the control socket costs the daemon little, however many connections he opens
// and whatever he announces: its memory and its descriptors are for repairs.

const (
	readerUser = 61_001 // may connect, may not write
	manyPeers  = 1000
	// mostReaders is how many connections of readers are served at once.
	mostReaders = 64
	// mostMemory is what a thousand readers may cost.
	mostMemory = 64 << 20
	// descriptors is the daemon's limit in these tests: what a login shell has on most hosts.
	descriptors = 1024
	// repairTime is how long our table may be away, whatever readers do.
	repairTime = time.Second
)

const guarded = `version: 1
services: [{name: metrics, port: 9090, allow: [10.0.0.0/8]}]
daemon: {protect: never}
`

// limitedDaemon starts a daemon with few descriptors, and with address space for one forgetful
// allocation but not for many. Everybody may use its socket.
func limitedDaemon(t *testing.T) *installation {
	t.Helper()
	lab.RequireRoot(t)
	w := lab.New(t)
	i := install(t, w, guarded)
	limited := filepath.Join(i.dir, "limited")
	script := fmt.Sprintf(
		"#!/bin/sh\nulimit -n %d\nulimit -v 6000000\nexec %s \"$@\"\n",
		descriptors,
		i.program,
	)
	if err := os.WriteFile(limited, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	i.program = limited
	i.start()
	if err := errors.Join(os.Chmod(i.socket(), 0o666), os.Chmod(i.runDir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return i
}

func (i *installation) socket() string { return filepath.Join(i.runDir, "control.sock") }

// pid is the daemon's, as it says itself.
func (i *installation) pid() int {
	i.t.Helper()
	var s struct{ Daemon struct{ PID int } }
	if err := json.Unmarshal([]byte(i.run("status", "-o", "json")), &s); err != nil ||
		s.Daemon.PID < 2 {
		i.t.Fatalf("the daemon's process is %d (%v)", s.Daemon.PID, err)
	}
	return s.Daemon.PID
}

// peers connects n times as a user, and returns the connections, which the test's end closes.
func (i *installation) peers(uid, n int) []net.Conn {
	i.t.Helper()
	var all []net.Conn
	err := asUser(uid, func() error {
		for range n {
			c, err := net.Dial("unix", i.socket())
			if err != nil {
				return err
			}
			i.t.Cleanup(func() { _ = c.Close() })
			all = append(all, c)
		}
		return nil
	})
	if err != nil {
		i.t.Fatalf("connection %d: %v", len(all)+1, err)
	}
	return all
}

// asUser runs f on a thread whose effective user is another one. A socket's peer is who connects
// it.
func asUser(uid int, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const keep = ^uintptr(0)
	// The system call itself, which is for this thread; package syscall changes all threads.
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, keep, uintptr(uid), keep); e != 0 {
		return e
	}
	err := f()
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, keep, 0, keep); e != 0 {
		return errors.Join(err, e)
	}
	return err
}

// answered sends a request on each connection, and then counts the status of the answers; "" is a
// connection that ended without one.
func answered(conns []net.Conn, request string) map[string]int {
	for _, c := range conns {
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		// A connection that was turned away may be over before this is written; its answer is
		// there.
		_, _ = c.Write([]byte(request))
	}
	count := map[string]int{}
	for _, c := range conns {
		line, _ := bufio.NewReader(c).ReadString('\n')
		_, status, _ := strings.Cut(strings.TrimSpace(line), " ")
		count[status]++
	}
	return count
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		_ = c.Close()
	}
}

// memory is a field of /proc/PID/status (proc(5)) in bytes; 0 if the process is gone.
func memory(pid int, field string) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if value, found := strings.CutPrefix(line, field+":"); found {
			kilobytes, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			return kilobytes << 10
		}
	}
	return 0
}

// forgetPeak has VmHWM begin anew at what is in use now.
func forgetPeak(t *testing.T, pid int) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

// repairs takes our table away and reports how long it stays away: repairTime at most, or it fails.
func (i *installation) repairs() time.Duration {
	i.t.Helper()
	i.w.Host.NFT("delete table inet portgrave\n")
	began := time.Now()
	for {
		ctx, stop := context.WithTimeout(i.t.Context(), 10*time.Second)
		out, _ := i.w.Host.Command(ctx, "nft", "list", "table", "inet", "portgrave").
			CombinedOutput()
		stop()
		took := time.Since(began)
		if bytes.Contains(out, []byte("10.0.0.0/8")) {
			if took > repairTime {
				i.t.Errorf("the table was away for %v", took)
			}
			return took
		}
		if took > 10*repairTime {
			i.t.Errorf("the table stays away: %s", out)
			return took
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// rootGetsThrough has root read and write, which readers must not be able to keep him from.
func (i *installation) rootGetsThrough(port int) {
	i.t.Helper()
	began := time.Now()
	i.run("open", strconv.Itoa(port), "--from", "203.0.113.7", "--for", "1h", "--force")
	i.run("status")
	i.t.Logf(
		"root opens a port and asks for the status in %v",
		time.Since(began).Round(time.Millisecond),
	)
}

// eventuallyServed waits until a reader is served: who has gone makes room.
func (i *installation) eventuallyServed() {
	i.t.Helper()
	var count map[string]int
	for range 200 {
		conns := i.peers(readerUser, 1)
		count = answered(conns, "GET /v1/status HTTP/1.1\r\nHost: portgrave\r\n\r\n")
		closeAll(conns)
		if count["200 OK"] == 1 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	i.t.Errorf("no reader is served after the others have gone: %v", count)
}

// TestReadersCostLittle: a thousand connections that announce large requests, or that follow
// events, take at most mostMemory. Some are served and the others are told to come again.
func TestReadersCostLittle(t *testing.T) {
	i := limitedDaemon(t)
	pid := i.pid()
	before := memory(pid, "VmRSS")
	for _, c := range []struct{ what, request, served string }{
		{"announce 256 MiB", "POST /v1/plan HTTP/1.1\r\nHost: portgrave\r\n" +
			"Content-Type: application/json\r\nContent-Length: 268435456\r\n\r\n{", "400 Bad Request"},
		{"have the policy read", "POST /v1/plan HTTP/1.1\r\nHost: portgrave\r\nContent-Length: 0\r\n\r\n", "200 OK"},
		{"follow events", "GET /v1/events?follow=1 HTTP/1.1\r\nHost: portgrave\r\n\r\n", "200 OK"},
	} {
		t.Run(c.what, func(t *testing.T) {
			forgetPeak(t, pid)
			conns := i.peers(readerUser, manyPeers)
			count := answered(conns, c.request)
			peak := memory(pid, "VmHWM")
			t.Logf("answers: %v; memory %d → %d KiB at most", count, before>>10, peak>>10)
			if peak == 0 || peak-before > mostMemory {
				t.Errorf("%d readers cost %d MiB", manyPeers, (peak-before)>>20)
			}
			if served, told := count[c.served], count["503 Service Unavailable"]; served != mostReaders ||
				told == 0 {
				t.Errorf("%d readers were served, and %d told to come again", served, told)
			}
			t.Logf("repaired within %v", i.repairs().Round(time.Millisecond))
			i.rootGetsThrough(9090)
			closeAll(conns)
			i.eventuallyServed()
		})
	}
}

// TestReadersTakeNoDescriptors: readers who connect and say nothing don't use up the daemon's
// descriptors, however many they are; repairs and root need some.
func TestReadersTakeNoDescriptors(t *testing.T) {
	i := limitedDaemon(t)
	pid := i.pid()
	conns := i.peers(readerUser, descriptors+descriptors/2)
	took := i.repairs()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf(
		"%d idle readers, %d descriptors in use, repaired within %v",
		len(conns),
		len(entries),
		took.Round(time.Millisecond),
	)
	if len(entries) > descriptors/2 {
		t.Errorf("%d of %d descriptors are in use", len(entries), descriptors)
	}
	i.rootGetsThrough(9090)
	closeAll(conns)
	i.eventuallyServed()
}

// TestRootIsBounded: not even root's own connections take all descriptors, so that a script gone
// wild stops no repair.
func TestRootIsBounded(t *testing.T) {
	i := limitedDaemon(t)
	conns := i.peers(0, descriptors+descriptors/2)
	count := answered(conns[:400], "GET /v1/events?follow=1 HTTP/1.1\r\nHost: portgrave\r\n\r\n")
	t.Logf("answers to root: %v", count)
	if count["200 OK"] != mostReaders {
		t.Errorf("root follows events %d times", count["200 OK"])
	}
	t.Logf("repaired within %v", i.repairs().Round(time.Millisecond))
	closeAll(conns)
	i.eventuallyServed()
}
