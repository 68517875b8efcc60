package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
)

// remembering is a policy with one network file, compiled again and again with one Memory.
type remembering struct {
	t        *testing.T
	dir      string
	policy   *Policy
	networks *Networks
}

// newRemembering makes a policy with a list. late: files are old when they are read.
func newRemembering(t *testing.T, late bool, list string) *remembering {
	r := &remembering{t: t, dir: t.TempDir(), networks: &Networks{Memory: &Memory{}}}
	if late {
		r.networks.Memory.Now = func() time.Time { return time.Now().Add(time.Hour) }
	}
	r.networks.Dir = filepath.Join(r.dir, "networks")
	write(t, r.file(), list)
	p, err := Parse(filepath.Join(r.dir, "policy.yaml"), []byte(
		"version: 1\nnetworks: {n: {file: list.txt}}\n"+
			"services: [{name: a, port: 1, allow: [n, 192.0.2.1]}, {name: b, port: 2, allow: [n]}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	r.policy = p
	return r
}

// tick waits until the kernel's clock for files has gone on.
func (r *remembering) tick() {
	r.t.Helper()
	var first int64
	for probe := filepath.Join(r.dir, "probe"); ; {
		write(r.t, probe, "")
		info, err := os.Stat(probe)
		if err != nil {
			r.t.Fatal(err)
		}
		if now := info.ModTime().UnixNano(); first == 0 {
			first = now
		} else if now > first {
			return
		}
	}
}

func (r *remembering) file() string { return filepath.Join(r.dir, "list.txt") }

// compile returns the sources of service b, and how many lists were parsed for it.
func (r *remembering) compile() (sources string, parsed int, c *Compiled) {
	r.t.Helper()
	before := r.networks.Memory.Parsed()
	c, err := r.policy.Compile(r.t.Context(), r.networks)
	if err != nil {
		r.t.Fatal(err)
	}
	sources = strings.Join(c.State.Services[1].Sources.Strings(), " ")
	return sources, r.networks.Memory.Parsed() - before, c
}

func (r *remembering) expect(what, sources string, parsed int) {
	r.t.Helper()
	got, n, _ := r.compile()
	expect(r.t, what, got, sources)
	if n != parsed {
		r.t.Errorf("%s: %d lists were parsed, not %d", what, n, parsed)
	}
}

// TestUnchangedListsAreParsedOnce checks that nothing is parsed or merged twice, whether the file's
// age proves that it is the same or its digest does.
func TestUnchangedListsAreParsedOnce(t *testing.T) {
	for _, late := range []bool{true, false} {
		t.Run(fmt.Sprintf("late %v", late), func(t *testing.T) {
			r := newRemembering(t, late, "10.0.0.1\n")
			r.expect("the first time", "10.0.0.1/32", 1)
			_, _, first := r.compile()
			r.expect("again", "10.0.0.1/32", 0)
			_, _, again := r.compile()
			for i, svc := range again.State.Services {
				if svc.Sources.Identity() != first.State.Services[i].Sources.Identity() {
					t.Errorf("the sources of %s were made twice", svc.Name)
				}
			}
			for _, k := range r.networks.Memory.lists {
				if (k.digest == nil) != late {
					t.Errorf("it has the digest %x", k.digest)
				}
			}
		})
	}
}

// TestEachChangeOfAListIsSeen changes a list in the ways that hide it best.
func TestEachChangeOfAListIsSeen(t *testing.T) {
	back := func(t *testing.T, path string, to time.Time) {
		t.Helper()
		if err := os.Chtimes(path, to, to); err != nil {
			t.Fatal(err)
		}
	}
	when := time.Now().Add(-time.Hour)
	for name, change := range map[string]func(r *remembering){
		"written": func(r *remembering) { write(r.t, r.file(), "10.0.0.2\n") },
		"mtime set back": func(r *remembering) {
			write(r.t, r.file(), "10.0.0.2\n")
			back(r.t, r.file(), when)
		},
		"renamed over it": func(r *remembering) {
			write(r.t, r.file()+".new", "10.0.0.2\n")
			back(r.t, r.file()+".new", when)
			if err := os.Rename(r.file()+".new", r.file()); err != nil {
				r.t.Fatal(err)
			}
		},
		"another behind a link": func(r *remembering) {
			for i, name := range []string{"one", "two"} {
				write(r.t, filepath.Join(r.dir, name), fmt.Sprintf("10.0.0.%d\n", i+1))
				back(r.t, filepath.Join(r.dir, name), when)
			}
			for _, to := range []string{"one", "two"} {
				_ = os.Remove(r.file())
				if err := os.Symlink(to, r.file()); err != nil {
					r.t.Fatal(err)
				}
				if to == "one" {
					r.expect("the first behind a link", "10.0.0.1/32", 1)
				}
			}
		},
		"a folder behind a link": func(r *remembering) {
			_ = os.Remove(r.file())
			for i, name := range []string{"one", "two"} {
				if err := os.Mkdir(filepath.Join(r.dir, name), 0o700); err != nil {
					r.t.Fatal(err)
				}
				write(r.t, filepath.Join(r.dir, name, "list"), fmt.Sprintf("10.0.0.%d\n", i+1))
			}
			for _, to := range []string{"one", "two"} {
				_ = os.Remove(filepath.Join(r.dir, "now"))
				if err := os.Symlink(to, filepath.Join(r.dir, "now")); err != nil {
					r.t.Fatal(err)
				}
				if to == "one" {
					if err := os.Symlink("now/list", r.file()); err != nil {
						r.t.Fatal(err)
					}
					r.expect("the first folder", "10.0.0.1/32", 1)
				}
			}
		},
	} {
		for _, late := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, late %v", name, late), func(t *testing.T) {
				r := newRemembering(t, late, "10.0.0.1\n")
				back(t, r.file(), when)
				r.expect("before", "10.0.0.1/32", 1)
				r.tick()
				change(r)
				r.expect("after", "10.0.0.2/32", 1)
				r.expect("again", "10.0.0.2/32", 0)
			})
		}
	}
}

