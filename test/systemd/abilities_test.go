package systemd

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/test/lab"
)

// listener is another program that listens. Its user is neither root nor the daemon's.
const listener = `[Unit]
Description=A program of the test that listens
[Service]
User=nobody
ExecStart=/usr/bin/systemd-socket-activate --listen=8080 /bin/cat
`

// openPolicy allows all sources.
const openPolicy = "version: 1\nservices: [{name: metrics, port: 9090, allow: [any]}]\n"

// All functions of the daemon work under the unit's restrictions.
func TestAbilitiesUnderRestrictions(t *testing.T) {
	t.Parallel()
	d := newDisk(t, protectedPolicy)
	d.write("/etc/wide.yaml", openPolicy)
	d.unit("listener.service", listener, "multi-user.target")
	m := d.boot()
	m.Host.ListenTCP(port)
	m.checkAccess("after the boot")
	m.testRepairs()
	m.testReports()
	m.testExposures()
	m.testCommands()
	m.testGroupAccess()
	m.testFollow()
	m.testStateWrittenByRoot()
	m.testMetrics()
}

// testRepairs checks that changes to a protected table have no effect, and that changes to another
// one are undone and reported with their author.
func (m *machine) testRepairs() {
	m.t.Helper()
	m.awaitOwnership()
	foes := probeRefused(m.World)
	m.run("nft", "flush", "ruleset")
	m.isActive("nftables.service", "inactive")
	m.run("systemctl", "start", "nftables.service") // it is not enabled, and flushes all rules
	m.checkNothingPassed("flushed while the daemon owns the table", foes)
	if out, err := m.try("nft", "delete", "table", "inet", "portgrave"); err == nil {
		m.t.Errorf("the table that the daemon owns could be deleted %s", out)
	}
	m.write("/etc/portgrave/policy.yaml", unprotectedPolicy)
	m.run("systemctl", "reload", "portgrave.service")
	for n, disrupt := range []string{"flush ruleset", "flush chain inet portgrave prerouting", "delete " +
		"table inet portgrave"} {
		m.run("nft", disrupt)
		m.await("a repair after "+disrupt, func() bool { return len(m.repairEvents()) > n })
		m.checkAccess("after " + disrupt)
		e := m.repairEvents()[n]
		// Only the command is known here: the kernel reports the process number outside of the
		// container.
		if e.Author == nil || e.Author.Command != "nft" {
			m.t.Errorf("%s has the author %+v", disrupt, e.Author)
		}
	}
}

// awaitOwnership waits until the daemon owns the table. To own it, the daemon makes it anew after
// reading the policy.
func (m *machine) awaitOwnership() {
	m.t.Helper()
	m.await("the table to be the daemon's alone", func() bool {
		return strings.Contains(oneLine(m.run("portgrave", "status")), "nobody else can change the rules")
	})
}

type event struct {
	Kind   string           `json:"kind"`
	Author *firewall.Author `json:"author"`
}

// repairEvents returns the repairs in the drift log.
func (m *machine) repairEvents() (found []event) {
	m.t.Helper()
	var log struct{ Events []event }
	if err := json.Unmarshal([]byte(m.run("portgrave", "drift", "--log", "-o", "json")),
		&log); err != nil {
		m.t.Fatal(err)
	}
	for _, e := range log.Events {
		if e.Kind == "repaired" {
			found = append(found, e)
		}
	}
	return found
}

// testReports checks that refused sources are in the journal, as a message and in fields.
func (m *machine) testReports() {
	m.t.Helper()
	m.await("a report of who was refused", func() bool {
		m.connectFrom(refusedSource)
		return strings.Contains(m.output("portgrave.service"), "source="+refusedSource.String())
	})
}

