package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/test/lab"
)

// Repairs need no disk and no new descriptors, and what can't be recorded is not put in force: each
// test takes something from a running daemon, and judges by packets what it still does.

// sparse is a daemon that keeps its state on a file system of its own, which the test fills up or
// makes read-only.
type sparse struct {
	*installation
	t   *testing.T
	w   *lab.World
	e   engine
	pid int
}

// friends are let in by sparsePolicy, foes by no policy.
var (
	friends = []netip.Addr{
		netip.MustParseAddr("192.88.99.1"),
		netip.MustParseAddr("2001:db8:77::1"),
	}
	foes = []netip.Addr{
		netip.MustParseAddr("192.88.98.1"),
		netip.MustParseAddr("2001:db8:78::1"),
	}
)

const sparsePolicy = `version: 1
services: [{name: metrics, port: 9090, allow: [192.88.99.0/24, "2001:db8:77::/64"]}]
daemon: {protect: never, poll: 1s}
`

// wider lets the foes in.
var wider = strings.Replace(
	sparsePolicy,
	"allow: [",
	`allow: [192.88.98.0/24, "2001:db8:78::/64", `,
	1,
)

// startSparse starts the daemon. The script runs before it, in its mount namespace.
func startSparse(t *testing.T, e engine, policy, script string) *sparse {
	t.Helper()
	w := lab.New(t)
	w.Host.ListenTCP(9090)
	s := &sparse{t: t, w: w, e: e, installation: install(t, w, policy)}
	s.confined, s.backend = nil, e.backend
	s.path = programsOf(t, e)
	if err := os.Chown(s.policy, 0, 0); err != nil {
		t.Fatal(err)
	}
	script = "mount -t tmpfs -o size=8m,mode=700 state " + s.state + "\n" + script + "\nexec \"$@\"\n"
	if err := os.MkdirAll(s.state, 0o700); err != nil {
		t.Fatal(err)
	}
	s.before = []string{"unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh"}
	s.start()
	var status struct {
		Daemon struct {
			PID int `json:"pid"`
		} `json:"daemon"`
	}
	if s.status(&status); status.Daemon.PID == 0 {
		t.Fatal("the daemon's process is unknown")
	}
	s.pid = status.Daemon.PID
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := s.inside(
				"tail -n 12 " + s.state + "/drift.jsonl | cut -c 1-600; " + s.program + " --config " + s.policy + " --backend " + e.backend + " status",
			)
			t.Logf("the daemon's last events, and its status:\n%s", log)
		}
	})
	s.mustSettle("at the start", 5*time.Second)
	return s
}

// status reads what status says.
func (s *sparse) status(into any) {
	s.t.Helper()
	cmd := s.w.Host.Command(
		context.Background(),
		s.program,
		"--config",
		s.policy,
		"--backend",
		s.e.backend,
		"status",
		"-o",
		"json",
	)
	cmd.Env = s.env()
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, into)
	}
	if err != nil {
		s.t.Fatalf("status: %v: %.300s", err, out)
	}
}

// inside runs a command in the daemon's mount namespace and the host's network.
func (s *sparse) inside(script string) ([]byte, error) {
	cmd := s.w.Host.Command(
		context.Background(),
		"nsenter",
		"--mount",
		"--target",
		strconv.Itoa(s.pid),
		"sh",
		"-ec",
		script,
	)
	cmd.Env = s.env()
	return cmd.CombinedOutput()
}

func (s *sparse) mustInside(script string) string {
	s.t.Helper()
	out, err := s.inside(script)
	if err != nil {
		s.t.Fatalf("%s: %v: %s", script, err, out)
	}
	return string(out)
}

// deletion is what takes our rules away.
func (e engine) deletion() string {
	if e.variant == "" {
		return "nft delete table inet portgrave"
	}
	return fmt.Sprintf(
		"%[1]s -t mangle -F; %[2]s -t mangle -F",
		e.name,
		strings.Replace(e.name, "iptables", "ip6tables", 1),
	)
}

// delete takes our rules away, as another program.
func (s *sparse) delete() {
	s.t.Helper()
	s.w.Host.Run("sh", "-ec", s.e.deletion())
}

// answers are those that the foes and the friends get, once.
func (s *sparse) answers() (ofFoes, ofFriends []lab.Answer) {
	s.t.Helper()
	var questions []lab.Question
	for _, a := range slices.Concat(foes, friends) {
		questions = append(questions, lab.Question{Source: a, To: s.w.Host.At(9090, a.Is6())})
	}
	got := s.w.ProbeEach(s.w.Internet, questions, lab.Attempts(1))
	return got[:len(foes)], got[len(foes):]
}

