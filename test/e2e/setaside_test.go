package e2e

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/test/lab"
)

// TestListsTakenBack holds that a list which a trial or a rollback took back is not put in force
// again by the daemon, neither by the one that runs nor by the next one, while its file stays as it
// is; that other lists are followed meanwhile; and that apply takes it.
func TestListsTakenBack(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel() // with all its cases
	for name, goBack := range map[string]func(x *trial, list func(string, int)) (end func()){
		"trial": func(x *trial, list func(string, int)) (end func()) {
			list("l", 2)
			x.onTrial()
			end = x.start()
			x.let("on trial", 9090, 2, 1)
			x.await("the trial's end", func() bool {
				return strings.Contains(x.run("history"), "was not confirmed in time")
			})
			return end
		},
		"rollback": func(x *trial, list func(string, int)) (end func()) {
			end = x.start()
			list("l", 2)
			x.await("the list", func() bool { return x.status().Generation.Generation == 2 })
			x.run("rollback")
			return end
		},
		"rollback right behind the edit": func(x *trial, list func(string, int)) (end func()) {
			end = x.start()
			list("l", 3)
			x.await("the list", func() bool { return x.status().Generation.Generation == 2 })
			list("l", 2)
			x.run("rollback", "1")
			return end
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := lab.New(t)
			w.Host.ListenTCP(9090)
			w.Host.ListenTCP(9091)
			x := &trial{install(t, w, twoLists), engines[0]}
			list := func(list string, last int) {
				t.Helper()
				path := filepath.Join(x.dir, list+".txt")
				line := source(false, last).String() + "\n"
				if err := os.WriteFile(path, []byte(line), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			list("l", 1)
			list("m", 1)
			x.run("apply")
			x.let("before", 9090, 1, 2)
			end := goBack(x, list)
			time.Sleep(time.Second) // the daemon has read the lists by then
			x.let("taken back", 9090, 1, 2)
			list("m", 2)
			x.await("the other list", func() bool { return x.lets(9091, 2, 1) })
			x.let("the other list has changed", 9090, 1, 2)
			end()
			x.start()
			list("l", 2) // it holds the same
			time.Sleep(time.Second)
			x.let("started again", 9090, 1, 2)
			if out := oneLine(x.run("status")); !strings.Contains(out, "list l was rolled back") {
				t.Errorf("status doesn't say so:\n%s", out)
			}
			x.run("apply")
			x.let("applied", 9090, 2, 1)
			if out := oneLine(x.run("status")); strings.Contains(out, "rolled back:") {
				t.Errorf("status still says so:\n%s", out)
			}
		})
	}
}

const twoLists = `version: 1
networks: {l: {file: l.txt}, m: {file: m.txt}}
services: [{name: a, port: 9090, allow: [l]}, {name: b, port: 9091, allow: [m]}]
`

// lets reports whether a port lets in one source of the internet's, and not another one.
func (x *trial) lets(port uint16, in, out int) bool {
	both := []netip.Addr{source(false, in), source(false, out)}
	got := x.w.Probe(x.w.Internet, both, x.w.Host.At(port, false))
	return got[both[0]] == lab.Open && got[both[1]] == lab.Dropped
}

func (x *trial) let(when string, port uint16, in, out int) {
	x.t.Helper()
	if !x.lets(port, in, out) {
		x.t.Errorf("%s: port %d is not open to source %d and closed to %d", when, port, in, out)
	}
}
