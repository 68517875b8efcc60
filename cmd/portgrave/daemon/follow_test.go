package daemon

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/policy"
)

// followed is a daemon under test with a network in a file.
type followed struct {
	*running
	list string
}

// document is a policy that lets the list in, and more.
func (f *followed) document(more, follow string) string {
	return fmt.Sprintf(
		"version: 1\nnetworks: {list: {file: %q}}\nservices: [{name: metrics, port: 9090, allow: [list%s]}]\ndaemon: {follow: %s}\n",
		f.list,
		more,
		follow,
	)
}

// edit has another policy be on disk, and waits until it was.
func (f *followed) edit(document string) {
	f.t.Helper()
	f.says(func() (string, error) { return document, nil })
	f.read()
}

// read has everything read again, as when a file has changed.
func (f *followed) read() {
	f.t.Helper()
	before := f.status().Policy.ReadAt
	if err := os.WriteFile(filepath.Join(f.watched, "changed"), nil, 0o600); err != nil {
		f.t.Fatal(err)
	}
	f.eventually("the reading", func() bool { return f.status().Policy.ReadAt.After(before) })
}

// holds writes the list.
func (f *followed) holds(lines string) {
	f.t.Helper()
	if err := os.WriteFile(f.list, []byte(lines), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *followed) status() (s Status) {
	f.t.Helper()
	_, body := f.get("/v1/status")
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		f.t.Fatal(err)
	}
	return s
}

// post is an operation that must end so.
func (f *followed) post(path string, request any, want int) string {
	f.t.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		f.t.Fatal(err)
	}
	response, err := f.client().
		Post("http://portgrave"+path, "application/json", bytes.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var answer bytes.Buffer
	if _, err := answer.ReadFrom(response.Body); err != nil || response.StatusCode != want {
		f.t.Errorf("%s: %s, want %d: %s, %v", path, response.Status, want, &answer, err)
	}
	return answer.String()
}

// sources are who may reach the port, in short.
func (f *followed) sources() string {
	held := f.kernel.Held()
	if held == nil {
		return "unguarded"
	}
	return strings.Join(held.Services[0].Sources.Strings(), " ")
}

func (f *followed) expect(sources string, waits bool, when string) {
	f.t.Helper()
	if got := f.sources(); got != sources {
		f.t.Errorf("%s: %s may reach it, want %s", when, got, sources)
	}
	if s := f.status(); s.Policy.Waits != waits {
		f.t.Errorf("%s: the policy waits: %v, want %v", when, s.Policy.Waits, waits)
	}
}