// TestYoungListsAreCompared rewrites a list so fast that its times may stay as they are.
func TestYoungListsAreCompared(t *testing.T) {
	r := newRemembering(t, false, "10.0.0.1\n")
	same, when := 0, time.Now().Add(-time.Hour)
	var last Fingerprint
	for i := range 200 {
		address := fmt.Sprintf("10.0.0.%d", 1+i%2)
		write(t, r.file(), address+"\n")
		if err := os.Chtimes(r.file(), when, when); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(r.file())
		if err != nil {
			t.Fatal(err)
		}
		if now := fingerprintOf(info); now == last {
			same++
		} else {
			last = now
		}
		got, _, _ := r.compile()
		expect(t, "the list", got, address+"/32")
	}
	t.Logf("%d of 200 changes left the fingerprint as it was", same)
}

// TestKnownListsAreStillChecked checks that what is known of a file excuses neither its permissions
// nor its writer, and that it is not used in place of a file that is gone or has mistakes.
func TestKnownListsAreStillChecked(t *testing.T) {
	r := newRemembering(t, true, "10.0.0.1\n")
	r.networks.Dir = ""
	r.expect("before", "10.0.0.1/32", 1)
	fails := func(part string) {
		t.Helper()
		_, err := r.policy.Compile(t.Context(), r.networks)
		if err == nil {
			t.Fatalf("no error with %q", part)
		}
		expectPart(t, err.Error(), part)
	}
	if err := os.Chmod(r.file(), 0o602); err != nil {
		t.Fatal(err)
	}
	fails("others than its owner may write it")
	if err := os.Chmod(r.file(), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(r.file(), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fails("a program still has it open for writing")
	f.Close()
	write(t, r.file(), "10.0.0.300\n")
	fails("10.0.0.300")
	fails("10.0.0.300")
	if err := os.Remove(r.file()); err != nil {
		t.Fatal(err)
	}
	fails("no such file")
	r.tick()
	write(t, r.file(), "10.0.0.1\n")
	r.expect("after", "10.0.0.1/32", 1)
	r.networks.Expect = map[string]Fingerprint{r.file(): {}}
	fails("not the file that was meant")
	prints, err := r.policy.Fingerprints(t.Context(), Files{})
	if err != nil || len(prints) != 1 {
		t.Fatal(prints, err)
	}
	r.networks.Expect = prints
	r.expect("the file that was meant", "10.0.0.1/32", 0)
}

// TestLastGoodContentInMemory checks that what is known of last good content goes with the file on
// disk.
func TestLastGoodContentInMemory(t *testing.T) {
	r := newRemembering(t, true, "10.0.0.1\n")
	r.expect("before", "10.0.0.1/32", 1)
	if err := os.Rename(r.file(), r.file()+".away"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, _, c := r.compile(); got != "10.0.0.1/32" || len(c.Stale) != 1 {
			t.Errorf("without the file: %s, stale %v", got, c.Stale)
		}
	}
	if len(r.networks.Memory.good) != 1 {
		t.Errorf("%d contents are remembered", len(r.networks.Memory.good))
	}
	good := filepath.Join(r.networks.Dir, "n.addresses")
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)-1] ^= 1
	r.tick()
	write(t, good, string(content))
	if _, err := r.policy.Compile(t.Context(), r.networks); err == nil {
		t.Error("damaged content was used")
	}
}

// TestMemoryForgets checks that nothing stays of lists that are not used or were replaced.
func TestMemoryForgets(t *testing.T) {
	r := newRemembering(t, true, "10.0.0.1\n")
	m := r.networks.Memory
	for i := range 10 {
		r.tick()
		write(t, r.file(), fmt.Sprintf("10.0.0.%d\n", i))
		r.compile()
		if n := len(m.shared.results); n > 6 { // unions and differences of two services
			t.Fatalf("%d results after %d changes", n, i)
		}
	}
	other := mustParse(t, "version: 1\nservices: [{name: a, port: 1, allow: [any]}]\n")
	for range maxUnused + 1 {
		if _, err := other.Compile(t.Context(), r.networks); err != nil {
			t.Fatal(err)
		}
	}
	if len(m.lists) != 0 || len(m.shared.byNames) > 2 || len(m.shared.byContent) > 1 {
		t.Errorf("still known: %d lists, %d unions, %d short lists",
			len(m.lists), len(m.shared.byNames), len(m.shared.byContent))
	}
	for _, x := range m.shared.results {
		if x.Contains(addr("10.0.0.9")) && !x.Equal(address.Must("0.0.0.0/0", "::/0")) {
			t.Errorf("a result of a list that is gone: %v", x.Set)
		}
	}
}

// TestMemoryOfSeveral compiles two policies with one Memory at the same time; the race detector
// looks on.
func TestMemoryOfSeveral(t *testing.T) {
	r := newRemembering(t, true, "10.0.0.1\n")
	done := make(chan string)
	for range 4 {
		go func() {
			c, err := r.policy.Compile(t.Context(), r.networks)
			if err != nil {
				done <- err.Error()
				return
			}
			done <- strings.Join(c.State.Services[1].Sources.Strings(), " ")
		}()
	}
	for range 4 {
		expect(t, "the list", <-done, "10.0.0.1/32")
	}
	if n := r.networks.Memory.Parsed(); n != 1 {
		t.Errorf("%d lists were parsed", n)
	}
}
