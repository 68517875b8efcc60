package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

const somePolicy = "version: 1\nservices: [{name: metrics, allow: [10.0.0.0/8]}]\n"

func TestDriftIsRepairedAndHasAnAuthor(t *testing.T) {
	r := start(t)
	r.bend(&firewall.Author{Command: "nft", PID: 42, User: "root"})
	r.eventually("the repair", func() bool { return r.kernel.Held() != nil })
	var body string
	r.eventually(
		"the event",
		func() bool {
			_, body = r.get("/v1/events")
			return strings.Contains(body, `"command":"nft"`)
		},
	)
	for _, want := range []string{`"kind":"repaired"`, `"summary":"ruleset flushed"`, `"count":1`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not in %s", want, body)
		}
	}
	if _, metrics := r.get("/metrics"); !strings.Contains(
		metrics,
		`portgrave_events_total{kind="repaired"} 1`,
	) ||
		!strings.Contains(
			metrics,
			`portgrave_packets_total{family="ipv4",service="metrics",verdict="allowed"} 0`,
		) {
		t.Errorf("metrics:\n%s", metrics)
	}
	// A commit to somebody else's table is not ours to answer.
	before := r.kernel.Applies()
	r.commits <- Commit{At: time.Now(), Summary: "table ip theirs"}
	r.commits <- Commit{At: time.Now(), Hooks: true, Summary: "chain of theirs added"}
	r.eventually(
		"the hook event",
		func() bool { _, b := r.get("/v1/events"); return strings.Contains(b, `"kind":"hook"`) },
	)
	if r.kernel.Applies() != before {
		t.Error("a foreign commit was answered by an apply")
	}
}

// A look at the kernel may find a change before its notification is read. The repair waits for
// none, and its author is named all the same.
func TestPollNamesTheAuthor(t *testing.T) {
	r := start(t)
	r.end()
	r.polled = true
	r.says(func() (string, error) { return somePolicy + "\ndaemon: {poll: 1s}\n", nil })
	r.again()
	author := &firewall.Author{Command: "iptables", PID: 42, User: "root"}
	for range 3 { // the reading at the start may find the first one
		bent := time.Now()
		r.kernel.Set(nil)
		r.eventually("the repair", func() bool { return r.kernel.Held() != nil })
		r.commits <- Commit{At: bent, Ours: true, Summary: "a rule deleted", Author: author}
	}
	r.eventually("the authors of two repairs", func() bool {
		_, events := r.get("/v1/events")
		return strings.Count(events, `"command":"iptables"`) >= 2
	})
}

