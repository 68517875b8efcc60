package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/test/lab"
)

// driftEvent is a line of the daemon's drift log, as far as these tests look.
type driftEvent struct {
	Kind    string           `json:"kind"`
	Summary string           `json:"summary"`
	Author  *firewall.Author `json:"author"`
	Took    float64          `json:"took_ms"`
	Error   string           `json:"error"`
}

// installation is the real program with a policy and a state directory, for a world's host.
type installation struct {
	t             *testing.T
	w             *lab.World
	dir           string
	program       string
	policy, state string
	runDir        string
	backend       string
	variables     []string     // of the environment, besides those of this process
	path          string       // folders of programs that come before those of PATH; "" for none
	confined      *confinement // of the daemon; nil: it is root
	before        []string     // words before the daemon's command line
}

func install(t *testing.T, w *lab.World, document string) *installation {
	t.Helper()
	dir := t.TempDir()
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	i := &installation{
		t:       t,
		w:       w,
		dir:     dir,
		program: program,
		policy:  filepath.Join(dir, "policy.yaml"),
		state:   filepath.Join(dir, "state"),
		runDir:  filepath.Join(dir, "run"),
		backend: "auto",
	}
	i.confine(confinedBy(t))
	i.write(document)
	return i
}

// confine has the daemon run so from now on.
func (i *installation) confine(c *confinement) {
	i.t.Helper()
	i.confined = c
	c.own(i.t, i.state, i.runDir, i.denied(), filepath.Join(scratch, "x"))
}

// denied is the folder for the reports of refused packets.
func (i *installation) denied() string { return filepath.Join(i.dir, "denied") }

// built is the program, made once for all tests.
var built = sync.OnceValues(func() (string, error) {
	program := filepath.Join(scratch, "portgrave")
	if out, err := exec.Command("go", "build", "-o", program, "../../cmd/portgrave").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building: %w: %s", err, out)
	}
	return program, nil
})

// write puts a policy in place as an editor does: whole.
func (i *installation) write(document string) {
	i.t.Helper()
	err := os.WriteFile(i.policy+".new", []byte(document), 0o640)
	if err == nil && i.confined != nil { // as /etc/portgrave: root's, and the daemon may read it
		err = os.Chown(i.policy+".new", 0, i.confined.uid)
	}
	if err == nil {
		err = os.Rename(i.policy+".new", i.policy)
	}
	if err != nil {
		i.t.Fatal(err)
	}
}

// daemon prepares a run of the daemon.
func (i *installation) daemon(ctx context.Context) *exec.Cmd {
	words := append(
		slices.Concat(i.before, i.confined.words()),
		i.program,
		"--config",
		i.policy,
		"--backend",
		i.backend,
		"daemon",
		"--denied",
		"json",
		"--denied-file",
		filepath.Join(i.denied(), "denied.json"),
	)
	cmd := i.w.Host.Command(ctx, words[0], words[1:]...)
	cmd.Env = i.env()
	return cmd
}

func (i *installation) env() []string {
	env := append(os.Environ(), "PORTGRAVE_STATE_DIR="+i.state, "PORTGRAVE_RUN_DIR="+i.runDir)
	env = append(env, i.variables...)
	if i.path != "" {
		env = append(
			env,
			"PATH="+i.path+":"+os.Getenv("PATH"),
			"XTABLES_LOCKFILE="+filepath.Join(i.path, "xtables.lock"),
		)
	}
	return env
}

// run runs a verb, which must not fail, and returns what it says: as JSON, standard output alone,
// since on standard error stands how far it is when that takes longer than a second.
func (i *installation) run(args ...string) string {
	i.t.Helper()
	cmd := i.w.Host.Command(
		context.Background(),
		i.program,
		append([]string{"--config", i.policy}, args...)...)
	cmd.Env = i.env()
	var out []byte
	var err error
	var aside bytes.Buffer
	if args[len(args)-1] == "json" {
		cmd.Stderr = &aside
		out, err = cmd.Output()
	} else {
		out, err = cmd.CombinedOutput()
	}
	if err != nil {
		i.t.Fatalf("portgrave %s: %v\n%s%s", strings.Join(args, " "), err, out, aside.String())
	}
	return string(out)
}

