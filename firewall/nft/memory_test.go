package nft

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/portgrave/portgrave/firewall/netlink"
)

// reads counts how often the whole table is read back.
type reads struct {
	kernel
	n int
}

func (r *reads) dump(known *ruleset, generation uint32) (*ruleset, error) {
	r.n++
	return r.kernel.dump(known, generation)
}

// What has not changed is not read again, however often it is asked for: nobody else can change a
// table that is owned, and one that is not has changed only if nf_tables counts another commit.
func TestNothingIsReadAgain(t *testing.T) {
	for name, owned := range map[string]bool{"owned": true, "not owned": false} {
		t.Run(name, func(t *testing.T) { nothingIsReadAgain(t, owned) })
	}
}

func nothingIsReadAgain(t *testing.T, owned bool) {
	inNamespace(t)
	b, state := open(t), simple(t)
	if _, err := b.Protect(context.Background(), owned); err != nil {
		t.Fatal(err)
	}
	apply(t, b, &state)
	if owned {
		protect(t, b)
	}
	counted := &reads{kernel: b.kernel}
	b.kernel = counted
	look := func(want int, why string) {
		t.Helper()
		counted.n = 0
		for range 3 {
			if p := planOf(t, b, &state); !p.InSync() {
				t.Errorf("%s:\n%s", why, changesText(p))
			}
		}
		if counted.n != want {
			t.Errorf("%s: the table was read %d times instead of %d", why, counted.n, want)
		}
	}
	planOf(t, b, &state) // what was written may be read once
	look(0, "when nothing happens")
	if err := tryNft("add table inet another"); err != nil {
		t.Fatal(err)
	}
	want := 1
	if owned {
		want = 0
	}
	look(want, "after another program's commit")
	look(0, "after that")
}

// disturbed is a kernel of which some readings are torn, because others write.
type disturbed struct {
	kernel
	left int // how many
}

func (k *disturbed) counters() (*ruleset, error) {
	if k.left--; k.left >= 0 {
		return nil, fmt.Errorf("objects: %w", netlink.ErrInterrupted)
	}
	return k.kernel.counters()
}

// Somebody who writes while counters are read makes nobody fail: they are read again, or everything
// is.
func TestTornReadingsAreRepeated(t *testing.T) {
	for _, n := range []int{1, readAttempts - 1, readAttempts} {
		k := &disturbed{kernel: newFakeKernel()}
		b, state := &Backend{kernel: k}, simple(t)
		apply(t, b, &state)
		planOf(t, b, &state)
		k.left = n
		if p := planOf(t, b, &state); !p.InSync() {
			t.Errorf("%d torn readings:\n%s", n, changesText(p))
		}
		k.left = n
		if _, err := b.Counters(t.Context()); (err == nil) != (n < readAttempts) ||
			err != nil && !errors.Is(err, netlink.ErrInterrupted) {
			t.Errorf("%d torn readings of counters: %v", n, err)
		}
	}
}