// Clients that connect and say nothing, ask and never read, or follow and never read, delay nobody.
func TestStuckClientsDelayNobody(t *testing.T) {
	r := start(t)
	for _, says := range []string{
		"", "GET /v1/status HTTP/1.1\r\n", "GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		for range 20 {
			c, err := net.Dial("unix", filepath.Join(r.dir, api.Socket))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			if _, err := c.Write([]byte(says)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 2000 { // more than followers' buffers hold
		r.commits <- Commit{At: time.Now(), Hooks: true, Summary: fmt.Sprintf("chain %d added, with a name that fills buffers %s", i, strings.Repeat("x", 300))}
	}
	start := time.Now()
	r.bend(nil)
	r.eventually("the repair", func() bool { return r.kernel.Held() != nil })
	t.Logf("repaired after %v with 80 stuck clients", time.Since(start))
}

func TestFollowersHearEventsAsTheyHappen(t *testing.T) {
	r := start(t)
	response, err := r.client().Get("http://portgrave/v1/events?follow=1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	r.bend(&firewall.Author{Command: "iptables", PID: 7})
	line, err := bufio.NewReader(response.Body).ReadBytes('\n')
	var e Event
	if err != nil || json.Unmarshal(line, &e) != nil || e.Kind != "repaired" || e.Author == nil ||
		e.Author.Command != "iptables" ||
		len(e.Changes) != 1 {
		t.Errorf("heard %q, %v", line, err)
	}
}

// A storm of commits is answered with a few looks at the kernel.
func TestAStormIsAnsweredTogether(t *testing.T) {
	r := start(t)
	r.kernel.Slow(200 * time.Millisecond)
	r.kernel.Set(nil)
	before := r.kernel.Looks()
	for range 50 {
		r.commits <- Commit{
			At:      time.Now(),
			Ours:    true,
			Summary: "more",
			Author:  &firewall.Author{Command: "puppet", PID: 100},
		}
	}
	r.eventually("the repair", func() bool { return r.kernel.Held() != nil })
	if looks := r.kernel.Looks() - before; looks > 20 {
		t.Errorf("looked %d times for 50 commits", looks)
	}
}

// Nobody who had a part in what is answered together goes unnamed.
func TestCommitsTogether(t *testing.T) {
	queue := make(chan Commit, 8)
	for n := range 5 {
		queue <- Commit{
			Summary: "more",
			Ours:    n == 3,
			Author:  &firewall.Author{Command: "puppet", PID: 100 + n%2},
		}
	}
	list := append(
		[]Commit{
			{
				Summary: "table inet portgrave deleted",
				Lost:    true,
				Author:  &firewall.Author{Command: "nft", PID: 1},
			},
		},
		waiting(queue)...)
	c := together(list)
	if len(list) != 6 || len(queue) != 0 || !c.Ours || !c.Lost || c.Author.PID != 1 ||
		!strings.HasPrefix(
			c.Summary,
			"table inet portgrave deleted; and 5 commits right behind it, by puppet (process 100",
		) ||
		!strings.Contains(c.Summary, "puppet (process 101") {
		t.Errorf("%d commits, %+v", len(list), c)
	}
	if one := together(list[:1]); one != list[0] {
		t.Errorf("one alone is %+v", one)
	}
}

// Somebody undoes every repair: that is said loudly, and repairs go on.
func TestFightGoesOn(t *testing.T) {
	r := start(t)
	for range fightRepairs + 10 {
		r.bend(&firewall.Author{Command: "puppet", PID: 9})
		r.eventually("the repair", func() bool { return r.kernel.Held() != nil })
	}
	r.eventually(
		"the fight",
		func() bool { return strings.Contains(r.log.String(), "keeps undoing the rules") },
	)
	if _, s := r.get("/v1/status"); !strings.Contains(s, `"fight":{"since":`) ||
		!strings.Contains(s, `"missing_share":0.`) ||
		!strings.Contains(s, `"command":"puppet"`) {
		t.Errorf("status: %s", s)
	}
	if _, m := r.get("/metrics"); !strings.Contains(m, "portgrave_fight 1") ||
		!strings.Contains(m, "portgrave_rules_missing_seconds_total 0.") ||
		!strings.Contains(m, "portgrave_fight_rules_missing_ratio 0.") {
		t.Errorf("metrics: %s", m)
	}
	if _, e := r.get("/v1/events"); !strings.Contains(e, `"kind":"fight"`) ||
		!strings.Contains(e, "rules were missing") {
		t.Errorf("events: %s", e)
	}
}

// A policy that can't be used changes nothing, and is said wherever one looks.
func TestBadPolicyIsRefused(t *testing.T) {
	r := start(t)
	held := r.kernel.Held()
	reload := func() {
		t.Helper()
		response, err := r.client().Post("http://portgrave/v1/reload", "", nil)
		if err != nil || response.StatusCode != http.StatusAccepted {
			t.Fatalf("%v, %v", response, err)
		}
		_ = response.Body.Close()
	}
	r.says(func() (string, error) { return "version: 2\n", nil })
	reload()
	r.eventually(
		"the refusal",
		func() bool { _, s := r.get("/v1/status"); return strings.Contains(s, "policy.yaml:1:") },
	)
	if _, m := r.get("/metrics"); !strings.Contains(m, "portgrave_policy_valid 0") {
		t.Error("metrics call it valid")
	}
	r.says(func() (string, error) {
		return somePolicy + "tests: [{from: 8.8.8.8, to: metrics, expect: allow}]\n", nil
	})
	reload()
	r.eventually(
		"the failed test",
		func() bool {
			_, s := r.get("/v1/status")
			return strings.Contains(s, "fails its own test")
		},
	)
	r.says(func() (string, error) { return "", errors.New("the disk is gone") })
	reload()
	r.eventually(
		"the unreadable file",
		func() bool { _, s := r.get("/v1/status"); return strings.Contains(s, "the disk is gone") },
	)
	if !r.kernel.Held().Equal(*held) {
		t.Error("the rules changed")
	}
	r.says(
		func() (string, error) {
			return strings.Replace(somePolicy, "10.0.0.0/8", "10.0.0.0/9", 1), nil
		},
	)
	reload()
	r.eventually("the good policy", func() bool { return !r.kernel.Held().Equal(*held) })
}

// session is an administrator's SSH session, for ever open.
type session struct{ from, to netip.AddrPort }

func (s session) List(context.Context) ([]firewall.Connection, error) {
	return []firewall.Connection{{Protocol: firewall.TCP, Client: s.from, Dialled: s.to}}, nil
}

func (session) NameOwners(_ context.Context, of []firewall.Connection) {
	for i := range of {
		of[i].Owner = "sshd"
	}
}

func (session) End(context.Context, firewall.Connection) error { return nil }

// Saving a policy that would cut the session it was written in changes nothing.
func TestPolicyThatLocksOutIsRefused(t *testing.T) {
	r := startWith(
		t,
		session{
			netip.MustParseAddrPort("10.1.2.3:50000"),
			netip.MustParseAddrPort("192.0.2.1:9090"),
		},
	)
	held := r.kernel.Held()
	r.says(
		func() (string, error) {
			return strings.Replace(somePolicy, "10.0.0.0/8", "172.16.0.0/12", 1), nil
		},
	)
	response, err := r.client().Post("http://portgrave/v1/reload", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	r.eventually(
		"the refusal",
		func() bool {
			_, s := r.get("/v1/status")
			return strings.Contains(s, "lock out 1 SSH session")
		},
	)
	if !r.kernel.Held().Equal(*held) {
		t.Error("the rules changed")
	}
}

// A network that does not answer delays no repair, and what changed meanwhile is read afterwards.
func TestSlowNetworkDelaysNoRepair(t *testing.T) {
	r := start(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	r.says(func() (string, error) { close(asked); <-answer; return somePolicy, nil })
	reload := func() {
		t.Helper()
		response, err := r.client().Post("http://portgrave/v1/reload", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
	}
	reload()
	<-asked
	reload()
	r.bend(nil)
	r.eventually(
		"the repair while the policy is being read",
		func() bool { return r.kernel.Held() != nil },
	)
	r.says(
		func() (string, error) {
			return strings.Replace(somePolicy, "10.0.0.0/8", "10.0.0.0/9", 1), nil
		},
	)
	close(answer)
	r.eventually("the second reading", func() bool {
		return slices.ContainsFunc(
			r.kernel.Held().Services,
			func(s firewall.Service) bool { return s.Sources.Equal(address.Must("10.0.0.0/9")) },
		)
	})
}

// systemd hears when the daemon is ready, that it is alive, that it reads again, and that it ends.
func TestSystemdHears(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "200000")
	hear := func(want string) {
		t.Helper()
		_ = socket.SetReadDeadline(time.Now().Add(5 * time.Second))
		for b := make([]byte, 4096); ; {
			n, err := socket.Read(b)
			if err != nil {
				t.Fatalf("waited in vain for %s: %v", want, err)
			}
			if strings.HasPrefix(string(b[:n]), want) {
				return
			}
		}
	}
	r := start(t)
	hear("READY=1\nSTATUS=Generation 1 is in force.")
	hear("WATCHDOG=1")
	response, err := r.client().Post("http://portgrave/v1/reload", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	hear("RELOADING=1\nMONOTONIC_USEC=")
	hear("READY=1")
	// A loop that hangs says nothing: systemd will notice.
	r.kernel.Slow(time.Second)
	r.bend(nil)
	time.Sleep(300 * time.Millisecond)
	for b := make([]byte, 4096); ; { // what was said before it hung
		_ = socket.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := socket.Read(b); err != nil {
			break
		}
	}
	_ = socket.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	if n, err := socket.Read(make([]byte, 100)); err == nil {
		t.Errorf("a hanging loop said something (%d bytes)", n)
	}
	r.kernel.Slow(0)
	hear("WATCHDOG=1")
}

// Metrics are served where the policy says, as long as it says so; an address that is taken is
// said, and tried again.
func TestMetricsOverTCP(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := taken.Addr().String()
	r := start(t)
	reload := func(daemon string) {
		t.Helper()
		r.says(func() (string, error) { return somePolicy + daemon, nil })
		response, err := r.client().Post("http://portgrave/v1/reload", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
	}
	scrape := func() string {
		response, err := http.Get("http://" + address + "/metrics")
		if err != nil {
			return err.Error()
		}
		defer func() { _ = response.Body.Close() }()
		b, _ := io.ReadAll(response.Body)
		return string(b)
	}
	reload("daemon: {metrics: \"" + address + "\"}\n")
	r.eventually(
		"the complaint",
		func() bool {
			_, s := r.get("/v1/status")
			return strings.Contains(s, "address already in use")
		},
	)
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	reload("daemon: {metrics: \"" + address + "\"}\n")
	r.eventually(
		"metrics",
		func() bool { return strings.Contains(scrape(), "portgrave_generation 1") },
	)
	for _, path := range []string{"/v1/status", "/v1/apply"} { // nothing else is there
		response, err := http.Post("http://"+address+path, "", nil)
		if err != nil || response.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %v, %v", path, response, err)
		}
		if err == nil {
			_ = response.Body.Close()
		}
	}
	reload("")
	r.eventually("silence", func() bool { return strings.Contains(scrape(), "refused") })
}

// Rules that can't be enforced are reported, once, and tried again.
func TestFailureIsReportedAndTriedAgain(t *testing.T) {
	r := start(t)
	r.kernel.Fail(errors.New("netlink is broken"))
	for range 3 {
		r.bend(nil)
	}
	r.eventually(
		"the report",
		func() bool {
			_, s := r.get("/v1/status")
			return strings.Contains(s, "netlink is broken")
		},
	)
	if n := strings.Count(r.log.String(), "netlink is broken"); n != 1 {
		t.Errorf("reported %d times in the log", n)
	}
	r.kernel.Fail(nil)
	r.commits <- Commit{At: time.Now(), Lost: true}
	r.eventually("the repair", func() bool { return r.kernel.Held() != nil })
}