// daemonIn starts the real program in a world's host and waits until it is ready.
func daemonIn(t *testing.T, w *lab.World, document string) *installation {
	t.Helper()
	i := install(t, w, document)
	i.start()
	return i
}

// start starts the daemon and waits until it is ready. The function it returns ends it; so does the
// test's end.
func (i *installation) start() (end func()) {
	i.t.Helper()
	end, err := i.tryStart()
	if err != nil {
		i.t.Fatal(err)
	}
	return end
}

// tryStart is start for a daemon that may fail.
func (i *installation) tryStart() (end func(), err error) {
	i.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	cmd := i.daemon(ctx)
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		stop()
		return nil, err
	}
	ready := make(chan error, 2)
	ended := make(chan struct{})
	var said []string // the last lines; to be read after ended
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(log)
		for lines.Scan() {
			if strings.Contains(lines.Text(), `"msg":"ready"`) {
				ready <- nil
			}
			said = append(said[max(0, len(said)-19):], lines.Text())
		}
		ready <- fmt.Errorf("the daemon ended: %s", strings.Join(said, "\n"))
	}()
	end = sync.OnceFunc(func() {
		stop()
		select {
		case <-ended:
		case <-time.After(5 * time.Second): // a program of the daemon's still has the pipe
		}
		_ = cmd.Wait() // which closes it
		<-ended
	})
	i.t.Cleanup(func() {
		if end(); i.t.Failed() {
			i.t.Logf("the daemon's last words:\n%s", strings.Join(said, "\n"))
		}
	})
	select {
	case err = <-ready:
	case <-time.After(20 * time.Second):
		err = errors.New("the daemon did not get ready")
	}
	if err != nil {
		end()
	}
	return end, err
}

func driftLog(t *testing.T, state string) (events []driftEvent) {
	t.Helper()
	// it is moved aside when it grows
	for _, name := range []string{"drift.jsonl.old", "drift.jsonl"} {
		b, err := os.ReadFile(filepath.Join(state, name))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
			var e driftEvent
			if line != "" && json.Unmarshal([]byte(line), &e) == nil {
				events = append(events, e)
			}
		}
	}
	return events
}

// soak: as often as it takes to believe in percentiles (make soak), rather than as often as one
// waits for.
var soak = os.Getenv("PORTGRAVE_SOAK") != ""

func often(briefly, thoroughly int) int {
	if soak {
		return thoroughly
	}
	return briefly
}

// calm is the pause between two disruptions. More than twelve in ten seconds are a fight for the
// daemon (fightRepairs), and these are none.
const calm = 900 * time.Millisecond

// disruptions are what others do to our table.
var disruptions = map[string]string{
	"flush ruleset":    "flush ruleset",
	"delete element":   "delete element inet portgrave svc/metrics/nets-ipv4 { 192.88.99.0/24 }",
	"flush a chain":    "flush chain inet portgrave svc/metrics/refuse",
	"flush sources":    "flush chain inet portgrave svc/metrics",
	"rule before":      "insert rule inet portgrave prerouting accept",
	"chain in between": "add chain inet portgrave mine\ninsert rule inet portgrave prerouting jump mine",
}

