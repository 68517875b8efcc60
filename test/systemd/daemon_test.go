package systemd

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/test/lab"
)

// daemon returns the number of the daemon's process inside the machine; 0 if none runs.
func (m *machine) daemon() int {
	m.t.Helper()
	pid, err := strconv.Atoi(m.show("portgrave.service", "MainPID"))
	if err != nil {
		m.t.Fatal(err)
	}
	return pid
}

// newDaemon waits until systemd has started another daemon, and it is ready.
func (m *machine) newDaemon(before int) int {
	m.t.Helper()
	pid := 0
	m.await("another daemon", func() bool {
		pid = m.daemon()
		return pid != 0 && pid != before && m.show("portgrave.service", "ActiveState") == "active"
	})
	return pid
}

// hasTable reports whether the kernel holds our table.
func (m *machine) hasTable() bool {
	_, err := m.try("nft", "list", "table", "inet", "portgrave")
	return err == nil
}

// dropTable removes our table, which no daemon must own.
func (m *machine) dropTable() {
	m.t.Helper()
	m.run("nft", "delete", "table", "inet", "portgrave")
}

// If the daemon is killed, hung or stopped, the rules stay. systemd restarts a killed or hung one.
func TestRulesOutliveTheDaemon(t *testing.T) {
	t.Parallel()
	d := newDisk(t, protectedPolicy)
	d.dropIn("portgrave.service", "[Service]\nWatchdogSec=3s\nRestartSec=100ms\n")
	m := d.boot()
	m.Host.ListenTCP(port)
	m.checkAccess("after the boot")
	m.awaitOwnership()

	{ // killed
		foes, before := probeRefused(m.World), m.daemon()
		m.run("kill", "-KILL", strconv.Itoa(before))
		m.newDaemon(before)
		m.checkNothingPassed("killed and started again", foes)
		m.checkAccess("after it was killed")
	}

	{ // hung
		foes, before := probeRefused(m.World), m.daemon()
		m.run("kill", "-STOP", strconv.Itoa(before))
		m.newDaemon(before)
		m.checkNothingPassed("hung, killed and started again", foes)
		m.checkAccess("after it hung")
		if log := m.journal("portgrave.service"); !strings.Contains(log, "Watchdog timeout") {
			t.Errorf("the journal says nothing of the watchdog:\n%s", log)
		}
		if state := oneLine(m.run("portgrave", "status")); !strings.Contains(
			state,
			"nobody else can change the rules",
		) {
			t.Errorf("the daemon that came after it doesn't own the table:\n%s", state)
		}
	}

	{ // stopped
		foes := probeRefused(m.World)
		m.run("systemctl", "stop", "portgrave.service")
		m.checkNothingPassed("stopped", foes)
		m.checkAccess("without a daemon")
		// The control: probes notice missing rules.
		foes = probeRefused(m.World)
		m.dropTable()
		foes.WaitRounds(20)
		if r := foes.Stop(); r.Open == 0 {
			t.Errorf("without rules %d of %d packets get through: the sieges prove nothing",
				r.Open, r.Sent)
		}
		m.run("systemctl", "start", "portgrave.service")
		m.checkAccess("started on a kernel without rules")
	}

	{ // hung without a watchdog: the control
		d.dropIn("portgrave.service", "[Service]\nWatchdogSec=0\nRestartSec=100ms\n")
		m.run("systemctl", "daemon-reload")
		m.run("systemctl", "restart", "portgrave.service")
		before := m.daemon()
		m.run("kill", "-STOP", strconv.Itoa(before))
		m.run("sleep", "5") // a watchdog of three seconds would have acted
		if now := m.daemon(); now != before {
			t.Errorf("process %d hung and became %d though there is no watchdog", before, now)
		}
		m.run("kill", "-CONT", strconv.Itoa(before))
	}
}

// slowStart delays the daemon's start, to find units that don't wait for it.
const slowStart = "[Service]\nExecStart=\nExecStart=/bin/sh -c 'sleep 2; exec " +
	"/usr/local/bin/portgrave daemon'\n"

