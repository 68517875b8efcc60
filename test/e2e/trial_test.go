package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/test/lab"
	"golang.org/x/sys/unix"
)

// A generation on trial is one that apply --confirm put in force. These tests hold the whole way of
// it with the real program and real packets: an edited policy waits, plan shows it, apply --confirm
// puts it in force, and what nobody confirms is taken back, whatever happened meanwhile.

// trial is an installation whose rules one engine enforces.
type trial struct {
	*installation
	e engine
}

const (
	narrow = "version: 1\nservices: [{name: metrics, port: 9090, allow: [10.20.0.0/16, \"fd00:20::/48\"]}]\n"
	wide   = "version: 1\nservices: [{name: metrics, port: 9090, allow: [10.20.0.0/16, \"fd00:20::/48\", 203.0.113.0/24, \"2001:db8:113::/48\"]}]\n"
)

// shortest is the shortest time of a trial.
const shortest = "5s"

// ended is how long such a trial may last on a busy machine until it must have been taken back.
const ended = 40 * time.Second

func newTrial(t *testing.T, e engine) *trial {
	t.Helper()
	w := lab.New(t)
	w.Host.ListenTCP(9090)
	x := &trial{install(t, w, narrow), e}
	x.confined = nil // the daemon runs as root, like the command line that stands in for it
	x.backend, x.path = e.backend, programsOf(t, e)
	return x
}

// programsOf is a folder in which the command iptables is the engine's variant.
func programsOf(t *testing.T, e engine) string {
	t.Helper()
	dir := t.TempDir()
	if e.variant == "" {
		return dir
	}
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			path, err := exec.LookPath(family + strings.TrimPrefix(e.name, "iptables") + suffix)
			if err == nil {
				err = os.Symlink(path, filepath.Join(dir, family+suffix))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// on is a verb for the engine's backend.
func (x *trial) on(args ...string) []string {
	return append([]string{"--backend", x.e.backend}, args...)
}

// exit runs a verb and returns what it printed and its exit code.
func (x *trial) exit(args ...string) (string, int) {
	x.t.Helper()
	cmd := x.w.Host.Command(
		context.Background(),
		x.program,
		append([]string{"--config", x.policy}, args...)...)
	cmd.Env = x.env()
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		x.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// status is what status -o json says, as far as these tests look.
type trialStatus struct {
	Backend    string
	Generation *struct {
		Generation int
		Confirmed  bool
		ConfirmBy  time.Time `json:"confirm_by"`
	}
	TornDown *struct{ Generation int } `json:"torn_down"`
	Drift    struct {
		InSync bool `json:"in_sync"`
	}
	Policy struct {
		Applied, Waits bool
		Follow, Error  string
	}
	Boot *struct{ Loaded string }
}

func (x *trial) status() (s trialStatus) {
	x.t.Helper()
	cmd := x.w.Host.Command(
		context.Background(),
		x.program,
		"--config",
		x.policy,
		"status",
		"-o",
		"json",
	)
	cmd.Env = x.env()
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	if err != nil {
		x.t.Fatalf("status: %v\n%s", err, out)
	}
	return s
}

// await waits until something is so.
func (x *trial) await(what string, holds func() bool) {
	x.t.Helper()
	for end := time.Now().Add(ended); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if holds() {
			return
		}
	}
	x.t.Fatalf("waited %v in vain for %s\n%s", ended, what, x.run("history"))
}

// stranger is what the rules do with the internet's packets, in both families; the office is let in
// by every policy here.
func (x *trial) stranger(want lab.Answer, when string) {
	x.t.Helper()
	for _, a := range []ask{
		{lab.Open, x.w.Office, office4, inside4, 9090}, {lab.Open, x.w.Office, office6, inside6, 9090},
		{want, x.w.Internet, internet4, host4, 9090}, {want, x.w.Internet, internet6, host6, 9090},
	} {
		if got := a.try(lab.TCP); got != a.want {
			x.t.Errorf(
				"%s: %s from %v to %v is %v, want %v",
				when,
				a.from.Name,
				a.source,
				a.to,
				got,
				a.want,
			)
		}
	}
}

// shut reports whether the internet's packets are refused, in both families.
func (x *trial) shut() bool {
	return ask{lab.Dropped, x.w.Internet, internet4, host4, 9090}.try(lab.TCP) == lab.Dropped &&
		ask{lab.Dropped, x.w.Internet, internet6, host6, 9090}.try(lab.TCP) == lab.Dropped
}

// onTrial applies the policy on trial and returns the number of its generation.
func (x *trial) onTrial() int {
	x.t.Helper()
	out := x.run(x.on("apply", "--confirm", shortest, "-o", "json")...)
	var applied struct {
		Generation int
		ConfirmBy  *time.Time `json:"confirm_by"`
	}
	if err := json.Unmarshal([]byte(out), &applied); err != nil || applied.ConfirmBy == nil {
		x.t.Fatalf("apply --confirm: %v\n%s", err, out)
	}
	return applied.Generation
}

// guards are the processes that wait beside a generation.
func (x *trial) guards(generation int) (pids []int) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		line, _ := os.ReadFile(path)
		env, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "environ"))
		words := strings.Split(string(line), "\x00")
		if len(words) > 2 && words[1] == "guard" && words[2] == strconv.Itoa(generation) &&
			slices.Contains(strings.Split(string(env), "\x00"), "PORTGRAVE_STATE_DIR="+x.state) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// sendGuards sends a signal to both guards of a generation, so that neither has time to answer for
