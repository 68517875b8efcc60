package daemon

import (
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

// twoLists is a daemon under test with two networks in files: service a uses l, b uses m, and c
// both.
type twoLists struct {
	*followed
	dir, mode string
}

func newTwoLists(t *testing.T, mode string) *twoLists {
	t.Helper()
	x := &twoLists{followed: &followed{}, dir: t.TempDir(), mode: mode}
	put(t, x.dir, "l", "10.0.0.0/8")
	put(t, x.dir, "m", "172.16.0.0/12")
	x.running = startSaying(t, x.document(), nil)
	x.in("10.0.0.0/8", "172.16.0.0/12", "10.0.0.0/8 172.16.0.0/12", "at the start")
	return x
}

func (x *twoLists) document() string {
	return fmt.Sprintf(`version: 1
networks: {l: {file: %q}, m: {file: %q}}
services:
- {name: a, port: 9090, allow: [l]}
- {name: b, port: 9091, allow: [m]}
- {name: c, port: 9092, allow: [l, m]}
daemon: {follow: %s}
`, filepath.Join(x.dir, "l"), filepath.Join(x.dir, "m"), x.mode)
}

func put(t *testing.T, dir, list, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, list), []byte(content+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// write has a list hold something, without the daemon hearing of it.
func (x *twoLists) write(list, content string) { x.t.Helper(); put(x.t, x.dir, list, content) }

// in fails unless these may reach a, b and c.
func (x *twoLists) in(a, b, c, when string) {
	x.t.Helper()
	held := x.kernel.Held()
	if held == nil {
		x.t.Errorf("%s: nothing is in force", when)
		return
	}
	for i, want := range []string{a, b, c} {
		if got := strings.Join(held.Services[i].Sources.Strings(), " "); got != want {
			x.t.Errorf("%s: %s may reach %s, want %s", when, got, held.Services[i].Name, want)
		}
	}
}

// setAside is what the status says is set aside.
func (x *twoLists) setAside(want, when string) {
	x.t.Helper()
	_, body := x.get("/v1/firewall")
	if want := fmt.Sprintf(`"set_aside":[%s]`, want); !strings.Contains(body, want) {
		x.t.Errorf("%s: status has not %s: %s", when, want, body)
	}
	if waits := x.status().Policy.Waits; waits != (want != "") {
		x.t.Errorf("%s: the policy waits: %v", when, waits)
	}
}

// again ends the daemon, starts another one, and waits until that has read the lists.
func (x *twoLists) again() {
	x.t.Helper()
	x.followed.again()
	x.read()
}

// waysBack are ways to go back from what a list holds.
var waysBack = map[string]func(x *twoLists){
	"rollback": func(x *twoLists) {
		x.write("l", "192.0.2.0/24")
		x.read()
		x.in("192.0.2.0/24", "172.16.0.0/12", "172.16.0.0/12 192.0.2.0/24", "followed")
		x.post("/v1/rollback", nil, http.StatusOK)
	},
	"rollback before the daemon has read the list": func(x *twoLists) {
		x.write("l", "198.51.100.0/24")
		x.post("/v1/apply", nil, http.StatusOK)
		x.write("l", "192.0.2.0/24")
		x.post("/v1/rollback", nil, http.StatusOK)
	},
	"trial": func(x *twoLists) {
		x.write("l", "192.0.2.0/24")
		x.post("/v1/apply", host.ApplyRequest{Confirm: "5s"}, http.StatusOK)
		x.read()
		x.in("192.0.2.0/24", "172.16.0.0/12", "172.16.0.0/12 192.0.2.0/24", "on trial")
		x.within(30*time.Second, "the trial's end", func() bool {
			return strings.Contains(x.log.String(), "has been taken back")
		})
	},
}

// What a rollback, or the end of a trial, took back of a list stays back until that list's content
// changes, or somebody applies it; other lists are followed meanwhile.
func TestListsThatWereTakenBackStayBack(t *testing.T) {
	for _, mode := range []string{policy.FollowNetworks, policy.FollowAll} {
		for name, goBack := range waysBack {
			t.Run(mode+", "+name, func(t *testing.T) {
				t.Parallel()
				x := newTwoLists(t, mode)
				goBack(x)
				x.read()
				x.in("10.0.0.0/8", "172.16.0.0/12", "10.0.0.0/8 172.16.0.0/12", "taken back")
				x.setAside(`"l"`, "taken back")
				x.write("l", "192.0.2.0/24")
				x.read()
				x.in("10.0.0.0/8", "172.16.0.0/12", "10.0.0.0/8 172.16.0.0/12", "touched")
				x.write("m", "172.16.0.0/13")
				x.read()
				x.in("10.0.0.0/8", "172.16.0.0/13", "10.0.0.0/8 172.16.0.0/12", "the other list")
				x.again()
				x.in("10.0.0.0/8", "172.16.0.0/13", "10.0.0.0/8 172.16.0.0/12", "started again")
				x.setAside(`"l"`, "started again")
				x.write("l", "203.0.113.0/24")
				x.read()
				x.in("203.0.113.0/24", "172.16.0.0/13", "172.16.0.0/13 203.0.113.0/24", "changed")
				x.setAside("", "changed")
				x.write("l", "192.0.2.0/24")
				x.read()
				x.in("192.0.2.0/24", "172.16.0.0/13", "172.16.0.0/13 192.0.2.0/24",
					"what was taken back is written anew")
			})
		}
	}
}

// A list that is written back to what is in force is followed from then on.
func TestListThatIsAsInForceIsFollowedAgain(t *testing.T) {
	x := newTwoLists(t, policy.FollowNetworks)
	waysBack["rollback"](x)
	x.read()
	x.write("l", "10.0.0.0/8")
	x.read()
	x.setAside("", "as in force")
	x.again()
	x.setAside("", "as in force, and started again")
	x.write("l", "192.0.2.0/24")
	x.read()
	x.in("192.0.2.0/24", "172.16.0.0/12", "172.16.0.0/12 192.0.2.0/24", "written anew")
}

// apply and reload take what was set aside.
func TestApplyTakesWhatWasSetAside(t *testing.T) {
	for _, path := range []string{"/v1/apply", "/v1/reload?wait=1"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			x := newTwoLists(t, policy.FollowNetworks)
			waysBack["rollback"](x)
			x.read()
			x.in("10.0.0.0/8", "172.16.0.0/12", "10.0.0.0/8 172.16.0.0/12", "rolled back")
			x.post(path, nil, http.StatusOK)
			x.read()
			x.in("192.0.2.0/24", "172.16.0.0/12", "172.16.0.0/12 192.0.2.0/24", path)
			x.setAside("", path)
		})
	}
}
