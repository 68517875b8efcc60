package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/test/lab"
)

// What the daemon does that the kernel wants a capability for.
const (
	enforces     = "enforces its policy"
	namesAuthors = "names the program of who changed the rules"
	namesOwners  = "names the process that listens"
	readsAtOnce  = "reads a file as soon as it is written"
)

// abilities runs a daemon so confined, with these variables of the environment besides, and tries
// each thing that it should be able to do; what it can't is not in the list.
func abilities(
	t *testing.T,
	c *confinement,
	backend string,
	variables, disrupt []string,
) (can []string) {
	t.Helper()
	w := lab.New(t)
	w.Host.ListenTCP(9090)
	i := install(
		t,
		w,
		"version: 1\nnetworks: {friends: {file: friends.txt}}\nservices: [{name: metrics, port: 9090, allow: [192.88.99.0/24, friends]}]\ndaemon: {protect: never, poll: 2s}\n",
	)
	friends := filepath.Join(i.dir, "friends.txt")
	if err := os.WriteFile(friends, []byte("# nobody yet\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	i.confine(c)
	i.backend, i.variables = backend, variables
	end, err := i.tryStart()
	if err != nil {
		t.Logf("without: %v", err)
		return nil
	}
	defer end()
	friend, foe := netip.MustParseAddr("192.88.99.1"), netip.MustParseAddr("192.88.98.1")
	answers := func() bool {
		got := w.Probe(w.Internet, []netip.Addr{friend, foe}, w.Host.At(9090, false))
		return got[friend] == lab.Open && got[foe] == lab.Dropped
	}
	if !answers() {
		t.Log("it is ready and enforces nothing")
		return nil
	}
	// on a busy machine the one who changed the rules may be gone before he is looked at
	for range 3 {
		time.Sleep(calm)
		w.Host.Run(disrupt[0], disrupt[1:]...)
		for deadline := time.Now().Add(longer); !answers() && time.Now().Before(deadline); {
			time.Sleep(100 * time.Millisecond)
		}
		if !answers() {
			t.Log("what somebody changed stays so")
			return nil
		}
		named := func(e driftEvent) bool {
			return e.Kind == "repaired" && e.Author != nil && e.Author.Executable != "" &&
				e.Author.User == "root"
		}
		if slices.ContainsFunc(driftLog(t, i.state), named) {
			can = append(can, namesAuthors)
			break
		}
	}
	can = append(can, enforces)
	if process := i.listener(9090); process != "" {
		can = append(can, namesOwners)
	}
	deadline := time.Now().
		Add(9 * time.Second)
		// a file that was just written counts as being written for ten
	if err := os.WriteFile(friends, []byte("192.88.98.0/24\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for ; time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if w.Probe(w.Internet, []netip.Addr{foe}, w.Host.At(9090, false))[foe] == lab.Open {
			can = append(can, readsAtOnce)
			break
		}
	}
	return can
}

// listener is the name of the process that the daemon sees listen on a port.
func (i *installation) listener(port uint16) string {
	i.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	body, err := api.NewRemote(i.runDir).Get(ctx, "/v1/audit")
	if err != nil {
		i.t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	var r audit.Report
	if err := json.NewDecoder(body).Decode(&r); err != nil {
		i.t.Fatal(err)
	}
	for _, x := range r.Exposures {
		if x.Port == port && x.Protocol == "tcp" {
			return x.Process
		}
	}
	i.t.Fatalf("the daemon does not see port %d", port)
	return ""
}

// Each capability of the daemon's unit is needed: with all of them it can do everything, and
// without one, less. The daemons run side by side, since most of the time they are waited for, but
// beside no other test: that might keep one of them from seeing who changed the rules.
func TestEveryCapabilityIsNeeded(t *testing.T) {
	lab.RequireRoot(t)
	all := confinedBy(t)
	if all == nil {
		t.Fatal(
			"capabilities are not what they are in the machine's own user namespace: run this as the machine's root",
		)
	}
	flush := []string{"nft", "flush", "chain", "inet", "portgrave", "svc/metrics"}
	type loss struct{ lost, kept []string }
	losses := map[string]loss{
		"":               {nil, []string{enforces, namesAuthors, namesOwners, readsAtOnce}},
		"CAP_NET_ADMIN":  {[]string{enforces, namesAuthors, namesOwners}, nil},
		"CAP_SYS_PTRACE": {[]string{namesAuthors, namesOwners}, []string{enforces}},
		// Then a file that is younger than ten seconds counts as being written.
		"CAP_LEASE": {[]string{readsAtOnce}, []string{enforces, namesOwners}},
		// It does not even start where the module ip_tables is loaded, since whether rules of ours
		// stand in there can't be read.
		"CAP_DAC_READ_SEARCH": {[]string{namesOwners}, nil},
	}
	for _, c := range all.capabilities {
		if _, known := losses[c]; !known {
			t.Errorf("the unit has %s, and nothing here needs it", c)
		}
	}
	for missing, want := range losses {
		t.Run(fmt.Sprintf("without %q", missing), func(t *testing.T) {
			t.Parallel()
			can := abilities(t, all.without(missing), "nftables", nil, flush)
			for _, what := range want.lost {
				if slices.Contains(can, what) {
					t.Errorf("it %s all the same", what)
				}
			}
			for _, what := range want.kept {
				if !slices.Contains(can, what) {
					t.Errorf("it can't do this: it %s", what)
				}
			}
		})
	}
}

// The drop-in for the iptables backend gives it what it takes, with both variants of the programs.
func TestDaemonOnIptables(t *testing.T) {
	lab.RequireRoot(t)
	c := confinedBy(t, "iptables.conf")
	for _, variant := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(variant, func(t *testing.T) {
			t.Parallel()
			can := abilities(
				t,
				c,
				"iptables",
				programsIn(t, t.TempDir(), variant),
				[]string{variant, "-t", "mangle", "-F", "PORTGRAVE-S-metrics"},
			)
			if !slices.Contains(can, enforces) {
				t.Errorf("it can but %s", strings.Join(can, "; "))
			}
			// The kernel's audit is not for network namespaces, so who uses the legacy programs is
			// not told here.
			if variant == "iptables-nft" && !slices.Contains(can, namesAuthors) {
				t.Errorf("it can but %s", strings.Join(can, "; "))
			}
		})
	}
}

// programs has the command iptables be of a variant, and makes the lock of the legacy ones as
// portgrave.tmpfiles does.
func programs(t *testing.T, variant string) {
	t.Helper()
	for _, v := range programsIn(t, t.TempDir(), variant) {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
}

// programsIn does so in a folder, and returns the variables that have a process use them.
func programsIn(t *testing.T, dir, variant string) (variables []string) {
	t.Helper()
	for _, suffix := range []string{"", "-save", "-restore"} {
		for _, family := range []string{"iptables", "ip6tables"} {
			path, err := exec.LookPath(family + strings.TrimPrefix(variant, "iptables") + suffix)
			if err == nil {
				err = os.Symlink(path, filepath.Join(dir, family+suffix))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	lock := filepath.Join(dir, "xtables.lock")
	if err := errors.Join(os.WriteFile(lock, nil, 0o640), os.Chown(lock, 0, 0)); err != nil {
		t.Fatal(err)
	}
	return []string{"XTABLES_LOCKFILE=" + lock, "PATH=" + dir + ":" + os.Getenv("PATH")}
}
