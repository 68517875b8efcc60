package nft

import (
	"context"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"golang.org/x/sys/unix"
)

// Several sets are read at a time, while others write. What is read is one table all the same: each
// set has as many keys as the kernel has counted, in order.
func TestReadTogetherWhileOthersWrite(t *testing.T) {
	inNamespace(t)
	reader, writer := open(t), open(t)
	states := []firewall.State{large(t, 2*parallelThreshold, 1), large(t, 2*parallelThreshold, 2)}
	apply(t, writer, &states[0])
	written := make(chan error, 1)
	go func() { // on another thread, in the machine's own namespace: the socket is what counts
		var failed error
		for i := range 8 {
			if _, err := reconciler(writer).Apply(
				context.Background(), &states[(i+1)%2], false,
			); err != nil {
				failed = err
			}
		}
		written <- failed
	}()
	for reads := 0; ; reads++ {
		seen, err := reader.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for name, s := range seen.(observation).sets {
			if s.counted && s.kind == kindPrefix && s.keys.Len() != int(s.count) {
				t.Errorf(
					"set %s has %d keys, and the kernel counts %d",
					name,
					s.keys.Len(),
					s.count,
				)
			}
			if n := s.keys.Len(); n > 1 && s.keys.At(0).Compare(s.keys.At(n-1)) >= 0 {
				t.Errorf("set %s is not in order", name)
			}
		}
		select {
		case err := <-written:
			if err != nil {
				t.Fatal(err)
			}
			if p := planOf(t, open(t), &states[0]); !p.InSync() {
				t.Errorf("at the end, the kernel differs:\n%s", changesText(p))
			}
			t.Logf("read %d times", reads)
			return
		default:
		}
	}
}

// A socket more is of the namespace of the first, or there is none: a thread may have gone
// elsewhere meanwhile.
func TestReadersStayInTheNamespace(t *testing.T) {
	inNamespace(t)
	b, state := open(t), large(t, 2*parallelThreshold, 1)
	apply(t, b, &state)
	first := b.kernel.(*netlinkKernel).socket
	more, err := first.Another()
	if err != nil {
		t.Fatal(err)
	}
	if err := more.Close(); err != nil {
		t.Error(err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	if more, err := first.Another(); err == nil {
		_ = more.Close()
		t.Error("a socket of another namespace reads along")
	}
	b.memory = memory{} // so that all is read
	if p, _, err := backendtest.Reconciler(b).Plan(t.Context(), &state); err != nil || !p.InSync() {
		t.Errorf("read from elsewhere: %v, %v", p.Changes, err)
	}
}
