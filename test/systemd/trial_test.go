package systemd

import (
	"strings"
	"testing"

	"github.com/portgrave/portgrave/test/lab"
)

const everybody = "version: 1\nservices: [{name: metrics, port: 9090, allow: [any]}]\n"

// An apply that nobody confirms is taken back although everything that its login started was ended,
// as logind does it where it is told to, and no daemon runs: systemd has been told to see to it.
func TestTimerOutlivesTheLogin(t *testing.T) {
	t.Parallel()
	d := newDisk(t, document)
	m := d.boot()
	m.Host.ListenTCP(port)
	m.gate("after the boot")
	m.run("systemctl", "stop", "portgrave.service")
	d.write("/etc/wide.yaml", everybody)
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
		// The login: a scope, of which nothing is left once it is stopped, whatever session a
		// process of it has moved to.
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
		if got := m.ask(foe); got != lab.Open {
			t.Fatalf("the policy on trial lets everybody in, yet %s is %s", foe, got)
		}
		if timer {
			m.await("the timer to take it back", func() bool { return m.ask(foe) == lab.Dropped })
			m.gate("taken back")
			m.await("the timer to go", func() bool { return timers() == "" })
			continue
		}
		m.run("sleep", "15")
		if got := m.ask(foe); got != lab.Open {
			t.Errorf("without a timer it was taken back: the test proves nothing; %s", got)
		}
		if out, err := m.try("portgrave", "history"); err != nil ||
			!strings.Contains(out, "has been taken back") { // any later command does it
			t.Errorf("history: %v\n%s", err, out)
		}
		m.gate("taken back by a later command")
	}

	// Where nothing is on trial, no timer stays; and a confirmed one changes nothing when its time
	// has come.
	m.run("portgrave", "apply", "--confirm", "10s")
	if left := timers(); left != "" {
		t.Errorf("there was nothing to do, and this is left: %s", left)
	}
	m.run("portgrave", "--config", "/etc/wide.yaml", "apply", "--confirm", "10s")
	m.run("portgrave", "confirm")
	m.await("the timer to come and go", func() bool { return timers() == "" })
	if got := m.ask(foe); got != lab.Open {
		t.Errorf("confirmed, and yet %s is %s", foe, got)
	}
	// systemd would take back the rules of its own network, so for another one it is not told.
	m.run("unshare", "--net", "env", "PORTGRAVE_STATE_DIR=/run/other", "PORTGRAVE_RUN_DIR=/run/other",
		"portgrave", "--config", "/etc/wide.yaml", "apply", "--confirm", "10s")
	if left := timers(); left != "" {
		t.Errorf("an apply in another network has left %s", left)
	}
	if failed := m.run("systemctl", "list-units", "--failed", "--no-legend", "portgrave-*"); failed != "" {
		t.Errorf("these have failed:\n%s", failed)
	}
}

// After a teardown a boot enforces nothing, neither at its beginning nor by the daemon, until the
// next apply; and then boots do again.
func TestTeardownOutlivesBoots(t *testing.T) {
	t.Parallel()
	d := newDisk(t, document)
	m := d.boot()
	m.Host.ListenTCP(port)
	m.gate("after the boot")
	m.run("portgrave", "teardown")
	m.crash()
	for range 2 {
		m = d.boot()
		m.Host.ListenTCP(port)
		for _, unit := range []string{"portgrave-boot.service", "portgrave.service"} {
			m.isActive(unit, "active")
		}
		if got := m.ask(foe); got != lab.Open || m.tableStands() {
			t.Errorf("after a teardown and a boot %s is %s", foe, got)
		}
		status := m.run("portgrave", "status")
		for _, want := range []string{"nothing is enforced, at boot neither, until portgrave apply", "portgrave teardown had removed the rules"} {
			if !strings.Contains(status, want) {
				t.Errorf("status doesn't say %q:\n%s", want, status)
			}
		}
		m.crash()
	}
	m = d.boot()
	m.Host.ListenTCP(port)
	m.run("portgrave", "apply")
	m.gate("applied")
	m.crash()
	m = d.boot()
	m.Host.ListenTCP(port)
	m.gate("applied, and booted")
}
