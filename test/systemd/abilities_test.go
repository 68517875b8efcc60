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

// listener is somebody else's program that listens, of a user that is neither root nor the
// daemon's.
const listener = `[Unit]
Description=A program of the test that listens
[Service]
User=nobody
ExecStart=/usr/bin/systemd-socket-activate --listen=8080 /bin/cat
`

// wide lets everybody in.
const wide = "version: 1\nservices: [{name: metrics, port: 9090, allow: [any]}]\n"

// All that the daemon is for works under the unit's restrictions.
func TestAbilitiesUnderRestrictions(t *testing.T) {
	t.Parallel()
	d := newDisk(t, owned)
	d.write("/etc/wide.yaml", wide)
	d.unit("listener.service", listener, "multi-user.target")
	m := d.boot()
	m.Host.ListenTCP(port)
	m.gate("after the boot")
	m.repairs()
	m.reports()
	m.lists()
	m.operates()
	m.admits()
	m.follows()
	m.goesOn()
	m.serves()
}

// repairs: what others do to an owned table has no effect; to another one, it is undone and has an
// author.
func (m *machine) repairs() {
	m.t.Helper()
	m.owns()
	foes := siege(m.World)
	m.run("nft", "flush", "ruleset")
	m.isActive("nftables.service", "inactive")
	m.run("systemctl", "start", "nftables.service") // which is not enabled, and flushes too
	m.held("flushed while the daemon owns the table", foes)
	if out, err := m.try("nft", "delete", "table", "inet", "portgrave"); err == nil {
		m.t.Errorf("the table that the daemon owns could be deleted %s", out)
	}
	m.write("/etc/portgrave/policy.yaml", touchable)
	m.run("systemctl", "reload", "portgrave.service")
	for n, disrupt := range []string{"flush ruleset", "flush chain inet portgrave prerouting", "delete table inet portgrave"} {
		m.run("nft", disrupt)
		m.await("a repair after "+disrupt, func() bool { return len(m.repaired()) > n })
		m.gate("after " + disrupt)
		e := m.repaired()[n]
		// More than the command can't be known in a container: the kernel tells the number that the
		// process has outside.
		if e.Author == nil || e.Author.Command != "nft" {
			m.t.Errorf("%s has the author %+v", disrupt, e.Author)
		}
	}
}

// owns waits until the table is the daemon's alone: it makes it anew for that when it has read the
// policy.
func (m *machine) owns() {
	m.t.Helper()
	m.await("the table to be the daemon's alone", func() bool {
		return strings.Contains(m.run("portgrave", "status"), "nobody else can change the rules")
	})
}

type event struct {
	Kind   string           `json:"kind"`
	Author *firewall.Author `json:"author"`
}

// repaired are the repairs in the drift log.
func (m *machine) repaired() (found []event) {
	m.t.Helper()
	var log struct{ Events []event }
	if err := json.Unmarshal([]byte(m.run("portgrave", "drift", "--log", "-o", "json")), &log); err != nil {
		m.t.Fatal(err)
	}
	for _, e := range log.Events {
		if e.Kind == "repaired" {
			found = append(found, e)
		}
	}
	return found
}

// reports: who was refused is in the journal, as a message and in fields.
func (m *machine) reports() {
	m.t.Helper()
	m.await("a report of who was refused", func() bool {
		m.ask(foe)
		return strings.Contains(m.said("portgrave.service"), "source="+foe.String())
	})
}

