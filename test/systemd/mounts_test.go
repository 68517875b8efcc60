package systemd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The state directory may be a file system of its own. Rules wait for it if it is local; they don't if it takes the network.
func TestStateOnAnotherFileSystem(t *testing.T) {
	t.Parallel()
	d := newDisk(t, document)
	m := d.boot()
	m.crash()
	if err := os.Rename(filepath.Join(d.root, "/var/lib/portgrave"), filepath.Join(d.root, "/srv/state")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(d.root, "/var/lib/portgrave"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ options, boot string }{{"bind", "Generation 1 is in force"}, {"bind,_netdev", "The policy was compiled"}} {
		d.write("/etc/fstab", "/srv/state /var/lib/portgrave none "+c.options+" 0 0\n")
		m, r := d.bootUnplugged()
		m.neverOpen(r)
		if dropped := m.dropped(); len(dropped) > 0 {
			t.Errorf("with %s systemd has not started %v", c.options, dropped)
		}
		m.gate("with " + c.options)
		if said := m.said("portgrave-boot.service"); !strings.Contains(said, c.boot) {
			t.Errorf("with %s the boot said\n%s", c.options, said)
		}
		if history := m.run("portgrave", "history"); strings.Count(history, "policy.yaml") > 1 {
			t.Errorf("with %s the daemon has not gone on from generation 1:\n%s", c.options, history)
		}
		m.crash()
	}
	// The control: to wait for a mount that needs the network is to wait for oneself. Which of the jobs systemd drops then is chance.
	d.dropIn("portgrave-boot.service", "[Unit]\nAfter=var-lib-portgrave.mount\n")
	m, _ = d.bootUnplugged()
	if dropped := m.dropped(); len(dropped) == 0 {
		t.Errorf("after a mount that needs the network, yet all was started")
	}
}

// dropped are the units of these boots that systemd has not started.
func (m *machine) dropped() (units []string) {
	m.t.Helper()
	for _, u := range []string{"network-pre.target", "network.service", "network.target", "var-lib-portgrave.mount", "portgrave-boot.service", "portgrave.service"} {
		if m.show(u, "ActiveState") != "active" {
			units = append(units, u)
		}
	}
	return units
}
