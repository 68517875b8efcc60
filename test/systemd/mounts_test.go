package systemd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The state directory may be on its own file system. Rules wait for a local one, but not for one
// that needs the network.
func TestStateOnAnotherFileSystem(t *testing.T) {
	t.Parallel()
	d := newDisk(t, policyText)
	m := d.boot()
	m.crash()
	if err := os.Rename(filepath.Join(d.root, "/var/lib/portgrave"),
		filepath.Join(d.root, "/srv/state")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(d.root, "/var/lib/portgrave"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ options, boot string }{{"bind", "Generation 1 is in force"}, {"bind,_netdev", "The " +
		"policy was compiled"}} {
		d.write("/etc/fstab", "/srv/state /var/lib/portgrave none "+c.options+" 0 0\n")
		m, r := d.bootUnplugged()
		m.checkNeverOpen(r)
		if dropped := m.unstartedUnits(); len(dropped) > 0 {
			t.Errorf("with %s systemd has not started %v", c.options, dropped)
		}
		m.checkAccess("with " + c.options)
		if said := m.output("portgrave-boot.service"); !strings.Contains(said, c.boot) {
			t.Errorf("with %s the boot said\n%s", c.options, said)
		}
		if history := m.run("portgrave", "history"); strings.Count(history, "policy.yaml") > 1 {
			t.Errorf("with %s the daemon has not gone on from generation 1:\n%s",
				c.options, history)
		}
		m.crash()
	}
	// The control: waiting for a mount that needs the network is a cycle. systemd drops one of the
	// jobs, and which one is random.
	d.dropIn("portgrave-boot.service", "[Unit]\nAfter=var-lib-portgrave.mount\n")
	m, _ = d.bootUnplugged()
	if dropped := m.unstartedUnits(); len(dropped) == 0 {
		t.Errorf("after a mount that needs the network, yet all was started")
	}
}

// unstartedUnits returns our units that systemd has not started in this boot.
func (m *machine) unstartedUnits() (units []string) {
	m.t.Helper()
	for _, u := range []string{
		"network-pre.target", "network.service", "network.target", "var-lib-portgrave.mount",
		"portgrave-boot.service", "portgrave.service",
	} {
		if m.show(u, "ActiveState") != "active" {
			units = append(units, u)
		}
	}
	return units
}