// testExposures checks that the daemon finds listeners and the name of another user's process.
func (m *machine) testExposures() {
	m.t.Helper()
	type exposure struct {
		Port          int
		Process, Unit string
	}
	seen := func() (e exposure) {
		var report struct{ Exposures []exposure }
		if err := json.Unmarshal([]byte(m.get("/v1/audit")), &report); err != nil {
			m.t.Fatal(err)
		}
		for _, e := range report.Exposures {
			if e.Port == 8080 {
				return e
			}
		}
		return exposure{}
	}
	if e := seen(); e.Port != 8080 || !strings.HasPrefix(e.Process, "systemd-socket-") ||
		e.Unit != "listener.service" {
		m.t.Errorf("the daemon sees the listener as %+v", e)
	}
	// The control: without the capability to look at other users' processes it can't.
	m.dropIn(
		"portgrave.service",
		"[Service]\nAmbientCapabilities=\nAmbientCapabilities=CAP_NET_ADMIN CAP_DAC_READ_SEARCH "+
			"CAP_LEASE\n",
	)
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "restart", "portgrave.service")
	if e := seen(); e.Port != 8080 || e.Process != "" {
		m.t.Errorf("without CAP_SYS_PTRACE the daemon sees the listener as %+v", e)
	}
	m.dropIn("portgrave.service", "")
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "restart", "portgrave.service")
}

// get sends a request to the daemon's control socket.
func (m *machine) get(path string) string {
	m.t.Helper()
	client := http.Client{
		Timeout: awaitTimeout,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix",
					m.hostPath("/run/portgrave/control.sock"))
			},
		},
	}
	r, err := client.Get("http://portgrave" + path)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		m.t.Fatalf("%s: %s, %v: %s", path, r.Status, err, b)
	}
	return string(b)
}

// testCommands runs commands that use the control socket.
func (m *machine) testCommands() {
	m.t.Helper()
	opens := func(what string, want lab.Answer) {
		m.t.Helper()
		if got := m.connectFrom(refusedSource); got != want {
			m.t.Errorf("after %s, %s is %s, want %s", what, refusedSource, got, want)
		}
	}
	m.run(
		"portgrave",
		"--config",
		"/etc/wide.yaml",
		"apply",
		"--confirm",
		"10m",
		"--reason",
		"a trial",
	)
	opens("apply --confirm", lab.Open)
	m.run("portgrave", "confirm")
	m.await("the guards to end", func() bool { return len(m.guards()) == 0 })
	m.run("portgrave", "rollback")
	opens("rollback", lab.Dropped)
	m.run("portgrave", "open", "9090", "--from", refusedSource.String(), "--for", "1h", "--reason",
		"a lease")
	opens("open", lab.Open)
	if leases := m.run("portgrave", "leases"); !strings.Contains(leases, refusedSource.String()) {
		m.t.Errorf("leases: %s", leases)
	}
	m.run("portgrave", "close", "9090")
	opens("close", lab.Dropped)
	m.run("portgrave", "teardown")
	opens("teardown", lab.Open)
	m.run("portgrave", "apply")
	m.checkAccess("applied after a teardown")
	if history := m.run("portgrave", "history"); !strings.Contains(history, "a trial") ||
		!strings.Contains(history, "root") {
		m.t.Errorf("history: %s", history)
	}
}

// testGroupAccess checks that members of the group may read, and others may not.
func (m *machine) testGroupAccess() {
	m.t.Helper()
	as := func(group, verb string) (string, error) {
		return m.try("setpriv", "--reuid=nobody", "--regid="+group, "--clear-groups", "portgrave",
			verb)
	}
	if out, err := as("portgrave", "leases"); err != nil {
		m.t.Errorf("a member of the group may not read: %v\n%s", err, out)
	}
	if out, err := as("portgrave", "teardown"); err == nil {
		m.t.Errorf("a member of the group has torn down the rules:\n%s", out)
	}
	if out, err := as("nogroup", "leases"); err == nil {
		m.t.Errorf("somebody who is not in the group may read:\n%s", out)
	}
}