// Whatever another program does to the rules is undone at once, and has an author; meanwhile a
// refused source probes without pause. How long it took and what got through is logged; what is
// asserted is that all of it was seen and repaired.
func TestDaemonRepairsAndNamesTheAuthor(t *testing.T) {
	lab.RequireRoot(t)
	w := lab.New(t)
	w.Host.ListenTCP(9090)
	// So many sources that they stand in a set.
	i := install(
		t,
		w,
		"version: 1\nservices: [{name: metrics, port: 9090, allow: [192.88.99.0/24, 10.1.0.0/16, 10.3.0.0/16, 10.5.0.0/16, 10.7.0.0/16]}]\ndaemon: {protect: never}\n",
	)
	// At real-time priority an author is named even while other tests keep the processors busy.
	i.confine(confinedBy(t, "realtime.conf"))
	i.start()
	state := i.state
	friend, foe := netip.MustParseAddr("192.88.99.1"), netip.MustParseAddr("192.88.98.1")
	times := often(10, 200)
	for name, disrupt := range disruptions {
		t.Run(name, func(t *testing.T) {
			before := len(driftLog(t, state))
			foes := w.Stream(w.Internet, []netip.Addr{foe}, w.Host.At(9090, false), lab.Rate(20000))
			friends := w.Stream(
				w.Internet,
				[]netip.Addr{friend},
				w.Host.At(9090, false),
				lab.Rate(2000),
			)
			foes.WaitRounds(20)
			for n := range times {
				w.Host.NFT(disrupt + "\n")
				waitForRepairs(t, state, before, n+1)
				time.Sleep(calm)
			}
			disruptAndStay(t, w.Host, disrupt, func() {
				waitForRepairs(t, state, before, times+1)
			})
			through, cut := foes.Stop(), friends.Stop()
			events := driftLog(t, state)[before:]
			var took []float64
			gone := 0   // authors with no user: only their command and process are known
			failed := 0 // a try that failed is repeated at once
			for n, e := range events {
				if e.Kind == "failed" && failed == 0 {
					failed++
					t.Logf("one try failed: %+v", e)
					continue
				}
				if e.Kind != "repaired" {
					t.Errorf("event %+v", e)
					continue
				}
				took = append(took, e.Took)
				// A process that ends within a millisecond of its change may be gone before the
				// daemon reads about it, where the processor is slow to wake. The last one stays.
				stays := n == len(events)-1
				switch {
				case e.Author == nil || e.Author.Command != "nft" || e.Author.PID == 0:
					t.Errorf("the author is %+v", e.Author)
				case e.Author.User == "" && !stays:
					gone++
				case e.Author.User != "root":
					t.Errorf("the author is %+v", e.Author)
				case (e.Author.Executable != "" || stays) && filepath.Base(e.Author.Executable) != "nft":
					t.Errorf("the executable is %q", e.Author.Executable)
				}
			}
			if len(took)+failed < times+1 {
				t.Fatalf("%d repairs of %d disruptions: %+v", len(took), times+1, events)
			}
			slices.Sort(took)
			t.Logf(
				"%d times: repaired after %.1f ms (median), %.1f ms (99 of 100), %.1f ms (longest); %d authors were gone before they could be read about; %d of %d probes of the refused source got through; the allowed one: %d of %d did not",
				len(took),
				took[len(took)/2],
				took[len(took)*99/100],
				took[len(took)-1],
				gone,
				through.Open,
				through.Sent,
				cut.Sent-cut.Open,
				cut.Sent,
			)
			if through.Unanswered == 0 || cut.Open == 0 {
				t.Error("too few probes to prove anything")
			}
			// In the end all is as before.
			for source, want := range map[netip.Addr]lab.Answer{friend: lab.Open, foe: lab.Dropped} {
				if got := w.Probe(w.Internet, []netip.Addr{source}, w.Host.At(9090, false))[source]; got != want {
					t.Errorf("afterwards %s is %s, want %s", source, got, want)
				}
			}
		})
	}
	// A chain of somebody's that comes first and accepts: nothing to repair, but reported.
	w.Host.NFT(
		"table ip theirs {\n chain c {\n type filter hook prerouting priority -300\n accept\n }\n }\n",
	)
	time.Sleep(calm)
	events := driftLog(t, state)
	if last := events[len(events)-1]; last.Kind != "hook" || last.Author == nil ||
		last.Author.Command != "nft" ||
		!strings.Contains(last.Summary, "theirs") {
		t.Errorf("a foreign base chain was reported as %+v", last)
	}
	// Who was refused is reported.
	reports, err := os.ReadFile(filepath.Join(filepath.Dir(state), "denied", "denied.json"))
	if err != nil || !strings.Contains(string(reports), fmt.Sprintf("%q:%q", "source", foe)) ||
		!strings.Contains(string(reports), `"service":"metrics"`) {
		t.Errorf("reports: %v, %.300s", err, reports)
	}
}

// waitForRepairs waits until the drift log holds so many repairs behind its first events: two
// disruptions that a busy machine lets come at once would be one repair. A try that failed counts:
// where its write took effect all the same, the next try has nothing to repair.
func waitForRepairs(t *testing.T, state string, first, repairs int) {
	t.Helper()
	end := time.Now().Add(20 * time.Second)
	for ; time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		done := 0
		for _, e := range driftLog(t, state)[first:] {
			if e.Kind == "repaired" || e.Kind == "failed" {
				done++
			}
		}
		if done >= repairs {
			return
		}
	}
	t.Errorf("no repair after %d disruptions: %+v", repairs, driftLog(t, state)[first:])
}

