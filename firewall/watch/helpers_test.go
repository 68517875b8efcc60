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

// startWatcher returns a Watcher of a fresh namespace.
func startWatcher(t testing.TB) *Watcher {
	t.Helper()
	backendtest.Isolate(t)
	return openWatcher(t, receiveBufferBytes)
}

func openWatcher(t testing.TB, buffer int) *Watcher {
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

// nextEvent returns the next event. It waits up to a minute because the machine may be loaded.
func nextEvent(t testing.TB, w *Watcher) Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e, err := w.Next(ctx)
	if err != nil {
		t.Fatalf("no event: %v", err)
	}
	return e
}

// expectNextCommit makes one more commit and checks that it is the next one reported.
func expectNextCommit(t testing.TB, w *Watcher, marker string) {
	t.Helper()
	runNFT(t, "add table ip "+marker)
	e, want := nextEvent(t, w), "table ip "+marker+": table added or changed"
	if e.Summary != want || e.Lost {
		t.Fatalf("got %+v, want %q", e, want)
	}
}

// machineNamespace is the namespace in which the tests were started.
var machineNamespace = namespace()

// namespace returns the calling thread's network namespace.
func namespace() string {
	n, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		panic(err)
	}
	return n
}

// runNFT has nft execute commands as one transaction in the calling thread's namespace. It refuses
// the machine's namespace, which a thread other than the test's would use.
func runNFT(t testing.TB, commands string) {
	t.Helper()
	if namespace() == machineNamespace {
		panic("not in a network namespace of the test")
	}
	backendtest.Program(t, commands, "nft", "-f", "-")
}

// encodeMessage returns a notification as the kernel writes it.
func encodeMessage(kind int, port uint32, family byte, attrs ...[]byte) []byte {
	e := netlink.Encoder{Sequence: 1}
	e.Begin(uint16(unix.NFNL_SUBSYS_NFTABLES<<8|kind), 0, family, unix.NFNETLINK_V0, 0, 0)
	binary.NativeEndian.PutUint32(e.Buf[12:], port)
	e.Buf = append(e.Buf, slices.Concat(attrs...)...)
	e.End(0)
	return e.Buf
}

func encodeAttribute(kind int, content ...byte) []byte {
	return netlink.AppendBytes(nil, uint16(kind), content)
}

func stringAttribute(kind int, s string) []byte {
	return encodeAttribute(kind, append([]byte(s), 0)...)
}

func numberAttribute(kind int, n uint32) []byte {
	return encodeAttribute(kind, binary.BigEndian.AppendUint32(nil, n)...)
}

func nestedAttribute(kind int, attrs ...[]byte) []byte {
	return encodeAttribute(kind|unix.NLA_F_NESTED, slices.Concat(attrs...)...)
}

// commitMessage ends a commit.
func commitMessage(generation, port uint32) []byte {
	return encodeMessage(
		unix.NFT_MSG_NEWGEN,
		port,
		0,
		numberAttribute(unix.NFTA_GEN_ID, generation),
		numberAttribute(
			unix.NFTA_GEN_PROC_PID,
			4242,
		),
		stringAttribute(unix.NFTA_GEN_PROC_NAME, "nft"),
	)
}
