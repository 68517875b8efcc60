package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/test/lab"
)

// listWorld is a daemon whose policy allows a long list of addresses, and waits for commands.
type listWorld struct {
	*installation
	w    *lab.World
	list string
}

func newListWorld(t *testing.T) *listWorld {
	t.Helper()
	w := lab.New(t)
	w.Host.ListenTCP(9090)
	i := install(t, w, `version: 1
networks: {long: {file: lists/long.txt}}
services: [{name: public, port: 9090, allow: [long]}]
daemon: {follow: none}
`)
	l := &listWorld{i, w, filepath.Join(i.dir, "lists", "long.txt")}
	if err := os.Mkdir(filepath.Dir(l.list), 0o755); err != nil {
		t.Fatal(err)
	}
	return l
}

// entries is a list of 20 000 addresses and one of the internet's.
func entries(last int) string {
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, "10.%d.%d.%d\n", i>>15, i>>7&255, i<<1&255)
	}
	fmt.Fprintf(&b, "%s\n", source(false, last))
	return b.String()
}

func (l *listWorld) put(path string, last int) {
	l.t.Helper()
	if err := os.WriteFile(path, []byte(entries(last)), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

// let fails unless, of two sources of the internet's, exactly one gets through.
func (l *listWorld) let(when string, in, out int) {
	l.t.Helper()
	both := []netip.Addr{source(false, in), source(false, out)}
	got := l.w.Probe(l.w.Internet, both, l.w.Host.At(9090, false))
	if got[both[0]] != lab.Open || got[both[1]] != lab.Dropped {
		l.t.Errorf("%s: %v", when, got)
	}
}

// read is how many bytes the daemon has read since it started, from files and sockets.
func (l *listWorld) read() int {
	l.t.Helper()
	var status struct {
		Daemon struct {
			PID int `json:"pid"`
		} `json:"daemon"`
	}
	if err := json.Unmarshal([]byte(l.run("status", "-o", "json")), &status); err != nil {
		l.t.Fatal(err)
	}
	counts, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", status.Daemon.PID))
	if err != nil {
		l.t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(counts), "\n")
	n, err := strconv.Atoi(strings.TrimPrefix(line, "rchar: "))
	if err != nil {
		l.t.Fatal(err)
	}
	return n
}

// TestListsAreReadWhenTheyChange checks that commands through the daemon read no list that stays
// the same, and see each change of one, also those that keep its size and modification time.
func TestListsAreReadWhenTheyChange(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	l := newListWorld(t)
	l.put(l.list, 1)
	l.start()
	l.let("started", 1, 2)
	size := len(entries(1))
	unread := func(when string) {
		t.Helper()
		time.Sleep(2500 * time.Millisecond) // younger files are read and compared
		// which reads it once more, to know that it is not young any more
		l.run("plan")
		before := l.read()
		for range 3 {
			l.run("plan")
			l.run("apply")
			l.run("drift")
		}
		if n := l.read() - before; n > size {
			t.Errorf(
				"%s: the daemon has read %d bytes for commands; the list has %d",
				when,
				n,
				size,
			)
		}
	}
	unread("started")
	old := time.Now().Add(-time.Hour)
	times := func(path string) {
		t.Helper()
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target string) {
		t.Helper()
		err := os.Symlink(target, l.list+".new")
		if err == nil {
			err = os.Rename(l.list+".new", l.list)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	in, out := 1, 2
	for _, change := range []struct {
		name string
		make func(last int)
	}{
		{"written", func(last int) { l.put(l.list, last) }},
		{"mtime set back", func(last int) { times(l.list) }},
		{"written, mtime set back", func(last int) { l.put(l.list, last); times(l.list) }},
		{"renamed", func(last int) {
			l.put(l.list+".new", last)
			times(l.list + ".new")
			if err := os.Rename(l.list+".new", l.list); err != nil {
				t.Fatal(err)
			}
		}},
		{"a link", func(last int) { l.put(l.list+".1", last); times(l.list + ".1"); link("long.txt.1") }},
		{"another link", func(last int) { l.put(l.list+".2", last); times(l.list + ".2"); link("long.txt.2") }},
		{"behind the link", func(last int) { l.put(l.list+".2", last); times(l.list + ".2") }},
	} {
		if change.name == "mtime set back" { // by itself it changes nothing
			change.make(0)
			l.let(change.name, in, out)
			continue
		}
		in, out = out, in
		change.make(in)
		l.let(change.name+", before apply", out, in)
		plan, err := l.try("plan")
		if err == nil || !strings.Contains(plan, source(false, in).String()) {
			t.Errorf("%s: %v\n%s", change.name, err, plan)
		}
		l.run("apply")
		l.let(change.name, in, out)
		if out := l.run("apply"); !strings.Contains(out, "Nothing to do") {
			t.Errorf("%s, again: %s", change.name, out)
		}
	}
	unread("at the end")
}

// TestListsThatTheDaemonDoesNotSee checks that what the command line reads decides, where the
// daemon finds no file under that name or another one.
func TestListsThatTheDaemonDoesNotSee(t *testing.T) {
	lab.RequireRoot(t)
	for name, command := range map[string]string{
		"none":    "",
		"another": "echo %s >$0/long.txt; ",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newListWorld(t)
			if command != "" {
				command = fmt.Sprintf(command, source(false, 2))
			}
			l.before = []string{
				"unshare",
				"-m",
				"sh",
				"-c",
				"mount -t tmpfs -o mode=755 none $0 && { " +
					command + `exec "$@"; }`,
				filepath.Dir(l.list),
			}
			l.put(l.list, 1)
			l.start()
			for range 2 {
				l.run("apply")
				l.let("applied", 1, 2)
			}
			if out := l.run("plan"); !strings.Contains(out, "In sync") {
				t.Errorf("plan: %s", out)
			}
		})
	}
}