// the other.
func (x *trial) sendGuards(generation int, s unix.Signal) {
	x.t.Helper()
	x.await("two guards", func() bool { return len(x.guards(generation)) == 2 })
	pids := x.guards(generation)
	for _, s := range []unix.Signal{unix.SIGSTOP, s} {
		for _, pid := range pids {
			if err := unix.Kill(pid, s); err != nil {
				x.t.Fatalf("%v to guard %d: %v", s, pid, err)
			}
		}
	}
	x.t.Cleanup(func() {
		for _, pid := range x.guards(generation) {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	})
}

// withAndWithoutDaemon runs a test on every engine, through the daemon's socket and without a
// daemon.
func withAndWithoutDaemon(t *testing.T, test func(t *testing.T, x *trial, daemon bool)) {
	onEveryBackend(t, func(t *testing.T, e engine) {
		for name, daemon := range map[string]bool{"daemon": true, "no daemon": false} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				x := newTrial(t, e)
				x.run(x.on("apply")...)
				if daemon {
					x.start()
				}
				x.stranger(lab.Dropped, "before")
				test(t, x, daemon)
			})
		}
	})
}

// An edited policy waits, and status says so; plan shows what it would change; apply --confirm puts
// it in force; and when nobody confirms, the old rules are back, and stay.
func TestEditedPolicyWaits(t *testing.T) {
	withAndWithoutDaemon(t, func(t *testing.T, x *trial, daemon bool) {
		x.write(wide)
		// it has had the time to read it: a network that it follows would be in force by now
		if daemon {
			time.Sleep(time.Second)
		}
		x.await(
			"status to say that the policy waits",
			func() bool { return x.status().Policy.Waits },
		)
		if out := oneLine(x.run("status")); !strings.Contains(out, "waits") {
			t.Errorf("status doesn't say that the policy waits:\n%s", out)
		}
		x.stranger(lab.Dropped, "edited")
		if out, code := x.exit(x.on("plan")...); code != 2 ||
			!strings.Contains(out, "203.0.113.0/24") ||
			!strings.Contains(out, "2001:db8:113::/48") {
			t.Errorf("plan ends with %d:\n%s", code, out)
		}
		x.onTrial()
		x.stranger(lab.Open, "on trial")
		x.await("the trial's end", x.shut)
		x.stranger(lab.Dropped, "not confirmed")
		if s := x.status(); s.Backend != x.e.backend || !s.Policy.Waits || !s.Drift.InSync ||
			s.Generation == nil ||
			!s.Generation.Confirmed {
			t.Errorf("afterwards status says %+v", s)
		}
		if out, code := x.exit("confirm"); code != 1 ||
			!strings.Contains(out, "was not confirmed in time") {
			t.Errorf("confirm after the end ends with %d: %s", code, out)
		}
		x.run(x.on("apply")...)
		x.stranger(lab.Open, "applied")
		if s := x.status(); s.Policy.Waits || !s.Policy.Applied {
			t.Errorf("in force, status says %+v", s)
		}
	})
}