// disruptAndStay changes the rules by a process that lives on until the change is repaired.
func disruptAndStay(t *testing.T, host *lab.Node, disrupt string, repaired func()) {
	t.Helper()
	nft := host.Command(t.Context(), "nft", "--interactive")
	stdin, err := nft.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := nft.Start(); err != nil {
		t.Fatal(err)
	}
	line := strings.ReplaceAll(disrupt, "\n", "; ") // one line is one transaction
	if _, err := io.WriteString(stdin, line+"\n"); err != nil {
		t.Error(err)
	}
	repaired()
	stdin.Close()
	if err := nft.Wait(); err != nil {
		t.Errorf("nft --interactive: %v", err)
	}
}

// While very many sources are loaded nobody listens, as that would take several times as long.
// Afterwards every change is heard again, and repaired at once.
func TestDaemonListensAgainAfterABulkLoad(t *testing.T) {
	lab.RequireRoot(t)
	w := lab.New(t)
	w.Host.ListenTCP(9090)
	i := daemonIn(
		t,
		w,
		"version: 1\nservices: [{name: metrics, port: 9090, allow: [192.88.99.0/24]}]\ndaemon: {protect: never, follow: all}\n",
	)
	var list strings.Builder
	for n := range 20_000 {
		fmt.Fprintf(&list, "    - 198.%d.%d.%d\n", 18+n>>15, n>>7&0xff, n&0x7f<<1)
	}
	i.write(
		"version: 1\nnetworks:\n  many:\n" + list.String() + "services: [{name: metrics, port: 9090, allow: [192.88.99.0/24, many]}]\ndaemon: {protect: never}\n",
	)
	member := netip.MustParseAddr("198.18.0.0")
	for range 100 { // until the daemon has noticed
		if w.Probe(w.Internet, []netip.Addr{member}, w.Host.At(9090, false))[member] == lab.Open {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if events := driftLog(t, i.state); slices.ContainsFunc(
		events,
		func(e driftEvent) bool { return e.Kind == "repaired" },
	) {
		t.Errorf("its own change was repaired: %+v", events)
	}
	// the first repair is a bulk load too
	for n, disrupt := range []string{"delete table inet portgrave", "flush ruleset"} {
		w.Host.NFT(disrupt + "\n")
		repaired := 0
		for range 100 {
			repaired = 0
			for _, e := range driftLog(t, i.state) {
				if e.Kind == "repaired" && e.Author != nil && e.Author.Command == "nft" {
					repaired++
				}
			}
			if repaired > n {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if repaired != n+1 {
			t.Fatalf(
				"%s: %d repairs of %d in 5 s: %+v",
				disrupt,
				repaired,
				n+1,
				driftLog(t, i.state),
			)
		}
	}
	if got := w.Probe(w.Internet, []netip.Addr{member}, w.Host.At(9090, false))[member]; got != lab.Open {
		t.Errorf("afterwards a source of the list is %s", got)
	}
}

// Where the kernel lets the daemon own its table, nothing that others do to it has any effect: not
// one packet notices, and there is nothing to repair.
func TestOwnedTableIsOutOfReach(t *testing.T) {
	lab.RequireRoot(t)
	w := lab.New(t)
	w.Host.ListenTCP(9090)
	i := daemonIn(
		t,
		w,
		"version: 1\nservices: [{name: metrics, port: 9090, allow: [192.88.99.0/24]}]\ndaemon: {protect: always}\n",
	)
	friend, foe := netip.MustParseAddr("192.88.99.1"), netip.MustParseAddr("192.88.98.1")
	if s := i.run("status", "-o", "json"); !strings.Contains(s, `"protected": true`) {
		t.Fatalf(
			"the table is not protected; if the reason is the kernel (it takes Linux 6.9), this can't be tried here:\n%s",
			s,
		)
	}
	foes := w.Stream(w.Internet, []netip.Addr{foe}, w.Host.At(9090, false), lab.Rate(20000))
	friends := w.Stream(w.Internet, []netip.Addr{friend}, w.Host.At(9090, false), lab.Rate(2000))
	foes.WaitRounds(20)
	times, failed := often(20, 200), 0
	for _, disrupt := range disruptions {
		for range times {
			cmd := w.Host.Command(context.Background(), "nft", "-f", "-")
			cmd.Stdin = strings.NewReader(disrupt + "\n")
			if cmd.Run() != nil {
				failed++
			}
		}
	}
	// The command line goes through the daemon meanwhile.
	i.write(
		"version: 1\nservices: [{name: metrics, port: 9090, allow: [192.88.99.0/24, 10.99.0.0/16]}]\ndaemon: {protect: always}\n",
	)
	i.run("apply", "--reason", "wider")
	through, cut := foes.Stop(), friends.Stop()
	t.Logf(
		"%d disruptions, of which nft reported %d as failed: %d of %d probes of the refused source got through; the allowed one: %d of %d did not",
		times*len(disruptions),
		failed,
		through.Open,
		through.Sent,
		cut.Sent-cut.Open,
		cut.Sent,
	)
	if through.Open > 0 || cut.Open < cut.Sent || through.Unanswered == 0 || cut.Sent == 0 {
		t.Errorf("through: %+v, cut: %+v", through, cut)
	}
	for _, e := range driftLog(t, i.state) {
		if e.Kind != "hook" { // of the lab's own tables, which flush ruleset takes along
			t.Errorf("event %+v", e)
		}
	}
	if s := i.run("drift"); !strings.Contains(s, "No drift") {
		t.Error(s)
	}
}

// Killed at any moment while the policy changes, the daemon leaves one policy in force or the
// other, never a mixture; and whatever it left, the next one goes on from it.
func TestDaemonKilledAtAnyMoment(t *testing.T) {
	lab.RequireRoot(t)
	w := lab.New(t)
	w.Host.ListenTCP(9090)
	w.Host.ListenTCP(9091)
	// The one lets the first source in on the first port, the other the second on the second: a
	// mixture shows.
	documents := []string{
		"version: 1\nservices: [{name: metrics, port: 9090, allow: [192.88.99.1]}, {name: other, port: 9091, allow: [192.88.99.9]}]\ndaemon: {follow: all}\n",
		"version: 1\nservices: [{name: metrics, port: [9090, 9091], allow: [192.88.99.2]}]\ndaemon: {follow: all}\n",
	}
	sources := []netip.Addr{
		netip.MustParseAddr("192.88.99.1"),
		netip.MustParseAddr("192.88.99.2"),
		netip.MustParseAddr("192.88.99.9"),
	}
	var questions []lab.Question
	for _, port := range []uint16{9090, 9091} {
		for _, source := range sources {
			questions = append(questions, lab.Question{Source: source, To: w.Host.At(port, false)})
		}
	}
	// Who gets in, by port and source, under each.
	want := []string{"9090: 192.88.99.1; 9091: 192.88.99.9", "9090: 192.88.99.2; 9091: 192.88.99.2"}
	i := install(t, w, documents[0])
	begin := time.Now()
	i.start()()
	pace := time.Since(begin) // of this machine, now
	seen := map[string]int{}
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	kills := often(15, 100)
	for n := range kills {
		i.write(documents[n%2])
		cmd := i.daemon(context.Background())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(random.Int64N(int64(pace))))
		i.write(documents[(n+1)%2])
		time.Sleep(
			180*time.Millisecond + time.Duration(random.Int64N(int64(2*pace))),
		) // about when it reads that
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		var open []string
		for at, answer := range w.ProbeEach(w.Internet, questions, lab.Attempts(2)) {
			if answer == lab.Open {
				open = append(
					open,
					fmt.Sprintf("%d: %s", questions[at].To.Port(), questions[at].Source),
				)
			}
		}
		got := strings.Join(open, "; ")
		if n > 0 && !slices.Contains(want, got) {
			t.Errorf("kill %d: open are %q", n, got)
		}
		seen[got]++
	}
	t.Logf("%d kills: %v", kills, seen)
	if seen[want[0]] < 2 || seen[want[1]] < 2 {
		t.Error("one of the policies was hardly ever in force: this proves little")
	}
}
