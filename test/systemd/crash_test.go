package systemd

import "testing"

// TestAuditThatCrashes checks that a crash of the audit is a failure of the unit. The unit treats
// exit code 2 (findings) as success, and Go exits with 2 when it crashes. SIGQUIT ends a Go program
// like a panic.
func TestAuditThatCrashes(t *testing.T) {
	t.Parallel()
	d := newDisk(t, policyText)
	m := d.boot()
	const unit = "portgrave-audit.service"
	m.run("systemctl", "start", unit)
	if result := m.show(unit, "Result"); result != "success" { // the control
		t.Fatalf("the audit is a %s:\n%s", result, m.output(unit))
	}
	m.run("mkfifo", "-m", "644", "/etc/rules")
	d.dropIn(
		unit,
		"[Service]\nExecStart=\nExecStart=/bin/sh -c 'exec /usr/local/bin/portgrave audit "+
			"--ruleset - --port 9090 --interface eth0 </etc/rules'\nLimitCORE=0\n",
	)
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "start", "--no-block", unit)
	// The shell opens the FIFO once there is a writer, and then runs the audit, which reads on.
	m.run(
		"timeout",
		"60",
		"sh",
		"-c",
		"exec 3>/etc/rules; until [ \"$(cat /proc/$(systemctl show -P MainPID "+unit+
			")/comm)\" = portgrave ]; do sleep 0.1; done; "+
			"systemctl kill --signal=QUIT "+unit+"; while systemctl -q is-active "+unit+
			" || [ \"$(systemctl show -P ActiveState "+unit+")\" = activating ]; do sleep 0.1; "+
			"done",
	)
	if result := m.show(unit, "Result"); result != "signal" && result != "core-dump" {
		t.Errorf("a crash is a %s:\n%s", result, m.output(unit))
	}
}
