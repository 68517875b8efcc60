package systemd

import (
	"strings"
	"testing"

	"github.com/portgrave/portgrave/test/lab"
)

// network is what configures the network of a machine. It writes down whether our rules were there before its first interface was. As the
// tools that do this for real it comes after network-pre.target; unlike many of them it doesn't have that target started. It takes a second
// with the interface up, before any daemon starts, so that a siege on a busy machine sees a host that is open.
const network = `[Unit]
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

// early is a unit that starts something as soon as it can, as ours is.
const early = "sysinit.target"

// unplugged is a world whose host has no interface up, but a listener that answers from before the power is on.
func unplugged(t *testing.T) *lab.World {
	t.Helper()
	w := lab.New(t)
	w.Host.ListenTCP(port)
	w.PinNeighbours()
	for _, l := range []string{"eth0", "eth1", "docker0", "veth0"} {
		w.Host.Run("ip", "link", "set", l, "down")
	}
	return w
}

// bootUnplugged boots a disk that brings up its network itself, under siege from before the power is on until all has started.
func (d *disk) bootUnplugged() (*machine, lab.Report) {
	d.t.Helper()
	d.unit("network.service", network, early)
	d.write("/usr/local/sbin/network", networkScript)
	w := unplugged(d.t)
	foes := siege(w)
	m := d.powerOn(w)
	m.waitBooted()
	foes.WaitRounds(20)
	r := foes.Stop()
	d.t.Logf("rules when the network came up: %s; %d of %d packets of a refused source got through from power-on to the end of the boot", m.rulesFirst(), r.Open, r.Sent)
	return m, r
}

// rulesFirst is "rules" if ours were in force before the first interface was up, else "none"; "no network" if systemd has not brought it up.
func (m *machine) rulesFirst() string {
	m.t.Helper()
	found, err := m.try("cat", "/run/before-network")
	if err != nil {
		return "no network"
	}
	return strings.TrimSpace(found)
}

// neverOpen fails the test unless rules came first and nothing got through a siege.
func (m *machine) neverOpen(r lab.Report) {
	m.t.Helper()
	if first := m.rulesFirst(); first != "rules" {
		m.t.Errorf("when the network came up there were no rules (%s)", first)
	}
	if r.Open > 0 || r.Sent == 0 {
		m.t.Errorf("%d of %d packets of a refused source got through", r.Open, r.Sent)
	}
}

// isActive fails the test unless a unit is in that state.
func (m *machine) isActive(unit, want string) {
	m.t.Helper()
	if got := m.show(unit, "ActiveState"); got != want {
		out, _ := m.try("systemctl", "--no-pager", "--full", "status", unit)
		m.t.Errorf("%s is %s, want %s\n%s", unit, got, want, out)
	}
}

// Rules are in force before any interface is up: at the first boot, out of the policy; at the next, although the power failed, out of what
// was in force; and with a generation on trial, out of the one before.
func TestRulesComeBeforeTheNetwork(t *testing.T) {
	t.Parallel()
	d := newDisk(t, document)
	m, r := d.bootUnplugged()
	m.neverOpen(r)
	m.isActive("portgrave-boot.service", "active")
	m.isActive("network-pre.target", "active")
	m.isActive("portgrave.service", "active")
	m.gate("at the first boot")
	m.crash()

	m, r = d.bootUnplugged()
	m.neverOpen(r)
	m.gate("at the second boot")
	if log := m.journal("portgrave-boot.service"); !strings.Contains(log, "Generation 1 is in force") {
		t.Errorf("the second boot did not load what the first had in force:\n%s", log)
	}
	m.write("/etc/wide.yaml", "version: 1\nservices: [{name: metrics, port: 9090, allow: [any]}]\n")
	m.run("portgrave", "--config", "/etc/wide.yaml", "apply", "--confirm", "10m")
	if got := m.ask(foe); got != lab.Open {
		t.Fatalf("the policy on trial lets everybody in, yet %s is %s", foe, got)
	}
	m.crash()

	m, r = d.bootUnplugged()
	m.neverOpen(r)
	m.gate("after a reboot in the middle of a trial")
	if status := m.run("portgrave", "status"); strings.Contains(status, "put nothing in force") {
		t.Errorf("portgrave status is wrong about the boot:\n%s", status)
	}
	// The rules outlive the shutdown, for as long as there is a network.
	foes := siege(m.World)
	m.shutDown()
	m.held("shut down", foes)
}

// late is a unit as one might write it who thinks no further than "at boot".
const late = `[Unit]
After=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/bin/portgrave boot
[Install]
WantedBy=multi-user.target
`

// The control of the above: the same boot with a late unit lets packets in, and both observations tell.
func TestALateUnitIsFoundOut(t *testing.T) {
	t.Parallel()
	d := newDisk(t, document)
	d.chroot("systemctl", "disable", "portgrave-boot.service")
	d.unit("portgrave-boot.service", late, "multi-user.target")
	m, r := d.bootUnplugged()
	m.isActive("portgrave-boot.service", "active")
	if first := m.rulesFirst(); first != "none" {
		t.Errorf("rules before the network (%s), though the unit is late", first)
	}
	if r.Open == 0 {
		t.Errorf("none of %d packets got through, though the unit is late", r.Sent)
	}
	m.gate("after a late boot")
}

// Nobody else has network-pre.target started, so without ours it is not: what is shown above rests on our unit.
func TestNobodyElseWantsNetworkPre(t *testing.T) {
	t.Parallel()
	d := newDisk(t, document)
	d.chroot("systemctl", "disable", "portgrave-boot.service", "portgrave.service")
	m, r := d.bootUnplugged()
	m.isActive("network-pre.target", "inactive")
	if first := m.rulesFirst(); first != "none" || r.Open == 0 {
		t.Errorf("without portgrave: %s, and %d packets got through", first, r.Open)
	}
}
