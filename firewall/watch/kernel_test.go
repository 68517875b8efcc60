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

// What the nft and iptables programs do is reported, one event a commit, in the kernel's order.
func TestEveryCommitIsReported(t *testing.T) {
	w := started(t)
	steps := []struct {
		program, commands string
		ours, hooks       bool
		summary           string
	}{
		{"nft", "add table inet portgrave", true, false, "table inet portgrave: table added or changed"},
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
		{"nft", "insert rule inet portgrave c accept", true, false, "table inet portgrave: 1 rule added"},
		{"nft", "flush chain inet portgrave c", true, false, "table inet portgrave: 3 rules deleted"},
		{"nft", "delete chain inet portgrave c", true, false, "table inet portgrave: 1 chain deleted"},
		{"nft", "delete chain inet portgrave p", true, true, "table inet portgrave: 1 chain deleted"},
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
		{"nft", "add table ip portgrave", false, false, "table ip portgrave: table added or changed"},
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
		{"nft", "flush ruleset", true, true, "3 tables deleted: inet portgrave, inet other, ip filter"},
	}
	generation := uint32(0)
	for _, s := range steps {
		if s.program == "nft" {
			run(t, s.commands)
		} else {
			backendtest.Program(t, "", s.program, strings.Fields(s.commands)...)
		}
		e := event(t, w)
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
			t.Errorf("%s %s: generation %d after %d", s.program, s.commands, e.Generation, generation)
		}
		generation = e.Generation
	}
}

// What changes nothing is no commit.
func TestNothingChanged(t *testing.T) {
	w := started(t)
	nothingBut(t, w, "one")
	run(t, "add table ip one") // there already
	backendtest.Program(t, "add table ip two", "nft", "-c", "-f", "-")
	if exec.Command("nft", "add table ip three; add rule ip three nowhere accept").Run() == nil {
		t.Fatal("a rule without a chain was accepted")
	}
	nothingBut(t, w, "four")
}

// The author is read before it is gone, from nft, which lives for some milliseconds.
func TestAuthorsOfShortLife(t *testing.T) {
	w := started(t)
	run(t, "add table inet portgrave; add set inet portgrave s { type ipv4_addr; }")
	event(t, w)
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Fatal(err)
	}
	const rounds = 200
	executables, users := 0, 0
	for i := range rounds {
		run(t, []string{"add", "delete"}[i%2]+" element inet portgrave s { 192.0.2.1 }")
		e := event(t, w)
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
	t.Logf("of %d commits by nft: executable read %d times, user %d times", rounds, executables, users)
	if executables < rounds/2 { // on a machine that does little else, more than 95 %
		t.Errorf("only %d of %d executables were read", executables, rounds)
	}
}

func TestOwnCommitsAreIgnored(t *testing.T) {
	w := started(t)
	backend, err := nft.New()
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	heed := w.Ignore(backend.PortID())
	state := backendtest.Simple(t)
	backendtest.Apply(t, backend, &state)
	nothingBut(t, w, "after") // and no gap, though generations went by

	heed()
	heed()
	backendtest.Apply(t, backend, nil)
	e := event(t, w)
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if !e.Ours || e.Author.PID != os.Getpid() || e.Author.Executable != executable {
		t.Errorf("got %+v, want this process as the author", e)
	}
}

func TestNamespacesDoNotHearEachOther(t *testing.T) {
	w := started(t)
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	other := opened(t, receiveBuffer)
	run(t, "add table inet portgrave")
	if e := event(t, other); !e.Ours {
		t.Errorf("got %+v", e)
	}
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	nothingBut(t, w, "home")
}

// The listener is kept from reading while more is sent than its socket holds.
func TestLossIsReportedOnce(t *testing.T) {
	backendtest.Isolate(t)
	w := opened(t, 64<<10)
	run(t, "add table ip big; add set ip big s { type ipv4_addr; }")
	first := event(t, w)
	var elements []string
	for i := range 5000 {
		elements = append(elements, fmt.Sprintf("10.0.%d.%d", i/250, i%250))
	}
	held, release := make(chan struct{}), make(chan struct{})
	go w.request(func(*listener) { close(held); <-release })
	<-held
	func() {
		defer close(release)
		run(t, "add element ip big s { "+strings.Join(elements, ",")+" }")
		run(t, "delete table ip big")
	}()
	lost := event(t, w)
	if !lost.Lost || lost.Generation != first.Generation+2 || lost.Author != (firewall.Author{}) {
		t.Fatalf("got %+v, want a loss up to generation %d", lost, first.Generation+2)
	}
	nothingBut(t, w, "later")
}

// A flood into a socket far too small: whatever gets through, every commit is reported or covered
// by a loss.
func TestAFloodIsSurvived(t *testing.T) {
	backendtest.Isolate(t)
	w := opened(t, 1) // the kernel's minimum
	run(t, "add table inet portgrave; add set inet portgrave s { type ipv4_addr; }")
	const rounds = 20
	var elements []string
	for i := range 2000 {
		elements = append(elements, fmt.Sprintf("10.0.%d.%d", i/250, i%250))
	}
	list := strings.Join(elements, ",")
	for range rounds {
		run(t, "add element inet portgrave s { "+list+" }")
		run(t, "flush set inet portgrave s")
	}
	last := uint32(0)
	w.request(func(l *listener) { last = l.ask() })
	losses, covered := 0, last-2*rounds-1
	for after(last, covered) {
		e := event(t, w)
		if e.Lost {
			losses++
		} else if e.Generation != next(covered) {
			t.Fatalf("generation %d after %d, and nothing said of a loss", e.Generation, covered)
		}
		covered = e.Generation
	}
	t.Logf("%d commits, %d losses", 2*rounds+1, losses)
	nothingBut(t, w, "later")
}