// testFollow edits the policy, which must wait, and with follow: all must take effect.
func (m *machine) testFollow() {
	m.t.Helper()
	const all = "daemon: {follow: all}\n"
	m.write("/etc/portgrave/policy.yaml", openPolicy+all)
	m.await(
		"the policy's file to be read",
		func() bool { return strings.Contains(m.get("/v1/status"), `"waits":true`) },
	)
	m.checkAccess("while an edited policy waits")
	m.run("systemctl", "reload", "portgrave.service")
	m.await("the policy to be in force",
		func() bool { return m.connectFrom(refusedSource) == lab.Open })
	m.write("/etc/portgrave/policy.yaml", policyText)
	m.await("the policy's file to be read",
		func() bool { return m.connectFrom(refusedSource) == lab.Dropped })
	m.checkAccess("after the policy changed twice")
	m.await("status to say why the table is not protected", func() bool {
		return strings.Contains(oneLine(m.run("portgrave", "status")), "can't print a protected table")
	})
}

// testStateWrittenByRoot checks that the daemon continues from what root wrote while no daemon ran.
func (m *machine) testStateWrittenByRoot() {
	m.t.Helper()
	m.run("systemctl", "stop", "portgrave.service")
	m.run(
		"portgrave",
		"open",
		"9090",
		"--from",
		refusedSource.String(),
		"--for",
		"1h",
		"--reason",
		"while no daemon runs",
	)
	m.run("portgrave", "--config", "/etc/wide.yaml", "apply", "--reason", "while no daemon runs")
	m.run("portgrave", "apply", "--reason", "and back")
	if theirs := m.run("find", "/var/lib/portgrave", "/run/portgrave", "!", "-user",
		"portgrave"); theirs != "" {
		m.t.Errorf("these are not the daemon's:\n%s", theirs)
	}
	m.run("systemctl", "start", "portgrave.service")
	if got := m.connectFrom(refusedSource); got != lab.Open {
		m.t.Errorf("a lease opened while no daemon ran: %s is %s", refusedSource, got)
	}
	m.run("portgrave", "close", "9090")
	m.checkAccess("after the daemon has closed root's lease")
	m.run("portgrave", "--config", "/etc/wide.yaml", "apply", "--reason", "through the daemon")
	m.run("portgrave", "rollback")
	m.checkAccess("after the daemon rolled back")
	if status := m.run("portgrave", "status", "-o",
		"json"); !strings.Contains(status, `"error": ""`) {
		m.t.Errorf("status: %s", status)
	}
}

// testMetrics checks metrics at an address, which need the drop-in network.conf.
func (m *machine) testMetrics() {
	m.t.Helper()
	scrape := func() (body string, err error) {
		err = m.Host.Do(
			func() error { // connect on this thread, which is in the machine's namespace
				c, err := net.DialTimeout("tcp", "127.0.0.1:9108", awaitTimeout)
				if err != nil {
					return err
				}
				defer func() { _ = c.Close() }()
				if _, err = io.WriteString(c, "GET /metrics HTTP/1.0\r\n\r\n"); err != nil {
					return err
				}
				b, err := io.ReadAll(c)
				body = string(b)
				return err
			},
		)
		return body, err
	}
	m.write("/etc/portgrave/policy.yaml", policyText+"daemon: {metrics: \"127.0.0.1:9108\"}\n")
	m.run("systemctl", "restart", "portgrave.service")
	// The daemon is ready before it has read the policy, because it knows what was in force.
	m.await("the daemon to say that it can't serve metrics", func() bool {
		return strings.Contains(oneLine(m.run("portgrave", "status")),
			"metrics can't be served at 127.0.0.1:9108")
	})
	if body, err := scrape(); err == nil { // the control
		m.t.Errorf("metrics are served without the drop-in, too:\n%s", body)
	}
	m.write(
		"/etc/systemd/system/portgrave.service.d/network.conf",
		m.read("/usr/local/share/portgrave/network.conf"),
	)
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "restart", "portgrave.service")
	m.await("metrics", func() bool {
		body, err := scrape()
		return err == nil && strings.Contains(body, "portgrave_generation")
	})
}
