package systemd

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// attempts tries what the daemon's restrictions forbid or allow. For each attempt it prints a line
// with its name, and "yes" if it succeeded.
const attempts = `try() { if sh -ec "$2" >/dev/null 2>&1; then echo "$1 yes"; else echo "$1 no"; fi; }
try state 'echo x >/var/lib/portgrave/attempt && rm /var/lib/portgrave/attempt'
try run 'echo x >/run/portgrave/attempt && rm /run/portgrave/attempt'
try policy 'cat /etc/portgrave/policy.yaml'
try etc 'echo x >/etc/attempt'
try usr 'echo x >/usr/attempt'
try var 'echo x >/var/attempt'
try home 'cat /root/secret'
try tmp 'cat /tmp/secret'
try inet 'bash -c "echo x >/dev/udp/127.0.0.1/9"'
try mount 'mount -t tmpfs none /mnt'
try uts 'unshare --uts true'
try user 'unshare --user true'
try setuid 'setpriv --reuid 1 --clear-groups true'
try chown 'touch /var/lib/portgrave/a && chown 1 /var/lib/portgrave/a'
try personality 'setarch i686 true'
try suid 'cp /bin/true /run/portgrave/s && chmod u+s /run/portgrave/s'
grep -E '^(Uid|Cap...|NoNewPrivs|Seccomp_filters):' /proc/self/status
`

// The kernel enforces what the unit says. The attempts run under the daemon's restrictions and, as
// the control, without them.
func TestHardeningIsInForce(t *testing.T) {
	t.Parallel()
	d := newDisk(t, policyText)
	d.write("/usr/local/sbin/attempts", attempts)
	d.write("/root/secret", "x")
	d.unit("bare.service", "[Service]\nType=oneshot\nExecStart=/bin/sh /usr/local/sbin/attempts\n")
	// Use the daemon's own unit with another program, so that no restriction is missing.
	unit := d.read("/etc/systemd/system/portgrave.service")
	for _, what := range []string{
		"Type", "ExecReload", "Restart", "RestartSec", "WatchdogSec", "NotifyAccess",
	} {
		unit = withoutLine(t, unit, what+"=")
	}
	d.unit(
		"confined.service",
		regexp.MustCompile("(?m)^ExecStart=.*").
			ReplaceAllString(unit, "Type=oneshot\nExecStart=/bin/sh /usr/local/sbin/attempts"),
	)
	m := d.boot()
	m.run("touch", "/tmp/secret")
	could := map[string]map[string]string{}
	for _, u := range []string{"bare", "confined"} {
		m.run("systemctl", "start", u+".service")
		could[u] = map[string]string{}
		for _, line := range strings.Split(m.output(u+".service"), "\n") {
			if key, value, ok := strings.Cut(strings.Replace(line, ":", " ", 1), " "); ok {
				could[u][key] = strings.TrimSpace(value)
			}
		}
	}
	for _, what := range []string{"state", "run", "policy"} { // the daemon needs these
		if could["confined"][what] != "yes" {
			t.Errorf("the daemon can't do what it must: %s", what)
		}
		delete(could["confined"], what)
		delete(could["bare"], what)
	}
	for what, can := range could["bare"] {
		switch {
		case can == "yes" && could["confined"][what] != "no":
			t.Errorf("the daemon could do this: %s (%q)", what, could["confined"][what])
		case can == "no":
			t.Errorf("nobody can do this here, so it proves nothing: %s", what)
		}
	}
	if n := len(could["bare"]); n < 13+8 {
		t.Errorf("only %d of the attempts were made: %v", n, could["bare"])
	}

	// The running daemon has the same restrictions: four capabilities, none that it could gain, and
	// filtered system calls.
	daemon := m.daemon()
	want := map[string]string{
		"CapPrm":          capabilities,
		"CapEff":          capabilities,
		"CapBnd":          capabilities,
		"CapAmb":          capabilities,
		"NoNewPrivs":      "1",
		"Uid":             could["confined"]["Uid"],
		"Seccomp_filters": could["confined"]["Seccomp_filters"],
	}
	for key, value := range want {
		if got := m.status(daemon, key); got != value {
			t.Errorf("the daemon has %s %s, want %s", key, got, value)
		}
	}
	if user := m.show("portgrave.service", "User"); user != "portgrave" ||
		strings.HasPrefix(want["Uid"], "0\t") {
		t.Errorf("the daemon is %s, user %q", user, want["Uid"])
	}
	// the control
	for _, key := range []string{"CapEff", "CapBnd", "NoNewPrivs", "Uid", "Seccomp_filters"} {
		if could["bare"][key] == want[key] {
			t.Errorf("%s is %s without any restriction, too", key, want[key])
		}
	}
}

// capabilities are NET_ADMIN, DAC_READ_SEARCH, SYS_PTRACE and LEASE, in the format of
// /proc/PID/status.
var capabilities = fmt.Sprintf(
	"%016x",
	1<<unix.CAP_NET_ADMIN|1<<unix.CAP_DAC_READ_SEARCH|1<<unix.CAP_SYS_PTRACE|1<<unix.CAP_LEASE,
)

// status returns a line of /proc/PID/status for a process of the machine.
func (m *machine) status(pid int, key string) string {
	m.t.Helper()
	for _, line := range strings.Split(m.run("cat", fmt.Sprintf("/proc/%d/status", pid)), "\n") {
		if k, v, ok := strings.Cut(line, ":"); ok && k == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