// lists: the daemon sees who listens, with the name of a process that isn't its own.
func (m *machine) lists() {
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
	// The control: without the capability to look at processes of others it can't.
	m.dropIn(
		"portgrave.service",
		"[Service]\nAmbientCapabilities=\nAmbientCapabilities=CAP_NET_ADMIN CAP_DAC_READ_SEARCH CAP_LEASE\n",
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

// get asks the daemon's control socket.
func (m *machine) get(path string) string {
	m.t.Helper()
	client := http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", m.live("/run/portgrave/control.sock"))
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

// operates: what the command line asks for, through the socket.
func (m *machine) operates() {
	m.t.Helper()
	opens := func(what string, want lab.Answer) {
		m.t.Helper()
		if got := m.ask(foe); got != want {
			m.t.Errorf("after %s, %s is %s, want %s", what, foe, got, want)
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
	m.run("portgrave", "open", "9090", "--from", foe.String(), "--for", "1h", "--reason", "a lease")
	opens("open", lab.Open)
	if leases := m.run("portgrave", "leases"); !strings.Contains(leases, foe.String()) {
		m.t.Errorf("leases: %s", leases)
	}
	m.run("portgrave", "close", "9090")
	opens("close", lab.Dropped)
	m.run("portgrave", "teardown")
	opens("teardown", lab.Open)
	m.run("portgrave", "apply")
	m.gate("applied after a teardown")
	if history := m.run("portgrave", "history"); !strings.Contains(history, "a trial") ||
		!strings.Contains(history, "root") {
		m.t.Errorf("history: %s", history)
	}
}

// admits: members of the group may read, others may not.
func (m *machine) admits() {
	m.t.Helper()
	as := func(group, verb string) (string, error) {
		return m.try("setpriv", "--reuid=nobody", "--regid="+group, "--clear-groups", "portgrave", verb)
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

// follows: a file of the policy changes, and waits; with follow: all, the rules change with it.
func (m *machine) follows() {
	m.t.Helper()
	const all = "daemon: {follow: all}\n"
	m.write("/etc/portgrave/policy.yaml", wide+all)
	m.await(
		"the policy's file to be read",
		func() bool { return strings.Contains(m.get("/v1/status"), `"waits":true`) },
	)
	m.gate("while an edited policy waits")
	m.run("systemctl", "reload", "portgrave.service")
	m.await("the policy to be in force", func() bool { return m.ask(foe) == lab.Open })
	m.write("/etc/portgrave/policy.yaml", document)
	m.await("the policy's file to be read", func() bool { return m.ask(foe) == lab.Dropped })
	m.gate("after the policy changed twice")
	m.await("status to say why the table is not protected", func() bool {
		return strings.Contains(m.run("portgrave", "status"), "can't print a protected table")
	})
}

// goesOn: root writes the state directory while no daemon runs, and the daemon goes on from there.
func (m *machine) goesOn() {
	m.t.Helper()
	m.run("systemctl", "stop", "portgrave.service")
	m.run(
		"portgrave",
		"open",
		"9090",
		"--from",
		foe.String(),
		"--for",
		"1h",
		"--reason",
		"while no daemon runs",
	)
	m.run("portgrave", "--config", "/etc/wide.yaml", "apply", "--reason", "while no daemon runs")
	m.run("portgrave", "apply", "--reason", "and back")
	if theirs := m.run("find", "/var/lib/portgrave", "/run/portgrave", "!", "-user", "portgrave"); theirs != "" {
		m.t.Errorf("these are not the daemon's:\n%s", theirs)
	}
	m.run("systemctl", "start", "portgrave.service")
	if got := m.ask(foe); got != lab.Open {
		m.t.Errorf("a lease opened while no daemon ran: %s is %s", foe, got)
	}
	m.run("portgrave", "close", "9090")
	m.gate("after the daemon has closed root's lease")
	m.run("portgrave", "--config", "/etc/wide.yaml", "apply", "--reason", "through the daemon")
	m.run("portgrave", "rollback")
	m.gate("after the daemon rolled back")
	if status := m.run("portgrave", "status", "-o", "json"); !strings.Contains(status, `"error": ""`) {
		m.t.Errorf("status: %s", status)
	}
}

// serves: metrics at an address, which takes the drop-in network.conf.
func (m *machine) serves() {
	m.t.Helper()
	scrape := func() (body string, err error) {
		err = m.Host.Do(
			func() error { // the connection is made on this thread, so nothing that dials on another will do
				c, err := net.DialTimeout("tcp", "127.0.0.1:9108", patience)
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
	m.write("/etc/portgrave/policy.yaml", document+"daemon: {metrics: \"127.0.0.1:9108\"}\n")
	m.run("systemctl", "restart", "portgrave.service")
	// The daemon is ready before it has read the policy, since it knows what was in force.
	m.await("the daemon to say that it can't serve metrics", func() bool {
		return strings.Contains(m.run("portgrave", "status"), "metrics can't be served at 127.0.0.1:9108")
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
