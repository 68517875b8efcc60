package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/nft"
	"golang.org/x/sys/unix"
)

// Each commit of nft and iptables is reported as one event, in the kernel's order.
func TestEveryCommitIsReported(t *testing.T) {
	w := startWatcher(t)
	steps := []struct {
		program, commands string
		ours, hooks       bool
		summary           string
	}{
		{
			"nft",
			"add table inet portgrave",
			true,
			false,
			"table inet portgrave: table added or changed",
		},
		{
			"nft",
			"add chain inet portgrave c",
			true,
			false,
			"table inet portgrave: 1 chain added or changed",
		},
		{
			"nft",
			"add chain inet portgrave p { type filter hook prerouting priority -110; }",
			true,
			true,
			"table inet portgrave: 1 chain added or changed",
		},
		{
			"nft",
			"add set inet portgrave s { type ipv4_addr; flags interval; }",
			true,
			false,
			"table inet portgrave: 1 set added or changed",
		},
		{
			"nft",
			"add element inet portgrave s { 10.0.0.0/8, 192.0.2.1 }",
			true,
			false,
			"table inet portgrave: 2 elements added",
		},
		{
			"nft",
			"delete element inet portgrave s { 192.0.2.1 }",
			true,
			false,
			"table inet portgrave: 1 element deleted",
		},
		{
			"nft",
			"add rule inet portgrave c ip saddr @s accept; add rule inet portgrave c drop",
			true,
			false,
			"table inet portgrave: 2 rules added",
		},
		{
			"nft",
			"insert rule inet portgrave c accept",
			true,
			false,
			"table inet portgrave: 1 rule added",
		},
		{
			"nft",
			"flush chain inet portgrave c",
			true,
			false,
			"table inet portgrave: 3 rules deleted",
		},
		{
			"nft",
			"delete chain inet portgrave c",
			true,
			false,
			"table inet portgrave: 1 chain deleted",
		},
		{
			"nft",
			"delete chain inet portgrave p",
			true,
			true,
			"table inet portgrave: 1 chain deleted",
		},
		{
			"nft",
			"add table inet plain; add chain inet plain c",
			false,
			false,
			"table inet plain: table added or changed, 1 chain added or changed",
		},
		{
			"nft",
			"rename chain inet plain c d",
			false,
			false,
			"table inet plain: 1 chain added or changed",
		},
		{"nft", "delete table inet plain", false, false, "table inet plain deleted"},
		{
			"nft",
			"add counter inet portgrave n",
			true,
			false,
			"table inet portgrave: 1 object added or changed",
		},
		{
			"nft",
			"add table ip portgrave",
			false,
			false,
			"table ip portgrave: table added or changed",
		},
		{
			"nft",
			"add table inet other; add chain inet other c { type filter hook input priority 0; }",
			false,
			true,
			"table inet other: table added or changed, 1 chain added or changed",
		},
		{
			"nft",
			"add table inet other { flags dormant; }",
			false,
			true,
			"table inet other: table added or changed",
		},
		{
			"iptables-nft",
			"-A INPUT -j ACCEPT",
			false,
			true,
			"table ip filter: table added or changed, 1 chain added or changed, 1 rule added",
		},
		{"nft", "delete table ip portgrave", false, false, "table ip portgrave deleted"},
		{
			"nft",
			"flush ruleset",
			true,
			true,
			"3 tables deleted: inet portgrave, inet other, ip filter",
		},
	}
	generation := uint32(0)
	for _, s := range steps {
		if s.program == "nft" {
			runNFT(t, s.commands)
		} else {
			backendtest.Program(t, "", s.program, strings.Fields(s.commands)...)
		}
		e := nextEvent(t, w)
		if e.Lost || e.Ours != s.ours || e.Hooks != s.hooks || e.Summary != s.summary {
			t.Errorf(
				"%s %s:\n got %+v\nwant ours %v, hooks %v, %q",
				s.program,
				s.commands,
				e,
				s.ours,
				s.hooks,
				s.summary,
			)
		}
		if e.Author.Command != s.program || e.Author.PID == 0 || e.Author.At.IsZero() ||
			!e.Author.At.Equal(e.At) {
			t.Errorf("%s %s: author %+v", s.program, s.commands, e.Author)
		}
		if generation != 0 && e.Generation != generation+1 {
			t.Errorf(
				"%s %s: generation %d after %d",
				s.program,
				s.commands,
				e.Generation,
				generation,
			)
		}
		generation = e.Generation
	}
}