// With both guards gone, any later command takes back what is overdue, and so does the daemon.
func TestGuardsGone(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel() // with all its cases
	for name, signal := range map[string]unix.Signal{"killed": unix.SIGKILL, "stopped": unix.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			withAndWithoutDaemon(t, func(t *testing.T, x *trial, daemon bool) {
				x.write(wide)
				n := x.onTrial()
				x.sendGuards(n, signal)
				x.stranger(lab.Open, "on trial")
				if !daemon {
					time.Sleep(6 * time.Second) // its time is up
					x.stranger(lab.Open, "nobody looks after it")
					x.run("history")
				}
				x.await("the trial's end", x.shut)
				x.stranger(lab.Dropped, "not confirmed")
			})
		})
	}
}

// A trial across backends ends where it began.
func TestTrialAcrossBackends(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel() // with all its cases
	for _, to := range engines {
		t.Run("to "+to.name, func(t *testing.T) {
			withAndWithoutDaemon(t, func(t *testing.T, x *trial, daemon bool) {
				if to.backend == x.e.backend {
					return // not another backend: nothing to test
				}
				if to.variant != "" {
					x.path = programsOf(t, to)
				}
				x.write(wide)
				x.run("--backend", to.backend, "apply", "--confirm", shortest)
				x.stranger(lab.Open, "on trial")
				x.await("the trial's end", x.shut)
				x.stranger(lab.Dropped, "not confirmed")
				x.await(
					"the old backend",
					func() bool { s := x.status(); return s.Backend == x.e.backend && s.Drift.InSync },
				)
				x.onlyIn(x.e.backend)
			})
		})
	}
}

// onlyIn fails unless the rules stand in one backend alone.
func (x *trial) onlyIn(backend string) {
	x.t.Helper()
	tables := x.w.Host.Run("nft", "list", "tables")
	if native := strings.Contains(tables, "inet portgrave"); native != (backend == "nftables") {
		x.t.Errorf("the table of nftables is there: %v", native)
	}
	var chains string
	for _, program := range []string{"iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save", "ip6tables-legacy-save"} {
		chains += x.w.Host.Run(program)
	}
	if there := strings.Contains(chains, "PORTGRAVE"); there != (backend == "iptables") {
		x.t.Errorf("chains of iptables are there: %v", there)
	}
}

// rollback without --backend stays in the backend of the generation that it goes back to.
func TestRollbackKeepsItsBackend(t *testing.T) {
	withAndWithoutDaemon(t, func(t *testing.T, x *trial, _ bool) {
		x.write(wide)
		x.run(x.on("apply")...)
		x.stranger(lab.Open, "applied")
		x.run("rollback")
		x.stranger(lab.Dropped, "rolled back")
		x.onlyIn(x.e.backend)
		if s := x.status(); s.Backend != x.e.backend || !s.Drift.InSync {
			t.Errorf("status says %+v", s)
		}
	})
}

