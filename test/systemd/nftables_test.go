package systemd

import (
	"testing"

	"github.com/portgrave/portgrave/test/lab"
)

// Debian's nftables.service begins with "flush ruleset". If enabled, it runs before ours. If
// restarted later, it doesn't affect a table that a daemon owns, and the next daemon restores an
// unowned one.
func TestNftablesService(t *testing.T) {
	t.Parallel()
	d := newDisk(t, protectedPolicy)
	d.chroot("systemctl", "enable", "nftables.service")
	m, r := d.bootUnplugged()
	m.checkNeverOpen(r)
	m.isActive("nftables.service", "active")
	m.isActive("portgrave-boot.service", "active")
	if rules := m.run("nft", "list",
		"tables"); rules != "table inet filter\ntable inet portgrave\n" {
		t.Errorf("after the boot the kernel holds %q", rules)
	}
	m.checkAccess("after the boot")
	m.awaitOwnership()
	foes := probeRefused(m.World)
	m.run("systemctl", "restart", "nftables.service")
	m.run("systemctl", "reload", "nftables.service")
	m.checkNothingPassed("nftables.service restarted and reloaded", foes)
	m.checkAccess("after nftables.service was restarted")

	// The control: without a daemon, a restart removes the rules. The next daemon restores them.
	m.run("systemctl", "stop", "portgrave.service")
	m.run("systemctl", "restart", "nftables.service")
	if got := m.connectFrom(refusedSource); got != lab.Open {
		t.Errorf(
			"without a daemon a flush has taken nothing away (%s is %s): this proves nothing",
			refusedSource,
			got,
		)
	}
	m.run("systemctl", "start", "portgrave.service")
	m.checkAccess("with a daemon again")
	m.shutDown()
}

// The control for the order: with nftables.service after ours, there are no rules when the network
// comes up.
func TestNftablesServiceLast(t *testing.T) {
	t.Parallel()
	d := newDisk(t, policyText)
	d.chroot("systemctl", "enable", "nftables.service")
	unit := d.read("/etc/systemd/system/portgrave-boot.service")
	d.write("/etc/systemd/system/portgrave-boot.service",
		withoutLine(t, unit, "After=nftables.service"))
	d.dropIn("nftables.service", "[Unit]\nAfter=portgrave-boot.service\n")
	m, r := d.bootUnplugged()
	m.isActive("nftables.service", "active")
	m.isActive("portgrave-boot.service", "active")
	if first := m.whatCameFirst(); first != "none" || r.Open == 0 {
		t.Errorf("flushed after ours, yet %s, and %d of %d packets got through",
			first, r.Open, r.Sent)
	}
	m.checkAccess("after the daemon has repaired that")
}
