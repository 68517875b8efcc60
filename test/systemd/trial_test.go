package systemd

import (
	"strings"
	"testing"

	"github.com/portgrave/portgrave/test/lab"
)

const trialPolicy = "version: 1\nservices: [{name: metrics, port: 9090, allow: [any]}]\n"

// An unconfirmed apply is taken back by a systemd timer, even if all processes of its login were
// killed (as logind can be configured to do) and no daemon runs.
func TestTimerOutlivesTheLogin(t *testing.T) {
	t.Parallel()
	d := newDisk(t, policyText)
	m := d.boot()
	m.Host.ListenTCP(port)
	m.checkAccess("after the boot")
	m.run("systemctl", "stop", "portgrave.service")
	d.write("/etc/wide.yaml", trialPolicy)
	timers := func() string {
		return m.run(
			"systemctl",
			"list-units",
			"--type=timer",
			"--all",
			"--no-legend",
			"portgrave-takeback-*",
		)
	}
	for _, timer := range []bool{true, false} { // the second is the control
		// The login is a scope. Stopping it ends all its processes, even those in another session.
		m.run(
			"systemd-run",
			"--quiet",
			"--scope",
			"--unit=login",
			"sh",
			"-c",
			"portgrave --config /etc/wide.yaml apply --confirm 10s >/etc/applied",
		)
		m.await("both guards", func() bool { return len(m.guards()) == 2 })
		if !strings.Contains(timers(), "portgrave-takeback-") {
			t.Error("apply has left no timer")
		}
		if !timer {
			m.run("systemctl", "stop", "portgrave-takeback-*.timer")
		}
		m.run("systemctl", "kill", "--signal=KILL", "login.scope")
		m.await("the end of the login", func() bool { return len(m.guards()) == 0 })
		if got := m.connectFrom(refusedSource); got != lab.Open {
			t.Fatalf("the policy on trial lets everybody in, yet %s is %s", refusedSource, got)
		}
		if timer {
			m.await("the timer to take it back",
				func() bool { return m.connectFrom(refusedSource) == lab.Dropped })
			m.checkAccess("taken back")
			m.await("the timer to go", func() bool { return timers() == "" })
			continue
		}
		m.run("sleep", "15")
		if got := m.connectFrom(refusedSource); got != lab.Open {
			t.Errorf("without a timer it was taken back: the test proves nothing; %s", got)
		}
		if out, err := m.try("portgrave", "history"); err != nil ||
			!strings.Contains(out, "has been taken back") { // the next command takes it back
			t.Errorf("history: %v\n%s", err, out)
		}
		m.checkAccess("taken back by a later command")
	}

	// If nothing is on trial, no timer stays. The timer of a confirmed trial changes nothing.
	m.run("portgrave", "apply", "--confirm", "10s")
	if left := timers(); left != "" {
		t.Errorf("there was nothing to do, and this is left: %s", left)
	}
	m.run("portgrave", "--config", "/etc/wide.yaml", "apply", "--confirm", "10s")
	m.run("portgrave", "confirm")
	m.await("the timer to come and go", func() bool { return timers() == "" })
	if got := m.connectFrom(refusedSource); got != lab.Open {
		t.Errorf("confirmed, and yet %s is %s", refusedSource, got)
	}
	// systemd would change the rules of its own network, so it gets no timer for another one.
	m.run("unshare", "--net", "env", "PORTGRAVE_STATE_DIR=/run/other",
		"PORTGRAVE_RUN_DIR=/run/other",
		"portgrave", "--config", "/etc/wide.yaml", "apply", "--confirm", "10s")
	if left := timers(); left != "" {
		t.Errorf("an apply in another network has left %s", left)
	}
	if failed := m.run("systemctl", "list-units", "--failed", "--no-legend",
		"portgrave-*"); failed != "" {
		t.Errorf("these have failed:\n%s", failed)
	}
}

// After a teardown, neither the boot unit nor the daemon enforces anything until the next apply.
func TestTeardownOutlivesBoots(t *testing.T) {
	t.Parallel()
	d := newDisk(t, policyText)
	m := d.boot()
	m.Host.ListenTCP(port)
	m.checkAccess("after the boot")
	m.run("portgrave", "teardown")
	m.crash()
	for range 2 {
		m = d.boot()
		m.Host.ListenTCP(port)
		for _, unit := range []string{"portgrave-boot.service", "portgrave.service"} {
			m.isActive(unit, "active")
		}
		if got := m.connectFrom(refusedSource); got != lab.Open || m.hasTable() {
			t.Errorf("after a teardown and a boot %s is %s", refusedSource, got)
		}
		status := oneLine(m.run("portgrave", "status"))
		for _, want := range []string{"nothing is enforced, not even at boot, until portgrave apply",
			"portgrave teardown had removed the rules"} {
			if !strings.Contains(status, want) {
				t.Errorf("status doesn't say %q:\n%s", want, status)
			}
		}
		m.crash()
	}
	m = d.boot()
	m.Host.ListenTCP(port)
	m.run("portgrave", "apply")
	m.checkAccess("applied")
	m.crash()
	m = d.boot()
	m.Host.ListenTCP(port)
	m.checkAccess("applied, and booted")
}
