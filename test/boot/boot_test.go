//go:build boot

package boot

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/portgrave/portgrave/test/lab"
)

// port is where early.socket listens, and what the policy is about.
const port = 9090

// Sources. Those from which connections are made in full are the wire's own; the others are spoofed.
var (
	allowed4, allowed6 = numbered("10.20.2.1", 4), numbered("fd00:20:0:2::1", 4)
	refused4, refused6 = numbered("8.1.0.1", 40), numbered("2a00:1::1", 40)
	client4, client6   = netip.MustParseAddr("10.20.1.1"), netip.MustParseAddr("fd00:20:0:1::1")
)

func numbered(first string, n int) []netip.Addr {
	all := []netip.Addr{netip.MustParseAddr(first)}
	for len(all) < n {
		all = append(all, all[len(all)-1].Next())
	}
	return all
}

func TestBoot(t *testing.T) {
	lab.RequireRoot(t)
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk")
	began := time.Now()
	writeImage(t, disk, dir, deb(t))
	t.Logf("the disk was made in %.1f s", time.Since(began).Seconds())

	const damage = `for f in $1/var/lib/portgrave/generations/*.generation; do echo damaged >>$f; done` + "\n"
	const invalid = `sed -i "s/9090/99999/" $1/etc/portgrave/policy.yaml` + "\n"
	for _, c := range []struct {
		name    string
		prepare string
		loaded  string
		closed  bool // nobody is let in, not even who is allowed
	}{
		{name: "last confirmed generation", loaded: "generation"},
		{name: "damaged generation", prepare: damage, loaded: "policy"},
		{name: "invalid policy", prepare: invalid, loaded: "generation"},
		{name: "damaged generation and invalid policy", prepare: damage + invalid, loaded: "closed", closed: true},
		{name: "no state directory", prepare: `rm -r $1/var/lib/portgrave`, loaded: "policy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := watch(t)
			m := boot(t, w, disk, c.prepare)
			m.await("up")
			if !c.closed {
				w.served()
			}
			refused, allowed := w.answers()
			w.timeline(m)
			if len(refused) > 0 {
				t.Errorf("refused sources were answered %d times, first %+v", len(refused), refused[0])
			}
			if c.closed && len(allowed) > 0 {
				t.Errorf("everything should be closed, and %d answers came, first %+v", len(allowed), allowed[0])
			}
			if n := m.refusals(); n == 0 {
				t.Error("no packet of a refused source reached the machine, so that it proves nothing")
			}
			if r := m.report(); r.Loaded != c.loaded || r.Error != "" {
				t.Errorf("booted with %+v instead of %q", r, c.loaded)
			}
			os.WriteFile("/tmp/boot-serial.log", []byte(m.tail()), 0o644)
			if t.Failed() {
				t.Logf("the machine wrote:\n%s", m.tail())
			}
		})
	}
}

// deb is our package.
func deb(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob("../../bin/packages/portgrave_*_amd64.deb")
	if err != nil || len(found) != 1 {
		t.Fatalf("%d packages of ours are there instead of one: run make packages (%v)", len(found), err)
	}
	return found[0]
}
