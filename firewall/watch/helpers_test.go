package watch

import (
	"context"
	"encoding/binary"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// started is a Watcher of a fresh namespace.
func started(t testing.TB) *Watcher {
	t.Helper()
	backendtest.Isolate(t)
	return opened(t, receiveBuffer)
}

func opened(t testing.TB, buffer int) *Watcher {
	t.Helper()
	w, err := open(buffer, Portgrave)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// event is the next one; a minute is for loaded machines, not for the kernel.
func event(t testing.TB, w *Watcher) Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := w.Next(ctx)
	if err != nil {
		t.Fatalf("no event: %v", err)
	}
	return e
}

// nothingBut makes one more commit and checks that it is the next one reported.
func nothingBut(t testing.TB, w *Watcher, marker string) {
	t.Helper()
	run(t, "add table ip "+marker)
	if e, want := event(t, w), "table ip "+marker+": table added or changed"; e.Summary != want || e.Lost {
		t.Fatalf("got %+v, want %q", e, want)
	}
}

// machine is the namespace that the tests were started in.
var machine = namespace()

// namespace is the calling thread's.
func namespace() string {
	n, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		panic(err)
	}
	return n
}

// run has nft execute commands as one transaction, in the namespace of the calling thread; never in the
// machine's own, where another thread than the test's would be.
func run(t testing.TB, commands string) {
	t.Helper()
	if namespace() == machine {
		panic("not in a network namespace of the test")
	}
	backendtest.Program(t, commands, "nft", "-f", "-")
}

// encoded is a notification as the kernel writes it.
func encoded(kind int, port uint32, family byte, attrs ...[]byte) []byte {
	e := netlink.Encoder{Sequence: 1}
	e.Begin(uint16(unix.NFNL_SUBSYS_NFTABLES<<8|kind), 0, family, unix.NFNETLINK_V0, 0, 0)
	binary.NativeEndian.PutUint32(e.Buf[12:], port)
	e.Buf = append(e.Buf, slices.Concat(attrs...)...)
	e.End(0)
	return e.Buf
}

func attr(kind int, content ...byte) []byte { return netlink.AppendBytes(nil, uint16(kind), content) }

func str(kind int, s string) []byte { return attr(kind, append([]byte(s), 0)...) }

func u32(kind int, n uint32) []byte { return attr(kind, binary.BigEndian.AppendUint32(nil, n)...) }

func nested(kind int, attrs ...[]byte) []byte {
	return attr(kind|unix.NLA_F_NESTED, slices.Concat(attrs...)...)
}

// newgen ends a commit.
func newgen(generation, port uint32) []byte {
	return encoded(unix.NFT_MSG_NEWGEN, port, 0, u32(unix.NFTA_GEN_ID, generation),
		u32(unix.NFTA_GEN_PROC_PID, 4242), str(unix.NFTA_GEN_PROC_NAME, "nft"))
}
