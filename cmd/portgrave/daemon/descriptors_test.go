package daemon

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestReserve: what is held is there when it is lent, and no client gets it.
func TestReserve(t *testing.T) {
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	r := newReserve()
	defer r.empty()
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
	if err != nil {
		t.Fatal(err)
	}
	l := r.guard(listener)
	defer func() { _ = l.Close() }()
	accepted := make(chan net.Conn, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	dial := func() net.Conn {
		c, err := net.Dial("unix", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	held := open()
	giveBack := r.lend()
	if lent := open(); held-lent != reservedDescriptors {
		t.Errorf("%d descriptors are lent", held-lent)
	}
	c := dial()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if answer, err := io.ReadAll(c); err != nil ||
		!bytes.HasPrefix(answer, []byte("HTTP/1.1 503 ")) {
		t.Errorf("a client meanwhile gets %q, %v", answer, err)
	}
	_ = c.Close()
	giveBack()
	c = dial()
	defer func() { _ = c.Close() }()
	defer func() { _ = (<-accepted).Close() }()
	if now := open(); now < held {
		t.Errorf("%d descriptors were given back", reservedDescriptors-(held-now))
	}
	if r.short() {
		t.Error("there are too few left")
	}
}