// Commands that change nothing are not reported.
func TestUnchangedRulesAreNotReported(t *testing.T) {
	w := startWatcher(t)
	expectNextCommit(t, w, "one")
	runNFT(t, "add table ip one") // there already
	backendtest.Program(t, "add table ip two", "nft", "-c", "-f", "-")
	if exec.Command("nft", "add table ip three; add rule ip three nowhere accept").Run() == nil {
		t.Fatal("a rule without a chain was accepted")
	}
	expectNextCommit(t, w, "four")
}

// The author is read before it ends. nft lives for a few milliseconds.
func TestAuthorsOfShortLife(t *testing.T) {
	w := startWatcher(t)
	runNFT(t, "add table inet portgrave; add set inet portgrave s { type ipv4_addr; }")
	nextEvent(t, w)
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Fatal(err)
	}
	const rounds = 200
	executables, users := 0, 0
	for i := range rounds {
		runNFT(t, []string{"add", "delete"}[i%2]+" element inet portgrave s { 192.0.2.1 }")
		e := nextEvent(t, w)
		if e.Author.Command != "nft" || e.Author.PID == 0 || e.Author.PID == os.Getpid() {
			t.Fatalf("author %+v", e.Author)
		}
		switch e.Author.Executable {
		case nft:
			executables++
		case "":
		default:
			t.Fatalf("author %+v", e.Author)
		}
		if e.Author.User == "root" {
			users++
		}
	}
	t.Logf(
		"of %d commits by nft: executable read %d times, user %d times",
		rounds,
		executables,
		users,
	)
	if executables < rounds/2 { // on a machine that does little else, more than 95 %
		t.Errorf("only %d of %d executables were read", executables, rounds)
	}
}

func TestOwnCommitsAreIgnored(t *testing.T) {
	w := startWatcher(t)
	backend, err := nft.New()
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	unignore := w.Ignore(backend.PortID())
	state := backendtest.Simple(t)
	backendtest.Apply(t, backend, &state)
	expectNextCommit(t, w, "after") // no gap, although the generation has changed

	unignore()
	unignore()
	backendtest.Apply(t, backend, nil)
	e := nextEvent(t, w)
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if !e.Ours || e.Author.PID != os.Getpid() || e.Author.Executable != executable {
		t.Errorf("got %+v, want this process as the author", e)
	}
}

func TestOtherNamespacesAreNotReported(t *testing.T) {
	w := startWatcher(t)
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	other := openWatcher(t, receiveBufferBytes)
	runNFT(t, "add table inet portgrave")
	if e := nextEvent(t, other); !e.Ours {
		t.Errorf("got %+v", e)
	}
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	expectNextCommit(t, w, "home")
}

// The kernel sends more than the socket holds while the listener is blocked.
func TestLossIsReportedOnce(t *testing.T) {
	backendtest.Isolate(t)
	w := openWatcher(t, 64<<10)
	runNFT(t, "add table ip big; add set ip big s { type ipv4_addr; }")
	first := nextEvent(t, w)
	var elements []string
	for i := range 5000 {
		elements = append(elements, fmt.Sprintf("10.0.%d.%d", i/250, i%250))
	}
	held, release := make(chan struct{}), make(chan struct{})
	go w.request(func(*listener) { close(held); <-release })
	<-held
	func() {
		defer close(release)
		runNFT(t, "add element ip big s { "+strings.Join(elements, ",")+" }")
		runNFT(t, "delete table ip big")
	}()
	lost := nextEvent(t, w)
	if !lost.Lost || lost.Generation != first.Generation+2 || lost.Author != (firewall.Author{}) {
		t.Fatalf("got %+v, want a loss up to generation %d", lost, first.Generation+2)
	}
	expectNextCommit(t, w, "later")
}

// A flood overflows a very small socket. Each commit is reported or covered by a loss.
func TestAFloodIsSurvived(t *testing.T) {
	backendtest.Isolate(t)
	w := openWatcher(t, 1) // the kernel's minimum
	runNFT(t, "add table inet portgrave; add set inet portgrave s { type ipv4_addr; }")
	const rounds = 20
	var elements []string
	for i := range 2000 {
		elements = append(elements, fmt.Sprintf("10.0.%d.%d", i/250, i%250))
	}
	list := strings.Join(elements, ",")
	for range rounds {
		runNFT(t, "add element inet portgrave s { "+list+" }")
		runNFT(t, "flush set inet portgrave s")
	}
	last := uint32(0)
	w.request(func(l *listener) { last = l.ask() })
	losses, covered := 0, last-2*rounds-1
	for after(last, covered) {
		e := nextEvent(t, w)
		if e.Lost {
			losses++
		} else if e.Generation != next(covered) {
			t.Fatalf("generation %d after %d, and nothing said of a loss", e.Generation, covered)
		}
		covered = e.Generation
	}
	t.Logf("%d commits, %d losses", 2*rounds+1, losses)
	expectNextCommit(t, w, "later")
}

