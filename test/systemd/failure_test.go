package systemd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/test/lab"
)

// bad is a policy that can't be used.
const bad = "version: 1\nservices: [{name: metrics, port: 9090, allow: [any], typo: 1}]\n"

// A program that can't boot keeps nothing from starting, is named by systemctl --failed, and the daemon enforces as soon as it runs.
func TestBootUnitFails(t *testing.T) {
	t.Parallel()
	d := newDisk(t, document)
	d.dropIn("portgrave-boot.service", "[Service]\nExecStart=\nExecStart=/bin/false\n")
	m, r := d.bootUnplugged()
	if m.rulesFirst() != "none" || r.Open == 0 {
		t.Errorf("the boot unit was to fail, yet rules came first (%s), or none of %d packets got through: this proves nothing", m.rulesFirst(), r.Sent)
	}
	m.isActive("portgrave-boot.service", "failed")
	m.isActive("multi-user.target", "active")
	m.isActive("portgrave.service", "active")
	m.gate("after the daemon has started")
	if status := m.run("portgrave", "status"); !strings.Contains(status, "portgrave-boot.service put nothing in force") {
		t.Errorf("portgrave status does not tell of the boot:\n%s", status)
	}
	if failed := m.run("systemctl", "--failed", "--no-legend", "--plain"); !strings.Contains(failed, "portgrave-boot.service") {
		t.Errorf("systemctl --failed says\n%s", failed)
	}
}

// A boot that can't read what it should says what it did instead, and stays closed; the daemon goes on from there.
func TestBootFallsBack(t *testing.T) {
	t.Parallel()
	d := newDisk(t, document)
	m := d.boot()
	m.crash()

	// The control: a policy that can't be used does not matter as long as there is something that was in force.
	d.write("/etc/portgrave/policy.yaml", bad)
	m, r := d.bootUnplugged()
	m.neverOpen(r)
	m.gate("with a bad policy and a good history")
	m.isActive("portgrave.service", "active")
	m.crash()

	d.damage("/var/lib/portgrave/generations")
	m, r = d.bootUnplugged()
	m.neverOpen(r)
	if got := m.ask(friend); got != lab.Dropped {
		t.Errorf("with nothing to load, %s is %s: not closed", friend, got)
	}
	m.isActive("multi-user.target", "active")
	m.isActive("portgrave-boot.service", "active")
	m.isActive("portgrave.service", "active") // with nothing to enforce, it leaves alone what the boot has put in force
	status, _ := m.try("portgrave", "status")
	for _, want := range []string{"Nobody is let in", "policy.yaml:2:", "damaged"} {
		if !strings.Contains(status, want) {
			t.Errorf("portgrave status doesn't say %q:\n%s", want, status)
		}
	}
	// Once there is a policy that can be used, it is.
	d.write("/etc/portgrave/policy.yaml", document)
	m.await("the policy to be in force", func() bool { return m.ask(friend) == lab.Open })
	m.gate("with a good policy again")
}

// damage spoils every file of a folder.
func (d *disk) damage(folder string) {
	d.t.Helper()
	entries, err := os.ReadDir(filepath.Join(d.root, folder))
	if err != nil || len(entries) == 0 {
		d.t.Fatalf("there is nothing to damage in %s: %v", folder, err)
	}
	for _, e := range entries {
		path := filepath.Join(d.root, folder, e.Name())
		b, err := os.ReadFile(path)
		if err == nil {
			b[len(b)/2] ^= 0x55
			err = os.WriteFile(path, b, 0o600)
		}
		if err != nil {
			d.t.Fatal(err)
		}
	}
}

// A daemon that can't start leaves the rules of the boot alone, is tried again, and starts once it can.
func TestDaemonCannotStart(t *testing.T) {
	t.Parallel()
	d := newDisk(t, document)
	if err := os.RemoveAll(filepath.Join(d.root, "/var/lib/portgrave")); err != nil {
		t.Fatal(err)
	}
	d.write("/var/lib/portgrave", "a file where the state directory belongs\n")
	m, r := d.bootUnplugged()
	m.neverOpen(r)
	m.isActive("multi-user.target", "active")
	m.isActive("portgrave-boot.service", "active")
	m.isActive("portgrave.service", "activating") // until it starts again
	m.gate("without a daemon")
	status, _ := m.try("portgrave", "status")
	if !strings.Contains(status, "/var/lib/portgrave") {
		t.Errorf("portgrave status does not say what is wrong:\n%s", status)
	}
	foes := siege(m.World)
	m.run("rm", "/var/lib/portgrave")
	m.newDaemon(0)
	m.held("the daemon starts at last", foes)
	m.gate("with the daemon")
}