func follow(t *testing.T, mode string) *followed {
	t.Helper()
	f := &followed{list: filepath.Join(t.TempDir(), "list")}
	if err := os.WriteFile(f.list, []byte("10.0.0.0/8\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.running = startSaying(t, f.document("", mode), nil)
	f.expect("10.0.0.0/8", false, "at the start")
	if s := f.status(); s.Policy.Follow != mode {
		t.Errorf("it follows %q", s.Policy.Follow)
	}
	return f
}

// What is edited waits or doesn't, and so does what a network holds.
func TestFollow(t *testing.T) {
	for mode, want := range map[string]struct {
		// who is let in after the list has grown, the policy was edited, and both
		list, edited, both string
		waits              [3]bool
	}{
		policy.FollowNetworks: {"10.0.0.0/7", "10.0.0.0/7", "10.0.0.0/8", [3]bool{false, true, true}},
		policy.FollowNone:     {"10.0.0.0/8", "10.0.0.0/8", "10.0.0.0/8", [3]bool{true, true, true}},
		policy.FollowAll:      {"10.0.0.0/7", "10.0.0.0/7 192.0.2.0/24", "10.0.0.0/8 192.0.2.0/24", [3]bool{false, false, false}},
	} {
		t.Run(mode, func(t *testing.T) {
			f := follow(t, mode)
			f.holds("10.0.0.0/7\n")
			f.read()
			f.expect(want.list, want.waits[0], "the list has grown")
			f.edit(f.document(", 192.0.2.0/24", mode))
			f.expect(want.edited, want.waits[1], "edited")
			f.holds("10.0.0.0/8\n")
			f.read()
			f.expect(want.both, want.waits[2], "edited, and the list is as before")
			f.post("/v1/reload?wait=1", nil, http.StatusOK)
			f.expect("10.0.0.0/8 192.0.2.0/24", false, "reloaded")
		})
	}
}

// A policy that changes no rule holds at once, with its settings: so can follow be changed.
func TestSettingsHoldAtOnce(t *testing.T) {
	f := follow(t, policy.FollowNetworks)
	f.edit(f.document("", policy.FollowAll))
	f.expect("10.0.0.0/8", false, "settings alone")
	if s := f.status(); s.Policy.Follow != policy.FollowAll || s.Generation != 1 {
		t.Errorf("status: %+v", s)
	}
	f.edit(f.document(", 192.0.2.0/24", policy.FollowAll))
	f.expect("10.0.0.0/8 192.0.2.0/24", false, "edited")
	// What waits does not decide whether it waits.
	f.edit(f.document(", 192.0.2.0/24", policy.FollowNetworks))
	f.edit(f.document("", policy.FollowAll))
	f.expect("10.0.0.0/8 192.0.2.0/24", true, "edited to follow all")
}

// While a policy that can't be used stands on disk, the networks of the one in force are followed.
func TestNetworksAreFollowedBehindABadPolicy(t *testing.T) {
	f := follow(t, policy.FollowNetworks)
	f.edit("version: 2\n")
	f.holds("10.0.0.0/7\n")
	f.read()
	f.expect("10.0.0.0/7", false, "a bad policy")
	if s := f.status(); !strings.Contains(s.Policy.Error, "policy.yaml:1:") {
		t.Errorf("status: %+v", s)
	}
}

// A trial is not confirmed by what happens to files, and what nobody has confirmed is not put in
// force again by them.
func TestTrialIsLeftAlone(t *testing.T) {
	for _, mode := range []string{policy.FollowNetworks, policy.FollowAll} {
		t.Run(mode, func(t *testing.T) {
			f := follow(t, mode)
			f.says(func() (string, error) { return f.document(", 192.0.2.0/24", mode), nil })
			f.post("/v1/apply", host.ApplyRequest{Confirm: "5s"}, http.StatusOK)
			f.read() // a daemon hears that the policy was edited
			f.expect("10.0.0.0/8 192.0.2.0/24", false, "on trial")
			f.holds("10.0.0.0/7\n")
			f.read()
			f.expect("10.0.0.0/8 192.0.2.0/24", false, "on trial, and the list has grown")
			wanted := "10.0.0.0/7"
			if mode == policy.FollowAll {
				// the policy on disk is what was taken back, and it alone is followed
				wanted = "10.0.0.0/8"
			}
			f.within(
				30*time.Second,
				"the trial's end",
				func() bool { return f.kernel.Held() != nil && f.sources() == wanted },
			)
			f.read()
			f.expect(wanted, mode == policy.FollowNetworks, "taken back")

			f.says(func() (string, error) { return f.document(", 192.0.2.0/24", mode), nil })
			f.post("/v1/apply", host.ApplyRequest{Confirm: "60s"}, http.StatusOK)
			f.holds("11.0.0.0/8\n")
			f.read()
			f.expect("10.0.0.0/7 192.0.2.0/24", false, "on trial again")
			f.post("/v1/confirm", nil, http.StatusOK)
			f.eventually(
				"the list, once it is confirmed",
				func() bool { return f.sources() == "11.0.0.0/8 192.0.2.0/24" },
			)
		})
	}
}

// After a teardown nothing is put in force but by apply: not by files, not by a reload, and not by
// the next daemon.
func TestTeardownIsLeftAlone(t *testing.T) {
	for _, mode := range []string{policy.FollowNetworks, policy.FollowAll} {
		t.Run(mode, func(t *testing.T) {
			f := follow(t, mode)
			f.post("/v1/teardown", nil, http.StatusOK)
			f.edit(f.document(", 192.0.2.0/24", mode))
			f.expect("unguarded", true, "torn down")
			if said := f.post("/v1/reload?wait=1", nil, http.StatusInternalServerError); !strings.Contains(
				said,
				"run portgrave apply",
			) {
				t.Errorf("reload says %s", said)
			}
			f.expect("unguarded", true, "reloaded")
			if _, m := f.get("/metrics"); !strings.Contains(m, "portgrave_policy_waiting 1") {
				t.Errorf("metrics:\n%s", m)
			}
			f.post("/v1/apply", nil, http.StatusOK)
			f.eventually("the policy not to wait", func() bool { return !f.status().Policy.Waits })
			f.expect("10.0.0.0/8 192.0.2.0/24", false, "applied")
		})
	}
}

// A trial ends when it should, whatever somebody does to the wall clock meanwhile.
func TestClockSetDuringATrial(t *testing.T) {
	for name, set := range map[string]time.Duration{"back": -time.Hour, "forward": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := follow(t, policy.FollowNetworks)
			f.says(
				func() (string, error) {
					return f.document(", 192.0.2.0/24", policy.FollowNetworks), nil
				},
			)
			begin := time.Now()
			f.post("/v1/apply", host.ApplyRequest{Confirm: "5s"}, http.StatusOK)
			f.set.Store(int64(set))
			f.bend(nil) // it looks at the clock now
			f.within(
				30*time.Second,
				"the trial's end",
				func() bool { return f.sources() == "10.0.0.0/8" },
			)
			if took := time.Since(begin); took < 5*time.Second {
				t.Errorf("it was taken back after %v", took)
			}
		})
	}
}