func TestNextEndsWithItsContext(t *testing.T) {
	w := startWatcher(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	expectNextCommit(t, w, "after")
}

func TestClose(t *testing.T) {
	w := startWatcher(t)
	waiting := make(chan error)
	go func() {
		_, err := w.Next(context.Background())
		waiting <- err
	}()
	for range 2 {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-waiting; !errors.Is(err, ErrClosed) {
		t.Errorf("Next: %v", err)
	}
	if err := w.Pause(); !errors.Is(err, ErrClosed) {
		t.Errorf("Pause: %v", err)
	}
	if err := w.Resume(1); !errors.Is(err, ErrClosed) {
		t.Errorf("Resume: %v", err)
	}
	w.Ignore(1)()
}

// The iptables backend's rules are in other tables, and its commits come from programs that we run.
func TestIptablesRulesAreOurs(t *testing.T) {
	backendtest.Isolate(t)
	w, err := open(receiveBufferBytes, IPTables)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	// Our own child.
	backendtest.Program(t, "", "iptables-nft", "-t", "mangle", "-A", "PREROUTING", "-j", "ACCEPT")
	// A grandchild counts as another program.
	backendtest.Program(t, "", "sh", "-c", "ip6tables-nft -t security -A INPUT -j ACCEPT; true")
	for reported := false; !reported; {
		e := nextEvent(t, w)
		reported = e.Ours && strings.HasPrefix(e.Author.Command, "ip6tables")
		// If our child ended before its parent could be read, its commit is reported without a
		// user.
		if strings.Contains(e.Summary, "table ip mangle") && e.Author.User != "" {
			t.Errorf("our own commit was reported: %+v", e)
		}
	}
}

// An idle listener never wakes.
func TestIdleSleeps(t *testing.T) {
	w := startWatcher(t)
	expectNextCommit(t, w, "one")
	var thread int
	w.request(func(*listener) { thread = unix.Gettid() })
	switches := func() string {
		status, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/status", thread))
		if err != nil {
			t.Fatal(err)
		}
		// The counts of voluntary and involuntary switches are the last two lines.
		_, counts, _ := strings.Cut(string(status), "\nvoluntary_ctxt_switches:")
		return strings.Join(strings.Fields(counts), " ")
	}
	runtime.GC()
	time.Sleep(100 * time.Millisecond) // until the listener sleeps
	before := switches()
	time.Sleep(3 * time.Second)
	if after := switches(); after != before {
		t.Errorf("woken while nothing happened: context switches %s, then %s", before, after)
	}
	expectNextCommit(t, w, "two")
}

func TestPermissionIsNeeded(t *testing.T) {
	backendtest.Isolate(t) // its thread ends with the test, so it may lose its capabilities
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		t.Fatal(err)
	}
	if w, err := New(Portgrave); !errors.Is(err, firewall.ErrPermission) {
		t.Errorf("got %v, %v", w, err)
	}
}

// The kind of a deleted chain is known if the chain is older than the watch, was made during a
// pause, or was renamed.
func TestDeletedChainsAreToldApart(t *testing.T) {
	backendtest.Isolate(t)
	runNFT(
		t,
		"add table ip t; add chain ip t regular; add chain ip t base { type filter hook input priority 0; }",
	)
	w := openWatcher(t, receiveBufferBytes)
	expect := func(commands string, hooks bool) {
		t.Helper()
		runNFT(t, commands)
		if e := nextEvent(t, w); e.Hooks != hooks || e.Lost {
			t.Errorf("%s: %+v, want hooks %v", commands, e, hooks)
		}
	}
	expect("delete chain ip t regular", false)
	expect("rename chain ip t base renamed", true) // the kernel repeats its hook
	expect("delete chain ip t renamed", true)
	if err := w.Pause(); err != nil {
		t.Fatal(err)
	}
	runNFT(t, "add chain ip t regular; add chain ip t base { type filter hook input priority 0; }")
	if err := w.Resume(0); err != nil {
		t.Fatal(err)
	}
	if e := nextEvent(t, w); !e.Lost {
		t.Errorf("resumed: %+v", e)
	}
	expect("delete chain ip t regular", false)
	expect("delete chain ip t base", true)
}
