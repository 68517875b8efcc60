package systemd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/test/lab"
)

// invalidPolicy has a mistake.
const invalidPolicy = "version: 1\nservices: [{name: metrics, port: 9090, allow: [any], typo: 1}]\n"

// A boot unit that fails prevents nothing from starting and is listed by systemctl --failed. The
// daemon enforces as soon as it runs.
func TestBootUnitFails(t *testing.T) {
	t.Parallel()
	d := newDisk(t, policyText)
	d.dropIn("portgrave-boot.service", "[Service]\nExecStart=\nExecStart=/bin/false\n")
	m, r := d.bootUnplugged()
	if m.whatCameFirst() != "none" || r.Open == 0 {
		t.Errorf("the boot unit was to fail, yet rules came first (%s), or none of %d packets "+
			"got through: this proves nothing", m.whatCameFirst(), r.Sent)
	}
	m.isActive("portgrave-boot.service", "failed")
	m.isActive("multi-user.target", "active")
	m.isActive("portgrave.service", "active")
	m.checkAccess("after the daemon has started")
	if status := oneLine(m.run("portgrave", "status")); !strings.Contains(status, "portgrave-boot.service put nothing in force") {
		t.Errorf("portgrave status does not tell of the boot:\n%s", status)
	}
	if failed := m.run("systemctl", "--failed", "--no-legend",
		"--plain"); !strings.Contains(failed, "portgrave-boot.service") {
		t.Errorf("systemctl --failed says\n%s", failed)
	}
}

// A boot that can't read the generations reports what it did instead, and closes the ports. The
// daemon continues from there.
func TestBootFallsBack(t *testing.T) {
	t.Parallel()
	d := newDisk(t, policyText)
	m := d.boot()
	m.crash()

	// The control: an invalid policy doesn't matter as long as there is a generation.
	d.write("/etc/portgrave/policy.yaml", invalidPolicy)
	m, r := d.bootUnplugged()
	m.checkNeverOpen(r)
	m.checkAccess("with a bad policy and a good history")
	m.isActive("portgrave.service", "active")
	m.crash()

	d.damage("/var/lib/portgrave/generations")
	m, r = d.bootUnplugged()
	m.checkNeverOpen(r)
	if got := m.connectFrom(allowedSource); got != lab.Dropped {
		t.Errorf("with nothing to load, %s is %s: not closed", allowedSource, got)
	}
	m.isActive("multi-user.target", "active")
	m.isActive("portgrave-boot.service", "active")
	m.isActive("portgrave.service", "active") // with no valid policy, it keeps the boot's rules
	status, _ := m.try("portgrave", "status")
	status = oneLine(status)
	for _, want := range []string{"nobody is let in", "policy.yaml:2:", "damaged"} {
		if !strings.Contains(status, want) {
			t.Errorf("portgrave status doesn't say %q:\n%s", want, status)
		}
	}
	// A valid policy is enforced.
	d.write("/etc/portgrave/policy.yaml", policyText)
	m.await("the policy to be in force",
		func() bool { return m.connectFrom(allowedSource) == lab.Open })
	m.checkAccess("with a good policy again")
}

// damage corrupts every file of a folder.
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

// A daemon that can't start leaves the boot's rules in force. systemd retries until it starts.
func TestDaemonCannotStart(t *testing.T) {
	t.Parallel()
	d := newDisk(t, policyText)
	if err := os.RemoveAll(filepath.Join(d.root, "/var/lib/portgrave")); err != nil {
		t.Fatal(err)
	}
	d.write("/var/lib/portgrave", "a file where the state directory belongs\n")
	m, r := d.bootUnplugged()
	m.checkNeverOpen(r)
	m.isActive("multi-user.target", "active")
	m.isActive("portgrave-boot.service", "active")
	m.isActive("portgrave.service", "activating") // until the next try
	m.checkAccess("without a daemon")
	status, _ := m.try("portgrave", "status")
	status = oneLine(status)
	if !strings.Contains(status, "/var/lib/portgrave") {
		t.Errorf("portgrave status does not say what is wrong:\n%s", status)
	}
	foes := probeRefused(m.World)
	m.run("rm", "/var/lib/portgrave")
	m.newDaemon(0)
	m.checkNothingPassed("the daemon starts at last", foes)
	m.checkAccess("with the daemon")
}