// After a teardown neither the next boot, nor the daemon, nor an edited policy enforces anything;
// status says so; apply ends it.
func TestTeardownLasts(t *testing.T) {
	withAndWithoutDaemon(t, func(t *testing.T, x *trial, daemon bool) {
		x.run("teardown")
		x.stranger(lab.Open, "torn down")
		x.write(narrow + "# edited\n")
		if daemon {
			time.Sleep(time.Second)
			if out, code := x.exit("reload"); code != 1 ||
				!strings.Contains(out, "portgrave apply") {
				t.Errorf("reload ends with %d: %s", code, out)
			}
		} else {
			x.run("boot")
			if s := x.status(); s.Boot == nil || s.Boot.Loaded != "torn-down" {
				t.Errorf("status says of the boot: %+v", s.Boot)
			}
			defer x.start()()
		}
		x.stranger(lab.Open, "booted")
		if s := x.status(); s.TornDown == nil || s.Generation != nil || !s.Policy.Waits {
			t.Errorf("status says %+v", s)
		}
		if out := oneLine(x.run("status")); !strings.Contains(out, "teardown") ||
			!strings.Contains(out, "at boot") {
			t.Errorf("status says\n%s", out)
		}
		x.run(x.on("apply")...)
		x.stranger(lab.Dropped, "applied")
		if s := x.status(); s.TornDown != nil || s.Generation == nil {
			t.Errorf("status says %+v", s)
		}
	})
}

// Networks are followed while an edited policy waits, and after a restart too; with follow: all the
// policy is followed as well, with none neither.
func TestFollow(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, e engine) {
		for _, follow := range []string{"", "networks", "all", "none"} {
			t.Run("follow "+follow, func(t *testing.T) {
				t.Parallel()
				x := newTrial(t, e)
				list := filepath.Join(x.dir, "list.txt")
				writeList := func(lines string) {
					t.Helper()
					if err := os.WriteFile(list+".new", []byte(lines), 0o644); err != nil {
						t.Fatal(err)
					}
					if err := os.Rename(list+".new", list); err != nil {
						t.Fatal(err)
					}
				}
				office := "10.20.0.0/16\nfd00:20::/48\n"
				writeList(office)
				document := func(more string) string {
					d := fmt.Sprintf(
						"version: 1\nnetworks: {list: {file: %q}}\nservices: [{name: metrics, port: 9090, allow: [list%s]}]\n",
						list,
						more,
					)
					if follow != "" {
						d += "daemon: {follow: " + follow + "}\n"
					}
					return d
				}
				x.write(document(""))
				x.run(x.on("apply")...)
				end := x.start()
				x.stranger(lab.Dropped, "before")
				if s := x.status(); s.Policy.Follow != "networks" && follow == "" ||
					follow != "" && s.Policy.Follow != follow {
					t.Errorf("it follows %q", s.Policy.Follow)
				}
				// The policy is edited: this one lets one more host in.
				x.write(document(", 203.0.113.10, \"2001:db8:113::10\""))
				if follow == "all" {
					x.await("the edited policy", func() bool { return !x.shut() })
					x.stranger(lab.Open, "edited")
					return
				}
				x.await(
					"status to say that the policy waits",
					func() bool { return x.status().Policy.Waits },
				)
				for _, restarted := range []bool{false, true} {
					when := fmt.Sprintf("restarted: %v", restarted)
					if restarted {
						end()
						x.start()
						time.Sleep(time.Second)
					}
					x.stranger(lab.Dropped, "edited, "+when)
					writeList(office + "203.0.113.0/24\n2001:db8:113::/48\n")
					if follow == "none" {
						time.Sleep(time.Second)
						x.stranger(lab.Dropped, "the list has grown, "+when)
					} else {
						x.await("the list", func() bool { return !x.shut() })
						x.stranger(lab.Open, "the list has grown, "+when)
					}
					writeList(office)
					x.await("the list as before", x.shut)
				}
				if !x.status().Policy.Waits {
					t.Error("afterwards the policy doesn't wait")
				}
				x.run("reload")
				x.stranger(lab.Open, "reloaded")
			})
		}
	})
}

// oneLine is text whose sentences are wrapped, in one line.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