// settled reports whether the foes are refused and the friends let in.
func (s *sparse) settled() bool {
	s.t.Helper()
	ofFoes, ofFriends := s.answers()
	return !slices.ContainsFunc(ofFoes, func(a lab.Answer) bool { return a != lab.Dropped }) &&
		!slices.ContainsFunc(ofFriends, func(a lab.Answer) bool { return a != lab.Open })
}

// mustSettle waits for that, and returns how long after the call a first probe found it so.
func (s *sparse) mustSettle(what string, patience time.Duration) time.Duration {
	s.t.Helper()
	began := time.Now()
	for {
		asked := time.Now()
		if s.settled() {
			return asked.Sub(began)
		}
		if time.Since(began) > patience {
			ofFoes, ofFriends := s.answers()
			s.t.Fatalf(
				"%s: after %s the foes are %v and the friends %v",
				what,
				patience,
				ofFoes,
				ofFriends,
			)
		}
	}
}

// repairPatience is ample for a repair: what isn't told is polled once a second, and other tests
// want the processors.
const repairPatience = 10 * time.Second

// repairs deletes the rules some times and waits each time until they are back.
func (s *sparse) repairs(what string) {
	s.t.Helper()
	for range 3 {
		s.delete()
		s.t.Logf(
			"%s: repaired after %s",
			what,
			s.mustSettle(what, repairPatience).Round(time.Millisecond),
		)
	}
}

// events counts those of a kind.
func (s *sparse) events(kind string) int {
	s.t.Helper()
	var status struct {
		Daemon struct {
			Events map[string]int `json:"events"`
		} `json:"daemon"`
	}
	s.status(&status)
	return status.Daemon.Events[kind]
}

// mustRefuse has apply put wider in force, which must fail for a reason and change nothing.
func (s *sparse) mustRefuse(reason string) {
	s.t.Helper()
	s.write(wider)
	out, err := s.inside(
		fmt.Sprintf("%s --config %s --backend %s apply", s.program, s.policy, s.e.backend),
	)
	if err == nil || !strings.Contains(string(out), reason) {
		s.t.Errorf("apply: %v: %s", err, out)
	}
	if !s.settled() {
		ofFoes, ofFriends := s.answers()
		s.t.Errorf(
			"after an apply that failed the foes are %v and the friends %v",
			ofFoes,
			ofFriends,
		)
	}
	// Nothing flips afterwards.
	repaired := s.events("repaired")
	time.Sleep(time.Second)
	if now := s.events("repaired"); now != repaired || !s.settled() {
		s.t.Errorf("%d repairs in the second after an apply that failed", now-repaired)
	}
}

// TestRepairOnAReadOnlyDisk: a state directory that became read-only stops no repair, and no new
// policy comes into force.
func TestRepairOnAReadOnlyDisk(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, e engine) {
		s := startSparse(t, e, sparsePolicy, "")
		s.mustInside(
			"mount -o remount,ro " + s.state,
		) // it fails if the daemon keeps a file open for writing
		s.repairs("read-only")
		s.mustRefuse("read-only file system")
		s.repairs("read-only, after apply")
		s.mustInside("mount -o remount,rw " + s.state)
		s.mustInside(
			fmt.Sprintf("%s --config %s --backend %s apply", s.program, s.policy, e.backend),
		)
		if got := s.w.ProbeEach(s.w.Internet, []lab.Question{{Source: foes[0], To: s.w.Host.At(9090, false)}}); got[0] != lab.Open {
			t.Errorf("once the disk can be written, the new policy lets its source find %v", got[0])
		}
	})
}

// TestRepairWithoutADisk: a state directory that is gone stops no repair.
func TestRepairWithoutADisk(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, e engine) {
		s := startSparse(t, e, sparsePolicy, "")
		s.mustInside("umount -l " + s.state)
		s.repairs("unmounted")
	})
}

