package systemd

import "testing"

// TestAuditThatCrashes: the unit counts exit code 2, findings, as success, which is what Go ends
// with when it crashes. A crash must be a failure all the same. Go answers SIGQUIT as it answers a
// panic.
func TestAuditThatCrashes(t *testing.T) {
	t.Parallel()
	d := newDisk(t, document)
	m := d.boot()
	const unit = "portgrave-audit.service"
	m.run("systemctl", "start", unit)
	if result := m.show(unit, "Result"); result != "success" { // the control
		t.Fatalf("the audit is a %s:\n%s", result, m.said(unit))
	}
	m.run("mkfifo", "-m", "644", "/etc/rules")
	d.dropIn(
		unit,
		"[Service]\nExecStart=\nExecStart=/usr/local/bin/portgrave audit --ruleset /etc/rules --port 9090 --interface eth0\nLimitCORE=0\n",
	)
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "start", "--no-block", unit)
	// A FIFO is open for writing once somebody reads: then the audit is in the middle of it.
	m.run(
		"timeout",
		"60",
		"sh",
		"-c",
		"exec 3>/etc/rules; systemctl kill --signal=QUIT "+unit+"; while systemctl -q is-active "+unit+
			" || [ \"$(systemctl show -P ActiveState "+unit+")\" = activating ]; do sleep 0.1; done",
	)
	if result := m.show(unit, "Result"); result != "signal" && result != "core-dump" {
		t.Errorf("a crash is a %s:\n%s", result, m.said(unit))
	}
}