// A rollback is not undone: neither by a reading that had begun before it, nor by a policy on disk
// that nobody has edited since.
func TestRollbackStays(t *testing.T) {
	for _, mode := range []string{policy.FollowNetworks, policy.FollowAll} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			f := follow(t, mode)
			wide := f.document(", 192.0.2.0/24", mode)
			f.says(func() (string, error) { return wide, nil })
			f.post("/v1/apply", nil, http.StatusOK)
			f.read()
			f.expect("10.0.0.0/8 192.0.2.0/24", false, "applied")

			begun, goOn := make(chan struct{}), make(chan struct{})
			f.says(func() (string, error) { close(begun); <-goOn; return wide, nil })
			if err := os.WriteFile(filepath.Join(f.watched, "changed"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			<-begun
			f.post("/v1/rollback", nil, http.StatusOK)
			f.says(func() (string, error) { return wide, nil })
			close(goOn)
			f.eventually("the readings", func() bool { return f.status().Policy.Waits })
			f.read()
			f.expect("10.0.0.0/8", true, "rolled back")
			f.holds("11.0.0.0/8\n")
			f.read()
			f.expect("11.0.0.0/8", true, "rolled back, and the list has changed")
			f.again()
			f.read()
			f.expect("11.0.0.0/8", true, "rolled back, and the daemon was started again")

			f.edit(f.document(", 198.51.100.0/24", mode))
			if mode == policy.FollowAll {
				f.expect("11.0.0.0/8 198.51.100.0/24", false, "edited anew")
			} else {
				f.expect("11.0.0.0/8", true, "edited anew")
			}
		})
	}
}

// A daemon that can't read which generation is in force leaves the rules as they are, and does not
// put an edited policy in force. Any policy is better than no rules, and than those that the boot
// fell back on because it could not read that generation either.
func TestUnreadableGenerationPutsNothingInForce(t *testing.T) {
	const old, edited = "10.0.0.0/8", "192.0.2.0/24"
	for name, c := range map[string]struct {
		noRules bool
		boot    *host.Booted
		want    string
	}{
		"rules stand":           {want: old},
		"no rules":              {noRules: true, want: edited},
		"the boot fell back":    {boot: &host.Booted{Loaded: host.LoadedClosed, Newest: 1}, want: edited},
		"applied since it did":  {boot: &host.Booted{Loaded: host.LoadedPolicy}, want: old},
		"the boot went as ever": {boot: &host.Booted{Loaded: host.LoadedGeneration, Newest: 1}, want: old},
	} {
		for _, mode := range []string{policy.FollowNetworks, policy.FollowAll} {
			t.Run(name+", "+mode, func(t *testing.T) {
				t.Parallel()
				f := follow(t, mode)
				f.end()
				f.holds(edited + "\n")
				path := filepath.Join(f.dir, "generations", "000001.generation")
				if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
				if c.noRules {
					f.kernel.Set(nil)
				}
				if c.boot != nil {
					if err := host.KeepBooted(f.dir, *c.boot); err != nil {
						t.Fatal(err)
					}
				}
				f.again()
				f.read()
				waits := c.want == old
				f.expect(c.want, waits, "started again")
				if s := f.status(); strings.Contains(s.Error, "damaged") != waits {
					t.Errorf("status says %q", s.Error)
				}
				f.post("/v1/apply", nil, http.StatusOK)
				f.read()
				f.expect(edited, false, "applied")
			})
		}
	}
}

// What a network holds is put in force once it can be recorded, without anything else happening.
func TestFollowingIsTriedAgainWhenTheDiskIsFull(t *testing.T) {
	f := follow(t, policy.FollowNetworks)
	texts := filepath.Join(f.dir, "policies")
	err := os.Rename(texts, texts+".away")
	if err == nil {
		err = os.WriteFile(texts, nil, 0o600) // nothing can be written below it
	}
	if err != nil {
		t.Fatal(err)
	}
	f.holds("10.0.0.0/7\n")
	f.read()
	f.expect("10.0.0.0/8", false, "it can't be recorded")
	if s := f.status(); !strings.Contains(s.Policy.Error, "could not be recorded") {
		t.Errorf("status says %q", s.Policy.Error)
	}
	if err := os.Remove(texts); err != nil {
		t.Fatal(err)
	}
	f.within(10*time.Second, "another try", func() bool { return f.sources() == "10.0.0.0/7" })
	f.eventually("the status", func() bool { return f.status().Policy.Error == "" })
}
