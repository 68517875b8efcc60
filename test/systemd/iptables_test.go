package systemd

import (
	"strings"
	"testing"

	"github.com/portgrave/portgrave/test/lab"
)

// iptablesPolicy has more sources than become rules, so that the program ipset is needed too.
const iptablesPolicy = `version: 1
services:
  - name: metrics
    port: 9090
    allow: [192.88.99.0/24, 10.9.1.0/24, 10.9.3.0/24, 10.9.5.0/24, 10.9.7.0/24, 10.9.9.0/24, 10.9.11.0/24, 10.9.13.0/24, 10.9.15.0/24,
      10.9.17.0/24, 10.9.19.0/24, 10.9.21.0/24, 10.9.23.0/24, 10.9.25.0/24, 10.9.27.0/24, 10.9.29.0/24, 10.9.31.0/24, 10.9.33.0/24]
daemon: {poll: 1s}
`

// With its drop-in, the daemon enforces through iptables, and so does the boot; without, it can't.
func TestIptablesWithItsDropIn(t *testing.T) {
	t.Parallel()
	for _, variant := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(variant, func(t *testing.T) {
			t.Parallel()
			testIptables(t, variant)
		})
	}
}

func testIptables(t *testing.T, variant string) {
	d := newDisk(t, iptablesPolicy)
	d.chroot("update-alternatives", "--quiet", "--set", "iptables", "/usr/sbin/"+variant)
	d.chroot("update-alternatives", "--quiet", "--set", "ip6tables", "/usr/sbin/"+strings.Replace(variant, "iptables", "ip6tables", 1))
	m := d.boot()
	m.Host.ListenTCP(port)
	m.gate("after the boot")
	m.run("systemctl", "stop", "portgrave.service")
	m.run("portgrave", "--backend", "iptables", "apply", "--reason", "to iptables")
	m.gate("through iptables")
	if m.tableStands() || !m.chainStands() {
		t.Fatal("the rules have not moved to iptables")
	}
	// The control: without the drop-in it can't, and says so.
	out, err := m.try("systemctl", "start", "portgrave.service")
	if text := m.show("portgrave.service", "StatusText"); err == nil && !strings.Contains(text, "can't be enforced") {
		t.Errorf("without the drop-in the daemon works through iptables, too, so this proves nothing: %s %s", text, out)
	}
	m.run("systemctl", "stop", "portgrave.service")
	m.gate("without the drop-in")

	d.write("/etc/systemd/system/portgrave.service.d/iptables.conf", d.read("/usr/local/share/portgrave/iptables.conf"))
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "start", "portgrave.service")
	m.gate("with the drop-in")
	m.run("iptables", "-t", "mangle", "-F")
	m.await("the rules to be repaired", func() bool { return m.ask(foe) == lab.Dropped && m.chainStands() })
	m.gate("after iptables -F")
	m.run("portgrave", "open", "9090", "--from", foe.String(), "--for", "1h", "--reason", "a lease")
	if got := m.ask(foe); got != lab.Open {
		t.Errorf("after open, %s is %s", foe, got)
	}
	m.run("portgrave", "close", "9090")
	m.gate("after close")
	m.crash()

	m = d.boot()
	m.Host.ListenTCP(port)
	m.gate("after a reboot")
	if m.tableStands() || !m.chainStands() {
		t.Error("the reboot has moved the rules")
	}
	if said := m.said("portgrave-boot.service"); !strings.Contains(said, "through iptables") {
		t.Errorf("the boot said\n%s", said)
	}
	if status := m.run("portgrave", "status"); !strings.Contains(status, "written with "+variant) {
		t.Errorf("portgrave status does not name %s:\n%s", variant, status)
	}
	m.isActive("portgrave.service", "active")
}

// chainStands reports whether our chain is hooked in iptables.
func (m *machine) chainStands() bool {
	m.t.Helper()
	return strings.Contains(m.run("iptables", "-t", "mangle", "-S", "PREROUTING"), "-j PORTGRAVE")
}
