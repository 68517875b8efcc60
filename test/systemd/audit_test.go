package systemd

import (
	"strings"
	"testing"
)

// The timer starts the audit. Findings are in the journal and don't make the unit fail.
func TestAuditTimer(t *testing.T) {
	t.Parallel()
	d := newDisk(t, policyText)
	d.unit("listener.service", listener, "multi-user.target") // not listed by the policy
	m := d.boot()
	m.isActive("portgrave-audit.timer", "active")
	if next := m.show("portgrave-audit.timer", "NextElapseUSecRealtime"); next == "" {
		t.Error("the timer is active, yet never due")
	}
	audited := func() bool {
		return strings.Contains(m.output("portgrave-audit.service"), "undeclared")
	}
	if audited() { // the control
		t.Fatal("there was an audit before the timer was due: what follows proves nothing")
	}
	d.dropIn("portgrave-audit.timer",
		"[Timer]\nOnActiveSec=1s\nAccuracySec=100ms\nRandomizedDelaySec=0\n")
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "restart", "portgrave-audit.timer")
	m.await("the audit", audited)
	m.await("the end of the audit",
		func() bool { return m.show("portgrave-audit.service", "ActiveState") == "inactive" })
	said := m.output("portgrave-audit.service")
	for _, want := range []string{"tcp/8080", "systemd-socket-", "undeclared"} {
		if !strings.Contains(said, want) {
			t.Errorf("the audit does not say %q:\n%s", want, said)
		}
	}
	if result := m.show("portgrave-audit.service", "Result"); result != "success" {
		t.Errorf("with findings the audit is a %s", result)
	}
	if failed := m.run("systemctl", "--failed", "--no-legend",
		"--plain"); strings.Contains(failed, "portgrave") {
		t.Errorf("failed: %s", failed)
	}
}
