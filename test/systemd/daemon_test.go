package systemd

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/test/lab"
)

// daemon is the number of the daemon's process inside the machine; 0 if none runs.
func (m *machine) daemon() int {
	m.t.Helper()
	pid, err := strconv.Atoi(m.show("portgrave.service", "MainPID"))
	if err != nil {
		m.t.Fatal(err)
	}
	return pid
}

// newDaemon waits until systemd has started another daemon than before, and that is ready.
func (m *machine) newDaemon(before int) int {
	m.t.Helper()
	pid := 0
	m.await("another daemon", func() bool {
		pid = m.daemon()
		return pid != 0 && pid != before && m.show("portgrave.service", "ActiveState") == "active"
	})
	return pid
}

// tableStands reports whether the kernel holds our table.
func (m *machine) tableStands() bool {
	_, err := m.try("nft", "list", "table", "inet", "portgrave")
	return err == nil
}

// dropTable removes our table, which must not belong to a daemon.
func (m *machine) dropTable() {
	m.t.Helper()
	m.run("nft", "delete", "table", "inet", "portgrave")
}

// The daemon dies, is stopped, is hung: the rules stay, and systemd brings it back.
func TestRulesOutliveTheDaemon(t *testing.T) {
	t.Parallel()
	d := newDisk(t, owned)
	d.dropIn("portgrave.service", "[Service]\nWatchdogSec=3s\nRestartSec=100ms\n")
	m := d.boot()
	m.Host.ListenTCP(port)
	m.gate("after the boot")
	m.owns()

	{ // killed
		foes, before := siege(m.World), m.daemon()
		m.run("kill", "-KILL", strconv.Itoa(before))
		m.newDaemon(before)
		m.held("killed and started again", foes)
		m.gate("after it was killed")
	}

	{ // hung
		foes, before := siege(m.World), m.daemon()
		m.run("kill", "-STOP", strconv.Itoa(before))
		m.newDaemon(before)
		m.held("hung, killed and started again", foes)
		m.gate("after it hung")
		if log := m.journal("portgrave.service"); !strings.Contains(log, "Watchdog timeout") {
			t.Errorf("the journal says nothing of the watchdog:\n%s", log)
		}
		if state := m.run("portgrave", "status"); !strings.Contains(
			state,
			"nobody else can change the rules",
		) {
			t.Errorf("the daemon that came after it doesn't own the table:\n%s", state)
		}
	}

	{ // stopped
		foes := siege(m.World)
		m.run("systemctl", "stop", "portgrave.service")
		m.held("stopped", foes)
		m.gate("without a daemon")
		// The control: a siege sees rules vanish.
		foes = siege(m.World)
		m.dropTable()
		foes.WaitRounds(20)
		if r := foes.Stop(); r.Open == 0 {
			t.Errorf("without rules %d of %d packets get through: the sieges prove nothing", r.Open, r.Sent)
		}
		m.run("systemctl", "start", "portgrave.service")
		m.gate("started on a kernel without rules")
	}

	{ // hung without a watchdog: the control
		d.dropIn("portgrave.service", "[Service]\nWatchdogSec=0\nRestartSec=100ms\n")
		m.run("systemctl", "daemon-reload")
		m.run("systemctl", "restart", "portgrave.service")
		before := m.daemon()
		m.run("kill", "-STOP", strconv.Itoa(before))
		m.run("sleep", "5") // a watchdog of three seconds would have barked
		if now := m.daemon(); now != before {
			t.Errorf("process %d hung and became %d though there is no watchdog", before, now)
		}
		m.run("kill", "-CONT", strconv.Itoa(before))
	}
}

// slowStart has the daemon begin late, so that whoever does not wait for it is found out.
const slowStart = "[Service]\nExecStart=\nExecStart=/bin/sh -c 'sleep 2; exec /usr/local/bin/portgrave daemon'\n"

// systemctl start returns when the rules are enforced, and systemctl reload when the policy as it
// is now is.
func TestReadiness(t *testing.T) {
	t.Parallel()
	d := newDisk(t, touchable)
	m := d.boot()
	m.Host.ListenTCP(port)

	{ // start
		for _, kind := range []string{"notify", "exec"} { // the second is the control
			d.dropIn("portgrave.service", slowStart+"Type="+kind+"\n")
			m.run("systemctl", "daemon-reload")
			m.run("systemctl", "stop", "portgrave.service")
			m.dropTable()
			m.run("systemctl", "start", "portgrave.service")
			if got, want := m.tableStands(), kind == "notify"; got != want {
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
					"version: 1\nservices: [{name: metrics, port: 9090, allow: [192.88.99.0/24, 10.1.%d.0/24]}]\ndaemon: {protect: never}\n",
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
		m.gate("after a bad policy")
		for _, where := range []string{m.run("portgrave", "status"), m.journal("portgrave.service")} {
			if !strings.Contains(where, "policy.yaml:2:") {
				t.Errorf("this does not say where the policy is wrong:\n%s", where)
			}
		}
		if text := m.show("portgrave.service", "StatusText"); !strings.Contains(text, "can't be used") {
			t.Errorf("systemctl status says %q", text)
		}
		if m.daemon() != before || m.show("portgrave.service", "ActiveState") != "active" {
			t.Error("a bad policy ended the daemon")
		}
		d.write("/etc/portgrave/policy.yaml", touchable)
		m.run("systemctl", "reload", "portgrave.service")
		if text := m.show("portgrave.service", "StatusText"); strings.Contains(text, "can't be used") {
			t.Errorf("with a good policy again, systemctl status says %q", text)
		}
	}
}

// An apply that nobody confirms is taken back although the daemon that was asked for it is gone.
func TestGuardOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	d := newDisk(t, document)
	m := d.boot()
	m.Host.ListenTCP(port)
	m.gate("after the boot")
	for _, kill := range []string{"process", "control-group"} { // the second is the control
		d.dropIn("portgrave.service", "[Service]\nKillMode="+kill+"\n")
		m.run("systemctl", "daemon-reload")
		m.run("systemctl", "restart", "portgrave.service")
		d.write("/etc/wide.yaml", "version: 1\nservices: [{name: metrics, port: 9090, allow: [any]}]\n")
		m.run("portgrave", "--config", "/etc/wide.yaml", "apply", "--confirm", "10s")
		m.run("systemctl", "stop", "portgrave.service")
		m.run("systemctl", "stop", "portgrave-takeback-*.timer") // this is about the guards
		if got := m.ask(foe); got != lab.Open {
			t.Fatalf("the policy on trial lets everybody in, yet %s is %s", foe, got)
		}
		guards := m.guards()
		if kill == "process" {
			// The one that apply started starts the other, a moment later.
			m.await("both guards", func() bool { return len(m.guards()) == 2 })
			m.await("the guard to take it back", func() bool { return m.ask(foe) != lab.Open })
			m.gate("taken back")
			m.await("the guards to end", func() bool { return len(m.guards()) == 0 })
			continue
		}
		if len(guards) != 0 {
			t.Errorf("KillMode=control-group has left %v: the test proves nothing", guards)
		}
		m.run("sleep", "12")
		if got := m.ask(foe); got != lab.Open {
			t.Errorf("without a guard the apply was taken back: the test proves nothing; %s", got)
		}
		// The daemon does it, once there is one.
		m.run("systemctl", "start", "portgrave.service")
		m.gate("taken back by the next daemon")
	}
}

// guards are the processes that wait beside an unconfirmed apply.
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
