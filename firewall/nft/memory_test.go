package nft

import "testing"

// reads counts how often the whole table is read back.
type reads struct {
	kernel
	n int
}

func (r *reads) read(known *ruleset) (*ruleset, error) {
	r.n++
	return r.kernel.read(known)
}

// What has not changed is not read again, however often it is asked for: nobody else can change a table that is owned, and one that is not has
// changed only if nf_tables counts another commit.
func TestNothingIsReadAgain(t *testing.T) {
	for name, owned := range map[string]bool{"owned": true, "not owned": false} {
		t.Run(name, func(t *testing.T) { nothingIsReadAgain(t, owned) })
	}
}

func nothingIsReadAgain(t *testing.T, owned bool) {
	inNamespace(t)
	b, state := open(t), simple(t)
	if !owned {
		b.flags = 0
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
