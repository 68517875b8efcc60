package systemd

import (
	"testing"

	"github.com/portgrave/portgrave/test/lab"
)

// Debian's nftables.service begins with "flush ruleset". Enabled, it is done before ours; restarted
// later it takes nothing away that a daemon owns, and what no daemon owns is back as soon as there
// is one.
func TestNftablesService(t *testing.T) {
	t.Parallel()
	d := newDisk(t, owned)
	d.chroot("systemctl", "enable", "nftables.service")
	m, r := d.bootUnplugged()
	m.neverOpen(r)
	m.isActive("nftables.service", "active")
	m.isActive("portgrave-boot.service", "active")
	if rules := m.run("nft", "list", "tables"); rules != "table inet filter\ntable inet portgrave\n" {
		t.Errorf("after the boot the kernel holds %q", rules)
	}
	m.gate("after the boot")
	m.owns()
	foes := siege(m.World)
	m.run("systemctl", "restart", "nftables.service")
	m.run("systemctl", "reload", "nftables.service")
	m.held("nftables.service restarted and reloaded", foes)
	m.gate("after nftables.service was restarted")

	// The control: without a daemon, a restart does take the rules away. The next daemon puts them
	// back.
	m.run("systemctl", "stop", "portgrave.service")
	m.run("systemctl", "restart", "nftables.service")
	if got := m.ask(foe); got != lab.Open {
		t.Errorf(
			"without a daemon a flush has taken nothing away (%s is %s): this proves nothing",
			foe,
			got,
		)
	}
	m.run("systemctl", "start", "portgrave.service")
	m.gate("with a daemon again")
	m.shutDown()
}

// The control for the order: with nftables.service after ours, the rules are gone when the network
// comes up.
func TestNftablesServiceLast(t *testing.T) {
	t.Parallel()
	d := newDisk(t, document)
	d.chroot("systemctl", "enable", "nftables.service")
	unit := d.read("/etc/systemd/system/portgrave-boot.service")
	d.write("/etc/systemd/system/portgrave-boot.service", without(t, unit, "After=nftables.service"))
	d.dropIn("nftables.service", "[Unit]\nAfter=portgrave-boot.service\n")
	m, r := d.bootUnplugged()
	m.isActive("nftables.service", "active")
	m.isActive("portgrave-boot.service", "active")
	if first := m.rulesFirst(); first != "none" || r.Open == 0 {
		t.Errorf("flushed after ours, yet %s, and %d of %d packets got through", first, r.Open, r.Sent)
	}
	m.gate("after the daemon has repaired that")
}
