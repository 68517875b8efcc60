package systemd

import (
	"strings"
	"testing"

	"github.com/portgrave/portgrave/test/lab"
)

// networkUnit configures the network of a machine, and records whether our rules were there before
// its first interface. Like real tools it comes after network-pre.target; unlike many it doesn't
// want that target. It keeps the interface up for a second before any daemon starts, so that probes
// find an open host even on a busy machine.
const networkUnit = `[Unit]
Description=The network of the test
DefaultDependencies=no
After=network-pre.target
Before=network.target sysinit.target
Wants=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /usr/local/sbin/network
`

const networkScript = `set -eu
if nft list table inet portgrave >/dev/null 2>&1; then echo rules; else echo none; fi >/run/before-network
ip link set eth0 up
ip route replace default via 198.51.100.1 dev eth0 onlink
sleep 1
`

// earlyTarget starts units as early as ours.
const earlyTarget = "sysinit.target"

// newUnpluggedWorld returns a world whose host has no interface up, and a listener that runs from
// before the machine's start.
func newUnpluggedWorld(t *testing.T) *lab.World {
	t.Helper()
	w := lab.New(t)
	w.Host.ListenTCP(port)
	w.PinNeighbours()
	for _, l := range []string{"eth0", "eth1", "docker0", "veth0"} {
		w.Host.Run("ip", "link", "set", l, "down")
	}
	return w
}

// bootUnplugged boots a disk that configures its own network, and probes it from before the start
// until everything runs.
func (d *disk) bootUnplugged() (*machine, lab.Report) {
	d.t.Helper()
	d.unit("network.service", networkUnit, earlyTarget)
	d.write("/usr/local/sbin/network", networkScript)
	w := newUnpluggedWorld(d.t)
	foes := probeRefused(w)
	m := d.powerOn(w)
	m.waitBooted()
	foes.WaitRounds(20)
	r := foes.Stop()
	d.t.Logf("rules when the network came up: %s; %d of %d packets of a refused source got "+
		"through from power-on to the end of the boot", m.whatCameFirst(), r.Open, r.Sent)
	return m, r
}

// whatCameFirst returns "rules" if ours were in force before the first interface was up, otherwise
// "none", or "no network" if no interface came up.
func (m *machine) whatCameFirst() string {
	m.t.Helper()
	found, err := m.try("cat", "/run/before-network")
	if err != nil {
		return "no network"
	}
	return strings.TrimSpace(found)
}

// checkNeverOpen fails the test unless rules came first and no probe got through.
func (m *machine) checkNeverOpen(r lab.Report) {
	m.t.Helper()
	if first := m.whatCameFirst(); first != "rules" {
		m.t.Errorf("when the network came up there were no rules (%s)", first)
	}
	if r.Open > 0 || r.Sent == 0 {
		m.t.Errorf("%d of %d packets of a refused source got through", r.Open, r.Sent)
	}
}

// isActive fails the test unless a unit is in a state.
func (m *machine) isActive(unit, want string) {
	m.t.Helper()
	if got := m.show(unit, "ActiveState"); got != want {
		out, _ := m.try("systemctl", "--no-pager", "--full", "status", unit)
		m.t.Errorf("%s is %s, want %s\n%s", unit, got, want, out)
	}
}

// Rules are in force before any interface is up. At the first boot they come from the policy, after
// a power failure from what was in force, and with a generation on trial from the one before.
func TestRulesComeBeforeTheNetwork(t *testing.T) {
	t.Parallel()
	d := newDisk(t, policyText)
	m, r := d.bootUnplugged()
	m.checkNeverOpen(r)
	m.isActive("portgrave-boot.service", "active")
	m.isActive("network-pre.target", "active")
	m.isActive("portgrave.service", "active")
	m.checkAccess("at the first boot")
	m.crash()

	m, r = d.bootUnplugged()
	m.checkNeverOpen(r)
	m.checkAccess("at the second boot")
	if log := m.journal("portgrave-boot.service"); !strings.Contains(log,
		"Generation 1 is in force") {
		t.Errorf("the second boot did not load what the first had in force:\n%s", log)
	}
	m.write("/etc/wide.yaml", "version: 1\nservices: [{name: metrics, port: 9090, allow: [any]}]\n")
	m.run("portgrave", "--config", "/etc/wide.yaml", "apply", "--confirm", "10m")
	if got := m.connectFrom(refusedSource); got != lab.Open {
		t.Fatalf("the policy on trial lets everybody in, yet %s is %s", refusedSource, got)
	}
	m.crash()

	m, r = d.bootUnplugged()
	m.checkNeverOpen(r)
	m.checkAccess("after a reboot in the middle of a trial")
	if status := oneLine(m.run("portgrave", "status")); strings.Contains(status, "put nothing in force") {
		t.Errorf("portgrave status is wrong about the boot:\n%s", status)
	}
	// The rules outlive the shutdown as long as the namespace exists.
	foes := probeRefused(m.World)
	m.shutDown()
	m.checkNothingPassed("shut down", foes)
}

// lateUnit is a unit that merely starts "at boot".
const lateUnit = `[Unit]
After=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/bin/portgrave boot
[Install]
WantedBy=multi-user.target
`

// The control: with a late unit, packets get in, and both observations notice.
func TestALateUnitIsFoundOut(t *testing.T) {
	t.Parallel()
	d := newDisk(t, policyText)
	d.chroot("systemctl", "disable", "portgrave-boot.service")
	d.unit("portgrave-boot.service", lateUnit, "multi-user.target")
	m, r := d.bootUnplugged()
	m.isActive("portgrave-boot.service", "active")
	if first := m.whatCameFirst(); first != "none" {
		t.Errorf("rules before the network (%s), though the unit is late", first)
	}
	if r.Open == 0 {
		t.Errorf("none of %d packets got through, though the unit is late", r.Sent)
	}
	m.checkAccess("after a late boot")
}

// Only our unit wants network-pre.target, so the tests above depend on it.
func TestNobodyElseWantsNetworkPre(t *testing.T) {
	t.Parallel()
	d := newDisk(t, policyText)
	d.chroot("systemctl", "disable", "portgrave-boot.service", "portgrave.service")
	m, r := d.bootUnplugged()
	m.isActive("network-pre.target", "inactive")
	if first := m.whatCameFirst(); first != "none" || r.Open == 0 {
		t.Errorf("without portgrave: %s, and %d packets got through", first, r.Open)
	}
}