func TestPauseAndResume(t *testing.T) {
	w := started(t)
	run(t, "add table ip before")
	for range 2 {
		if err := w.Pause(); err != nil {
			t.Fatal(err)
		}
	}
	before := event(t, w)
	if before.Summary != "table ip before: table added or changed" {
		t.Errorf("before the pause: %+v", before)
	}
	run(t, "add table ip own")
	for range 2 {
		if err := w.Resume(next(before.Generation)); err != nil {
			t.Fatal(err)
		}
	}
	nothingBut(t, w, "after")
}

// Who else writes during a pause may have changed anything.
func TestCommitsDuringAPauseAreALoss(t *testing.T) {
	for name, own := range map[string]uint32{"others committed last": 1, "own commits failed": 0} {
		t.Run(name, func(t *testing.T) {
			w := started(t)
			run(t, "add table ip before")
			before := event(t, w)
			if err := w.Pause(); err != nil {
				t.Fatal(err)
			}
			run(t, "add table ip own")
			run(t, "add table ip theirs")
			if own != 0 {
				own = next(before.Generation)
			}
			if err := w.Resume(own); err != nil {
				t.Fatal(err)
			}
			if e := event(t, w); !e.Lost || e.Generation != before.Generation+2 {
				t.Errorf("after generation %d: %+v", before.Generation, e)
			}
			nothingBut(t, w, "after")
		})
	}
}

func TestNextEndsWithItsContext(t *testing.T) {
	w := started(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	nothingBut(t, w, "after")
}

func TestClose(t *testing.T) {
	w := started(t)
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

// With the iptables backend our rules stand in other tables, and our own commits are those of
// programs that we run.
func TestIptablesRulesAreOurs(t *testing.T) {
	backendtest.Isolate(t)
	w, err := open(receiveBuffer, IPTables)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	backendtest.Program(
		t,
		"",
		"iptables-nft",
		"-t",
		"mangle",
		"-A",
		"PREROUTING",
		"-j",
		"ACCEPT",
	) // a child of ours
	// A child's child is somebody else's.
	backendtest.Program(t, "", "sh", "-c", "ip6tables-nft -t security -A INPUT -j ACCEPT; true")
	for theirs := false; !theirs; {
		e := event(t, w)
		theirs = e.Ours && strings.HasPrefix(e.Author.Command, "ip6tables")
		// One that was gone before its parent could be read is reported like anybody's, without a user.
		if strings.Contains(e.Summary, "table ip mangle") && e.Author.User != "" {
			t.Errorf("our own commit was reported: %+v", e)
		}
	}
}

// An idle listener is not woken once.
func TestIdleSleeps(t *testing.T) {
	w := started(t)
	nothingBut(t, w, "one")
	var thread int
	w.request(func(*listener) { thread = unix.Gettid() })
	switches := func() string {
		status, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/status", thread))
		if err != nil {
			t.Fatal(err)
		}
		_, counts, _ := strings.Cut(
			string(status),
			"\nvoluntary_ctxt_switches:",
		) // it and the involuntary ones, to the end
		return strings.Join(strings.Fields(counts), " ")
	}
	runtime.GC()
	time.Sleep(100 * time.Millisecond) // until it has gone to sleep
	before := switches()
	time.Sleep(3 * time.Second)
	if after := switches(); after != before {
		t.Errorf("woken while nothing happened: context switches %s, then %s", before, after)
	}
	nothingBut(t, w, "two")
}

func TestPermissionIsNeeded(t *testing.T) {
	backendtest.Isolate(t) // a thread of its own, never given back: it may lose its capabilities
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		t.Fatal(err)
	}
	if w, err := New(Portgrave); !errors.Is(err, firewall.ErrPermission) {
		t.Errorf("got %v, %v", w, err)
	}
}

// A deleted chain is told apart by what it was: before the watch began, while it paused, and under
// its old name.
func TestDeletedChainsAreToldApart(t *testing.T) {
	backendtest.Isolate(t)
	run(
		t,
		"add table ip t; add chain ip t regular; add chain ip t base { type filter hook input priority 0; }",
	)
	w := opened(t, receiveBuffer)
	expect := func(commands string, hooks bool) {
		t.Helper()
		run(t, commands)
		if e := event(t, w); e.Hooks != hooks || e.Lost {
			t.Errorf("%s: %+v, want hooks %v", commands, e, hooks)
		}
	}
	expect("delete chain ip t regular", false)
	expect("rename chain ip t base renamed", true) // its hook is told again
	expect("delete chain ip t renamed", true)
	if err := w.Pause(); err != nil {
		t.Fatal(err)
	}
	run(t, "add chain ip t regular; add chain ip t base { type filter hook input priority 0; }")
	if err := w.Resume(0); err != nil {
		t.Fatal(err)
	}
	if e := event(t, w); !e.Lost {
		t.Errorf("resumed: %+v", e)
	}
	expect("delete chain ip t regular", false)
	expect("delete chain ip t base", true)
}