// systemctl start returns when the rules are enforced, and systemctl reload when the new policy is.
func TestReadiness(t *testing.T) {
	t.Parallel()
	d := newDisk(t, unprotectedPolicy)
	m := d.boot()
	m.Host.ListenTCP(port)

	{ // start
		for _, kind := range []string{"notify", "exec"} { // the second is the control
			d.dropIn("portgrave.service", slowStart+"Type="+kind+"\n")
			m.run("systemctl", "daemon-reload")
			m.run("systemctl", "stop", "portgrave.service")
			m.dropTable()
			m.run("systemctl", "start", "portgrave.service")
			if got, want := m.hasTable(), kind == "notify"; got != want {
				t.Errorf("with Type=%s, after systemctl start, the rules are there: %v", kind, got)
			}
		}
		d.dropIn("portgrave.service", "")
		m.run("systemctl", "daemon-reload")
		m.run("systemctl", "restart", "portgrave.service")
	}

	{ // reload
		for n := range 5 {
			d.write(
				"/etc/portgrave/policy.yaml",
				fmt.Sprintf(
					"version: 1\nservices: [{name: metrics, port: 9090, allow: [192.88.99.0/24, "+
						"10.1.%d.0/24]}]\ndaemon: {protect: never}\n",
					n,
				),
			)
			m.run("systemctl", "reload", "portgrave.service")
			if rules := m.run("nft", "list", "table", "inet", "portgrave"); !strings.Contains(
				rules,
				fmt.Sprintf("10.1.%d.0", n),
			) {
				t.Errorf("after reload %d the kernel holds\n%s", n, rules)
			}
		}
	}

	{ // reload of a bad policy
		before := m.daemon()
		d.write(
			"/etc/portgrave/policy.yaml",
			"version: 1\nservices: [{name: metrics, port: 9090, allow: [any]}, {nam: typo}]\n",
		)
		out, err := m.try("systemctl", "reload", "portgrave.service")
		if err == nil {
			t.Errorf("systemctl reload took a policy that can't be used:\n%s", out)
		}
		m.checkAccess("after a bad policy")
		for _, where := range []string{
			oneLine(m.run("portgrave", "status")), m.journal("portgrave.service"),
		} {
			if !strings.Contains(where, "policy.yaml:2:") {
				t.Errorf("this does not say where the policy is wrong:\n%s", where)
			}
		}
		if text := m.show("portgrave.service",
			"StatusText"); !strings.Contains(text, "can't be used") {
			t.Errorf("systemctl status says %q", text)
		}
		if m.daemon() != before || m.show("portgrave.service", "ActiveState") != "active" {
			t.Error("a bad policy ended the daemon")
		}
		d.write("/etc/portgrave/policy.yaml", unprotectedPolicy)
		m.run("systemctl", "reload", "portgrave.service")
		if text := m.show("portgrave.service",
			"StatusText"); strings.Contains(text, "can't be used") {
			t.Errorf("with a good policy again, systemctl status says %q", text)
		}
	}
}

// An unconfirmed apply is taken back even if the daemon that made it is gone.
func TestGuardOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	d := newDisk(t, policyText)
	m := d.boot()
	m.Host.ListenTCP(port)
	m.checkAccess("after the boot")
	for _, kill := range []string{"process", "control-group"} { // the second is the control
		d.dropIn("portgrave.service", "[Service]\nKillMode="+kill+"\n")
		m.run("systemctl", "daemon-reload")
		m.run("systemctl", "restart", "portgrave.service")
		d.write("/etc/wide.yaml",
			"version: 1\nservices: [{name: metrics, port: 9090, allow: [any]}]\n")
		m.run("portgrave", "--config", "/etc/wide.yaml", "apply", "--confirm", "10s")
		m.run("systemctl", "stop", "portgrave.service")
		m.run("systemctl", "stop", "portgrave-takeback-*.timer") // this test is about the guards
		if got := m.connectFrom(refusedSource); got != lab.Open {
			t.Fatalf("the policy on trial lets everybody in, yet %s is %s", refusedSource, got)
		}
		guards := m.guards()
		if kill == "process" {
			// The guard that apply starts starts a second one a moment later.
			m.await("both guards", func() bool { return len(m.guards()) == 2 })
			m.await("the guard to take it back",
				func() bool { return m.connectFrom(refusedSource) != lab.Open })
			m.checkAccess("taken back")
			m.await("the guards to end", func() bool { return len(m.guards()) == 0 })
			continue
		}
		if len(guards) != 0 {
			t.Errorf("KillMode=control-group has left %v: the test proves nothing", guards)
		}
		m.run("sleep", "12")
		if got := m.connectFrom(refusedSource); got != lab.Open {
			t.Errorf("without a guard the apply was taken back: the test proves nothing; %s", got)
		}
		// A new daemon takes it back.
		m.run("systemctl", "start", "portgrave.service")
		m.checkAccess("taken back by the next daemon")
	}
}

// guards returns the processes that guard an unconfirmed apply.
func (m *machine) guards() (found []string) {
	m.t.Helper()
	out, _ := m.try("pgrep", "-a", "-f", "portgrave guard")
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if line != "" {
			found = append(found, line)
		}
	}
	return found
}
