package systemd

import (
	"strings"
	"testing"

	"github.com/portgrave/portgrave/test/lab"
)

// iptablesPolicy has more sources than fit into rules, so that ipset is needed too.
const iptablesPolicy = `version: 1
services:
  - name: metrics
    port: 9090
    allow: [192.88.99.0/24, 10.9.1.0/24, 10.9.3.0/24, 10.9.5.0/24, 10.9.7.0/24, 10.9.9.0/24, 10.9.11.0/24, 10.9.13.0/24, 10.9.15.0/24,
      10.9.17.0/24, 10.9.19.0/24, 10.9.21.0/24, 10.9.23.0/24, 10.9.25.0/24, 10.9.27.0/24, 10.9.29.0/24, 10.9.31.0/24, 10.9.33.0/24]
daemon: {poll: 1s}
`

// With its drop-in, the daemon and the boot enforce through iptables. Without it, they can't.
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
	d.chroot("update-alternatives", "--quiet", "--set", "ip6tables",
		"/usr/sbin/"+strings.Replace(variant, "iptables", "ip6tables", 1))
	m := d.boot()
	m.Host.ListenTCP(port)
	m.checkAccess("after the boot")
	m.run("systemctl", "stop", "portgrave.service")
	m.run("portgrave", "--backend", "iptables", "apply", "--reason", "to iptables")
	m.checkAccess("through iptables")
	if m.hasTable() || !m.hasChain() {
		t.Fatal("the rules have not moved to iptables")
	}
	// The control: without the drop-in it fails and says so.
	out, err := m.try("systemctl", "start", "portgrave.service")
	if text := m.show("portgrave.service", "StatusText"); err == nil &&
		!strings.Contains(text, "can't be enforced") {
		t.Errorf("without the drop-in the daemon works through iptables, too, so this proves "+
			"nothing: %s %s", text, out)
	}
	m.run("systemctl", "stop", "portgrave.service")
	m.checkAccess("without the drop-in")

	d.write("/etc/systemd/system/portgrave.service.d/iptables.conf",
		d.read("/usr/local/share/portgrave/iptables.conf"))
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "start", "portgrave.service")
	m.checkAccess("with the drop-in")
	m.run("iptables", "-t", "mangle", "-F")
	m.await("the rules to be repaired",
		func() bool { return m.connectFrom(refusedSource) == lab.Dropped && m.hasChain() })
	m.checkAccess("after iptables -F")
	m.run("portgrave", "open", "9090", "--from", refusedSource.String(), "--for", "1h", "--reason",
		"a lease")
	if got := m.connectFrom(refusedSource); got != lab.Open {
		t.Errorf("after open, %s is %s", refusedSource, got)
	}
	m.run("portgrave", "close", "9090")
	m.checkAccess("after close")
	m.crash()

	m = d.boot()
	m.Host.ListenTCP(port)
	m.checkAccess("after a reboot")
	if m.hasTable() || !m.hasChain() {
		t.Error("the reboot has moved the rules")
	}
	if said := m.output("portgrave-boot.service"); !strings.Contains(said, "through iptables") {
		t.Errorf("the boot said\n%s", said)
	}
	if status := oneLine(m.run("portgrave", "status")); !strings.Contains(status, "written with "+variant) {
		t.Errorf("portgrave status does not name %s:\n%s", variant, status)
	}
	m.isActive("portgrave.service", "active")
}

// hasChain reports whether our chain is hooked in iptables.
func (m *machine) hasChain() bool {
	m.t.Helper()
	return strings.Contains(m.run("iptables", "-t", "mangle", "-S", "PREROUTING"), "-j PORTGRAVE")
}
