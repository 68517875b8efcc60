//go:build boot

package boot

import (
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/test/lab"
)

// port is where early.socket listens. The policy is about this port.
const port = 9090

// Sources. The clients, which make full connections, are the wire's own; the others are spoofed.
var (
	allowed4, allowed6 = consecutiveAddresses("10.20.2.1", 4),
		consecutiveAddresses("fd00:20:0:2::1", 4)
	refused4, refused6 = consecutiveAddresses("8.1.0.1", 40), consecutiveAddresses("2a00:1::1", 40)
	client4, client6   = netip.MustParseAddr("10.20.1.1"), netip.MustParseAddr("fd00:20:0:1::1")
)

func consecutiveAddresses(first string, n int) []netip.Addr {
	all := []netip.Addr{netip.MustParseAddr(first)}
	for len(all) < n {
		all = append(all, all[len(all)-1].Next())
	}
	return all
}

func TestBoot(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	disk := image(t)
	const (
		damage = `for f in $1/var/lib/portgrave/generations/*.generation; do echo damaged >>$f; ` +
			`done` + "\n"
		invalid = `sed -i "s/9090/99999/" $1/etc/portgrave/policy.yaml` + "\n"
	)
	for _, c := range []struct {
		name    string
		prepare string
		loaded  string
		closed  bool // allowed sources are refused too
	}{
		{name: "last confirmed generation", loaded: host.LoadedGeneration},
		{name: "damaged generation", prepare: damage, loaded: host.LoadedPolicy},
		{name: "invalid policy", prepare: invalid, loaded: host.LoadedGeneration},
		{name: "damaged generation and invalid policy", prepare: damage + invalid, loaded: host.LoadedClosed, closed: true},
		{name: "no state directory", prepare: `rm -r $1/var/lib/portgrave`, loaded: host.LoadedPolicy},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWatcher(t)
			m := boot(t, w, disk, c.prepare)
			m.await("up")
			if !c.closed {
				w.connectAllowed()
			}
			refused, allowed := w.answers()
			w.timeline(m)
			if len(refused) > 0 {
				t.Errorf("refused sources were answered %d times, first %+v",
					len(refused), refused[0])
			}
			if c.closed && len(allowed) > 0 {
				t.Errorf(
					"everything should be closed, and %d answers came, first %+v",
					len(allowed),
					allowed[0],
				)
			}
			if m.refusals() == 0 {
				t.Error("no packet of a refused source reached the machine, so that it proves " +
					"nothing")
			}
			if r := m.report(); r.Loaded != c.loaded || r.Error != "" {
				t.Errorf("booted with %+v instead of %q", r, c.loaded)
			}
			w.checkHealthy(m)
			w.logIfFailed(m)
		})
	}
}

// TestLate is the control: with a late boot unit a refused source gets an answer, and the test must
// notice.
func TestLate(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	const late = `cd $1/etc/systemd/system
		ln -sf /dev/null portgrave.service
		rm -f sysinit.target.wants/portgrave-boot.service
		printf "[Unit]\nAfter=nic.service\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/portgrave boot\n" >portgrave-boot.service
		ln -sf /etc/systemd/system/portgrave-boot.service multi-user.target.wants/portgrave-boot.service`
	w := newWatcher(t)
	m := boot(t, w, image(t), late)
	m.await("nic begins")
	w.answersUntil(toRefused)
	w.stopRefused()
	m.await("up")
	refused, _ := w.answers()
	w.timeline(m)
	if len(refused) == 0 {
		t.Error(
			"the rules came after the network, and the test saw no answer to a refused source: " +
				"it would miss anything",
		)
	}
	if r := m.report(); r.Loaded != host.LoadedGeneration {
		t.Errorf("booted with %+v", r)
	}
	w.logIfFailed(m)
}

// TestPowerCutOnTrial cuts the power while an apply is on trial. The machine must come up without
// it.
func TestPowerCutOnTrial(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	disk := filepath.Join(t.TempDir(), "disk")
	run(t, "cp", "--sparse=always", image(t), disk)
	// The trial allows all sources. After=multi-user.target keeps that target from waiting for it.
	// up.service's report is not needed here.
	const trial = `printf "version: 1\nservices: [{name: early, port: 9090, allow: [any]}]\n" >$1/etc/portgrave/policy.yaml
		printf "[Unit]\nAfter=multi-user.target portgrave-boot.service nic.service\n[Service]\nType=oneshot\nExecStart=/bin/sh /usr/local/lib/test/trial\n" >$1/etc/systemd/system/trial.service
		ln -sf /etc/systemd/system/trial.service $1/etc/systemd/system/multi-user.target.wants/trial.service
		rm $1/etc/systemd/system/multi-user.target.wants/up.service
		ln -sf /dev/null $1/etc/systemd/system/portgrave.service`
	w := newWatcher(t)
	m := start(t, w, disk, trial, true)
	m.await("nic up")
	_, opened := w.answersUntil(func(s lab.Segment) bool { return toRefused(s) && s.Open() })
	w.stopRefused()
	m.await("on trial")
	m.off() // without a shutdown
	if !opened {
		t.Errorf("the trial did not let anybody in, so that there is nothing to take back:\n%s",
			m.tail())
	}
	w = newWatcher(t)
	m = start(t, w, disk, `cd $1/etc/systemd/system
		rm -f multi-user.target.wants/trial.service portgrave.service
		ln -s /etc/systemd/system/up.service multi-user.target.wants/up.service`, false)
	m.await("up")
	w.connectAllowed()
	refused, _ := w.answers()
	w.timeline(m)
	if len(refused) > 0 {
		t.Errorf("refused sources were answered %d times, first %+v", len(refused), refused[0])
	}
	if r := m.report(); r.Loaded != host.LoadedGeneration || r.Generation != 1 {
		t.Errorf("booted with %+v", r)
	}
	w.checkHealthy(m)
	w.logIfFailed(m)
}

// deb returns the path of our package.
func deb(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob("../../bin/packages/portgrave_*_amd64.deb")
	if err != nil || len(found) != 1 {
		t.Fatalf("%d packages of ours are there instead of one: run make packages (%v)",
			len(found), err)
	}
	return found[0]
}

// image returns the disk that all machines start from. It is made once, and never written
// afterwards.
func image(t *testing.T) string {
	t.Helper()
	imageOnce.Do(func() {
		dir, err := os.MkdirTemp("", "portgrave-boot-")
		if err != nil {
			t.Fatal(err)
		}
		imageDir = dir
		began := time.Now()
		writeImage(t, filepath.Join(dir, "disk"), dir, deb(t))
		t.Logf("the disk was made in %.1f s", time.Since(began).Seconds())
	})
	if imageDir == "" {
		t.Fatal("the disk could not be made")
	}
	return filepath.Join(imageDir, "disk")
}

var (
	imageOnce sync.Once
	imageDir  string
)

// TestMain removes the disk.
func TestMain(m *testing.M) {
	code := m.Run()
	if imageDir != "" {
		_ = os.RemoveAll(imageDir)
	}
	os.Exit(code)
}