// TestFullDiskLeavesTheOldRules: an apply that can't be recorded leaves the rules as they were,
// with the daemon and without.
func TestFullDiskLeavesTheOldRules(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, e engine) {
		s := startSparse(t, e, sparsePolicy, "")
		s.mustInside("head -c 16M /dev/zero >" + s.state + "/ballast || true")
		s.repairs("full")
		s.mustRefuse("no space left on device")
		s.repairs("full, after apply")
		if out := s.mustInside(s.program + " history"); strings.Contains(out, "\n2 ") ||
			strings.Contains(out, " 2 ") {
			t.Errorf("the history has what was not applied:\n%s", out)
		}
		// The command line by itself does the same.
		out, err := s.inside(
			fmt.Sprintf(
				"PORTGRAVE_RUN_DIR=%s/none %s --config %s --backend %s apply",
				s.dir,
				s.program,
				s.policy,
				e.backend,
			),
		)
		if err == nil || !strings.Contains(string(out), "no space left on device") {
			t.Errorf("apply without the daemon: %v: %s", err, out)
		}
		if !s.settled() {
			ofFoes, ofFriends := s.answers()
			t.Errorf(
				"after an apply without the daemon that failed the foes are %v and the friends %v",
				ofFoes,
				ofFriends,
			)
		}
		s.mustInside("rm " + s.state + "/ballast")
		s.mustInside(
			fmt.Sprintf("%s --config %s --backend %s apply", s.program, s.policy, e.backend),
		)
		if got := s.w.ProbeEach(s.w.Internet, []lab.Question{{Source: foes[0], To: s.w.Host.At(9090, false)}}); got[0] != lab.Open {
			t.Errorf("once there is room, the new policy lets its source find %v", got[0])
		}
	})
}

// TestRepairWithoutDescriptors: idle readers take every descriptor that the daemon may have, and
// repairs go on.
func TestRepairWithoutDescriptors(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, e engine) {
		s := startSparse(t, e, sparsePolicy, "ulimit -n 128")
		for range 200 {
			c, err := net.Dial("unix", filepath.Join(s.runDir, "control.sock"))
			if err == nil {
				defer func() { _ = c.Close() }()
				_, err = c.Write([]byte("GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n"))
			}
			if err != nil {
				break // turned away is as good
			}
		}
		s.repairs("readers")
	})
}

// TestRepairWithNoDescriptorLeft: the daemon's limit is lowered to what it has open, and to so many
// more that some can be had but not all that a repair needs.
func TestRepairWithNoDescriptorLeft(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, e engine) {
		s := startSparse(t, e, sparsePolicy, "")
		held := s.descriptors()
		for _, left := range []int{0, 1, 4, 8} {
			// The soft limit, so that it can be raised again.
			s.mustInside(fmt.Sprintf("prlimit --nofile=%d: --pid %d", held+left, s.pid))
			s.repairs(fmt.Sprintf("%d descriptors left", left))
		}
	})
}

// descriptors is the lowest number of a descriptor that the daemon doesn't hold for good: what it
// opens to look at the kernel now and then comes and goes. Above it there may be some that the test
// was started with.
func (s *sparse) descriptors() int {
	s.t.Helper()
	lowest := math.MaxInt
	for range 10 {
		for n := 0; ; n++ {
			if _, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", s.pid, n)); errors.Is(
				err,
				os.ErrNotExist,
			) {
				lowest = min(lowest, n)
				break
			} else if err != nil {
				s.t.Fatal(err)
			}
		}
		time.Sleep(30 * time.Millisecond)
	}
	return lowest
}

// TestTrialEndsWithoutADisk: what nobody confirms is taken back although that can't be recorded.
func TestTrialEndsWithoutADisk(t *testing.T) {
	for name, spoil := range map[string]string{"full": "head -c 16M /dev/zero >%s/ballast || true", "read-only": "mount -o remount,ro %s"} {
		t.Run(name, func(t *testing.T) {
			onEveryBackend(t, func(t *testing.T, e engine) {
				s := startSparse(t, e, sparsePolicy, "")
				other := filepath.Join(s.dir, "other.yaml") // the daemon doesn't follow it
				if err := os.WriteFile(other, []byte(wider), 0o600); err != nil {
					t.Fatal(err)
				}
				out, err := s.inside(
					fmt.Sprintf(
						"%s --config %s --backend %s apply --confirm 6s",
						s.program,
						other,
						e.backend,
					),
				)
				if err != nil {
					t.Fatalf("apply --confirm: %v: %s", err, out)
				}
				s.mustInside(fmt.Sprintf(spoil, s.state))
				s.mustSettle("after the trial", 20*time.Second)
				s.repairs("after the trial")
			})
		})
	}
}
