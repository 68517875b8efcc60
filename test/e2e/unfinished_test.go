package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portgrave/portgrave/test/lab"
)

// Files that are read while somebody still writes them: half a list blocks half, and half a line is
// a wider network.

// slowFile is a list as a slow download writes it: the first part, a pause, the rest. The first
// part ends in the middle of a line.
type slowFile struct{ name, first, rest string }

// slowFiles are the lists of one family each for except and for allow. What they held before is in
// the rest, behind the pause. The line that is cut in two reads as half of all addresses.
func slowFiles(six bool) []slowFile {
	if six {
		return []slowFile{
			{
				"blocked6.txt",
				"2001:db8:5000::1\n2001:db8:5000::2\n",
				"2001:db8:4000::66\n2001:db8:4000::67\n",
			},
			{
				"clients6.txt",
				"2001:db8:5000::3\n::/1",
				"28\n2001:db8:4000::10\n2001:db8:4000::11\n",
			},
		}
	}
	return []slowFile{
		{"blocked4.txt", "192.0.2.1\n192.0.2.2\n", "192.88.99.66\n192.88.99.67\n"},
		{"clients4.txt", "192.0.2.3\n128.0.0.0/1", "6\n192.88.99.10\n192.88.99.11\n"},
	}
}

// before are the lists that are in force before anybody writes.
var before = map[string]string{
	"blocked4.txt": "192.88.99.66\n", "blocked6.txt": "2001:db8:4000::66\n",
	"clients4.txt": "192.88.99.10\n", "clients6.txt": "2001:db8:4000::10\n",
}

// slowPolicy has all of them: 9090 for everybody but the blocked, 9091 for the clients alone.
func slowPolicy(lists string) string {
	return fmt.Sprintf(`version: 1
networks:
  blocked4: {file: %[1]q}
  blocked6: {file: %[2]q}
  clients4: {file: %[3]q}
  clients6: {file: %[4]q}
services:
  - {name: public, port: 9090, allow: [any], except: [blocked4, blocked6]}
  - {name: private, port: 9091, allow: [clients4, clients6]}
daemon: {poll: 2s}
`, filepath.Join(lists, "blocked4.txt"), filepath.Join(lists, "blocked6.txt"), filepath.Join(lists, "clients4.txt"), filepath.Join(lists, "clients6.txt"))
}

// slowWorld is a world whose host keeps a policy with lists.
type slowWorld struct {
	*lab.World
	*installation
	t      *testing.T
	lists  string
	server *lab.Server    // of 9091
	held   []*lab.Session // of clients that may all the time
}

// source is an address of the internet's, of either family, by its last number.
func source(six bool, n int) netip.Addr {
	if six {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8:4000::%d", n))
	}
	return netip.AddrFrom4([4]byte{192, 88, 99, byte(n)})
}

func newSlowWorld(t *testing.T, e engine) *slowWorld {
	t.Helper()
	s := &slowWorld{World: lab.New(t), t: t}
	s.Host.ListenTCP(9090)
	s.server = s.Host.ListenTCP(9091)
	s.installation = install(t, s.World, "version: 1\n")
	s.installation.use(e)
	s.lists = filepath.Join(s.dir, "lists")
	if err := os.Mkdir(s.lists, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range before {
		s.list(name, content)
	}
	s.installation.write(slowPolicy(s.lists))
	return s
}

// list puts a list in place, whole.
func (s *slowWorld) list(name, content string) {
	s.t.Helper()
	path := filepath.Join(s.lists, name)
	if err := os.WriteFile(path+".new", []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		s.t.Fatal(err)
	}
}

// slowWriters write lists: all their first parts at once, and all the rest on a signal.
type slowWriters struct {
	t     *testing.T
	files []*os.File
	rest  []string
}

// begin has all lists of a folder rewritten in place; to is what a name is written as.
func (s *slowWorld) begin(dir string, to func(name string) string) *slowWriters {
	s.t.Helper()
	w := &slowWriters{t: s.t}
	for _, f := range append(slowFiles(false), slowFiles(true)...) {
		file, err := os.OpenFile(
			filepath.Join(dir, to(f.name)),
			os.O_WRONLY|os.O_CREATE|os.O_TRUNC,
			0o644,
		)
		if err == nil {
			_, err = file.WriteString(f.first)
		}
		if err != nil {
			s.t.Fatal(err)
		}
		w.files, w.rest = append(w.files, file), append(w.rest, f.rest)
	}
	return w
}

// finish writes the rest.
func (w *slowWriters) finish() {
	w.t.Helper()
	for i, f := range w.files {
		_, err := f.WriteString(w.rest[i])
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func itself(name string) string { return name }

// The sources: blocked, allowed, and strangers, who may reach 9090 alone.
const (
	blocked, client, stranger = 66, 10, 99
	lateBlocked, lateClient   = 67, 11 // in the lists as they end
)

var sourcesAsked = []int{blocked, client, stranger, lateBlocked, lateClient}

// verdicts are those of these lists, late: as they end.
func verdicts(late bool) string {
	var out []string
	for _, six := range []bool{false, true} {
		for _, port := range []uint16{9090, 9091} {
			for _, n := range sourcesAsked {
				open := port == 9090 && n != blocked && !(late && n == lateBlocked) ||
					port == 9091 && (n == client || late && n == lateClient)
				answer := lab.Dropped
				if open {
					answer = lab.Open
				}
				out = append(out, fmt.Sprintf("%s to %d: %v", source(six, n), port, answer))
			}
		}
	}
	return strings.Join(out, "\n")
}

// now asks every port from every source, and writes the answers as verdicts does.
func (s *slowWorld) now() string {
	s.t.Helper()
	var questions []lab.Question
	for _, six := range []bool{false, true} {
		for _, port := range []uint16{9090, 9091} {
			for _, n := range sourcesAsked {
				questions = append(
					questions,
					lab.Question{Source: source(six, n), To: s.Host.At(port, six)},
				)
			}
		}
	}
	var out []string
	for i, got := range s.ProbeEach(s.Internet, questions) {
		out = append(
			out,
			fmt.Sprintf("%s to %d: %v", questions[i].Source, questions[i].To.Port(), got),
		)
	}
	return strings.Join(out, "\n")
}

// stays checks for a time, and at least twice, that the verdicts are what they were before the
// writing.
func (s *slowWorld) stays(what string, span time.Duration) {
	s.t.Helper()
	s.checked(what, time.Now().Add(span), verdicts(false))
}

func (s *slowWorld) checked(what string, until time.Time, want string) {
	s.t.Helper()
	for n := 0; n < 2 || time.Now().Before(until); n++ {
		if got := s.now(); got != want {
			s.t.Fatalf("%s:\n%s", what, difference(want, got))
		}
	}
}

// becomes waits until the verdicts are those of the whole lists.
func (s *slowWorld) becomes(what string) {
	s.t.Helper()
	got := ""
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if got = s.now(); got == verdicts(true) {
			return
		}
		if got != verdicts(false) && s.between(got) {
			s.t.Fatalf(
				"%s: neither the lists before nor those after:\n%s",
				what,
				difference(verdicts(true), got),
			)
		}
	}
	s.t.Fatalf("%s:\n%s", what, difference(verdicts(true), got))
}

// between reports whether somebody has a verdict that neither the lists before nor those after
// give.
func (s *slowWorld) between(got string) bool {
	was, is := strings.Split(verdicts(false), "\n"), strings.Split(verdicts(true), "\n")
	for i, line := range strings.Split(got, "\n") {
		if line != was[i] && line != is[i] {
			return true
		}
	}
	return false
}

// difference are the lines that are not as wanted.
func difference(want, got string) string {
	var out []string
	is := strings.Split(got, "\n")
	for i, line := range strings.Split(want, "\n") {
		if i >= len(is) || is[i] != line {
			out = append(out, fmt.Sprintf("want %s; got %s", line, is[min(i, len(is)-1)]))
		}
	}
	return strings.Join(out, "\n")
}

// hold opens connections of clients that may all the time.
func (s *slowWorld) hold() {
	s.t.Helper()
	for _, six := range []bool{false, true} {
		a := source(six, client)
		s.AddSources(s.Internet, netip.PrefixFrom(a, a.BitLen()))
		s.held = append(s.held, s.Internet.Open(s.server, s.Host.At(9091, six), lab.From(a)))
	}
}

// holds checks that they still run.
func (s *slowWorld) holds(when string) {
	s.t.Helper()
	for _, c := range s.held {
		if err := c.Ping(); err != nil {
			s.t.Errorf("%s: the connection of %v is cut: %v", when, c.Client, err)
		}
	}
}

// use has an engine enforce the policy, with the programs and the confinement that it takes.
func (i *installation) use(e engine) {
	i.t.Helper()
	i.backend = e.backend
	if e.backend != "iptables" {
		return
	}
	i.confine(confinedBy(i.t, "iptables.conf"))
	dir := i.t.TempDir()
	i.variables = programsIn(i.t, dir, e.name)
	i.confined.own(i.t, filepath.Join(dir, "x"))
}

// While lists are rewritten in place, with a pause in the middle, the lists before stay in force:
// nobody who is blocked gets in, and nobody who is allowed is refused. When the writer is done, the
// new lists are in force.
func TestListsRewrittenSlowly(t *testing.T) { onEveryBackend(t, testListsRewrittenSlowly) }

func testListsRewrittenSlowly(t *testing.T, e engine) {
	s := newSlowWorld(t, e)
	s.start()
	s.stays("before anybody writes", 0)
	s.hold()
	pauses := []time.Duration{0, 2 * time.Second}
	if e.backend == "nftables" {
		pauses = append(pauses, 30*time.Second)
	}
	for _, pause := range pauses {
		w := s.begin(s.lists, itself)
		if pause > 0 {
			s.stays(fmt.Sprintf("in a pause of %v", pause), pause)
		}
		w.finish()
		s.becomes(fmt.Sprintf("after a pause of %v", pause))
		s.holds(fmt.Sprintf("after a pause of %v", pause))
		s.restore()
	}
}

// A file that is written under another name and renamed is read whole, also if the writer renames
// it before he is done.
func TestListsRenamed(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	s := newSlowWorld(t, engines[0])
	s.start()
	rename := func() {
		for name := range before {
			if err := os.Rename(filepath.Join(s.lists, name+".part"), filepath.Join(s.lists, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	part := func(name string) string { return name + ".part" }
	w := s.begin(s.lists, part)
	s.stays("while another file is written", 2*time.Second)
	w.finish()
	s.stays("before it is renamed", 0)
	rename()
	s.becomes("after it was renamed")
	s.restore()
	w = s.begin(s.lists, part)
	rename()
	s.stays("renamed while it is written", 2*time.Second)
	w.finish()
	s.becomes("renamed while it was written, and then finished")
}

// A list may be a symbolic link, and so may its folder: the files that they lead to are watched,
// and so are the links.
func TestListsOverLinks(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	s := newSlowWorld(t, engines[0])
	// As configuration management does it: a name is a link through a link to the folder of a
	// version.
	data := filepath.Join(s.dir, "data")
	versions := func(name string) string { return filepath.Join(data, name) }
	for _, dir := range []string{data, versions("1"), versions("2")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	point := func(target, link string) {
		t.Helper()
		if err := os.Symlink(target, link+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link+".new", link); err != nil {
			t.Fatal(err)
		}
	}
	point("1", versions("current"))
	lists := s.lists
	s.lists = versions("1")
	s.restore()
	for name := range before {
		point(filepath.Join("..", "data", "current", name), filepath.Join(lists, name))
	}
	s.start()
	s.stays("over links", 0)

	w := s.begin(versions("1"), itself)
	s.stays("while the target is written", 2*time.Second)
	w.finish()
	s.becomes("after the target was written")
	s.restore()

	s.lists = versions("2")
	w = s.begin(versions("2"), itself)
	s.stays("while another version is written", 0)
	point("2", versions("current"))
	s.stays("switched to a version that is being written", 2*time.Second)
	w.finish()
	s.becomes("after that version was written")
	s.restore()

	w = s.begin(versions("1"), itself)
	w.finish()
	point("1", versions("current"))
	s.becomes("switched to a version that is whole")
}

// restore puts the lists back, whole, and waits until they are in force if a daemon runs.
func (s *slowWorld) restore() {
	s.t.Helper()
	for name, content := range before {
		s.list(name, content)
	}
	if _, err := os.Stat(filepath.Join(s.runDir, "control.sock")); err != nil {
		return
	}
	got := ""
	for deadline := time.Now().Add(2 * longer); time.Now().Before(deadline); {
		if got = s.now(); got == verdicts(false) {
			return
		}
	}
	s.t.Fatalf("the lists put back, whole:\n%s", difference(verdicts(false), got))
}

// A daemon that starts while lists are written goes on with what they held before, whether or not
// it still has the generation.
func TestStartWhileListsAreWritten(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	s := newSlowWorld(t, engines[0])
	end := s.start()
	s.stays("before anybody writes", 0)
	end()
	w := s.begin(s.lists, itself)
	end = s.start()
	s.stays("started while they are written", 2*time.Second)
	w.finish()
	s.becomes("after they were written")
	s.restore()
	end()
	s.forget()
	w = s.begin(s.lists, itself)
	// Nothing is in force: it waits for the writers a while, and then enforces what there is.
	s.start()
	s.stays("started without a generation", 0)
	w.finish()
	s.becomes("after they were written, without a generation")
}

// forget removes the rules and the history of a daemon that has ended; what its lists held is still
// known.
func (s *slowWorld) forget() {
	s.t.Helper()
	s.Host.NFT("delete table inet portgrave\n")
	kept, err := os.ReadDir(s.state)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, x := range kept {
		if x.Name() != "networks" {
			if err := os.RemoveAll(filepath.Join(s.state, x.Name())); err != nil {
				s.t.Fatal(err)
			}
		}
	}
}

// Without the capability to take leases nobody can tell who has a file open. Then a file that was
// just written counts as being written.
func TestListsRewrittenSlowlyWithoutLeases(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	s := newSlowWorld(t, engines[0])
	if s.confined == nil {
		t.Skip(
			"SKIPPED: not root: in this user namespace other users don't exist, and root may take leases of its own files",
		)
	}
	s.confine(s.confined.without("CAP_LEASE"))
	s.start()
	s.stays("before anybody writes", 0)
	w := s.begin(s.lists, itself)
	s.stays("in a pause of 2 s", 2*time.Second)
	w.finish()
	s.stays("right after it", time.Second)
	s.becomes("ten seconds later")
}

// twoPieces is a policy whose first piece is a policy too, and lets everybody in.
func twoPieces() (first, rest string) {
	return `version: 1
daemon: {poll: 2s}
services:
  - name: public
    port: 9090
    allow: [any]
`, `    except: [192.88.99.66, 192.88.99.67, "2001:db8:4000::66", "2001:db8:4000::67"]
  - {name: private, port: 9091, allow: [192.88.99.10, 192.88.99.11, "2001:db8:4000::10", "2001:db8:4000::11"]}
`
}

// A policy that is written in two pieces is read when it is whole, by the daemon and by the command
// line, which waits for the writer.
func TestPolicyInTwoPieces(t *testing.T) { onEveryBackend(t, testPolicyInTwoPieces) }

func testPolicyInTwoPieces(t *testing.T, e engine) {
	s := newSlowWorld(t, e)
	s.start()
	first, rest := twoPieces()
	file, err := os.OpenFile(s.policy, os.O_WRONLY|os.O_TRUNC, 0)
	if err == nil {
		_, err = file.WriteString(first)
	}
	if err != nil {
		t.Fatal(err)
	}
	verbs := [][]string{{"check"}, {"reload"}, {"apply"}}
	results := make(chan string, len(verbs))
	for _, verb := range verbs {
		go func() {
			out, err := s.try(verb...)
			if err != nil {
				out = fmt.Sprintf("%s: %v\n%s", verb, err, out)
			} else {
				out = ""
			}
			results <- out
		}()
	}
	s.stays("between the pieces", 2*time.Second)
	if n := len(results); n > 0 {
		t.Errorf("%d verbs did not wait: %s", n, <-results)
	}
	if _, err = file.WriteString(rest); err == nil {
		err = file.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	for range verbs {
		select {
		case failed := <-results:
			if failed != "" {
				t.Error(failed)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("a verb waits for ever")
		}
	}
	s.becomes("after both pieces")
}

// try runs a verb.
func (i *installation) try(args ...string) (string, error) {
	var out spoken
	err := i.tryInto(&out, args...)
	return out.String(), err
}

// spoken is what a verb says, which others may read before it ends.
type spoken struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *spoken) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *spoken) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// tryInto runs a verb and writes down what it says.
func (i *installation) tryInto(out *spoken, args ...string) error {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	cmd := i.w.Host.Command(
		ctx,
		i.program,
		append([]string{"--config", i.policy, "--backend", i.backend}, args...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = i.env(), out, out
	return cmd.Run()
}

// The command line waits for the writers of lists too, but not for ever: then they keep their last
// good content, and are reported. It does not wait at all for files that are whole, however young.
func TestCommandLineWhileListsAreWritten(t *testing.T) {
	onEveryBackend(t, testCommandLineWhileListsAreWritten)
}

func testCommandLineWhileListsAreWritten(t *testing.T, e engine) {
	s := newSlowWorld(t, e)
	if out, err := s.try("apply"); err != nil || strings.Contains(out, "waiting until") {
		t.Fatalf("files that are whole: %v\n%s", err, out)
	}
	s.stays("applied", 0)
	w := s.begin(s.lists, itself)
	applied := make(chan string, 1)
	// begin returns when apply says that it waits.
	begin := func() {
		var out spoken
		go func() {
			err := s.tryInto(&out, "apply")
			applied <- fmt.Sprintf("%v\n%s", err, out.String())
		}()
		end := time.Now().Add(20 * time.Second)
		for !strings.Contains(out.String(), "waiting until") {
			time.Sleep(10 * time.Millisecond)
			if time.Now().After(end) {
				t.Fatalf("apply doesn't say that it waits:\n%s", out.String())
			}
		}
	}
	begin()
	s.stays("while apply waits", time.Second)
	w.finish()
	if out := <-applied; !strings.HasPrefix(out, "<nil>") || strings.Contains(out, "stale") {
		t.Errorf("apply after the writers: %s", out)
	}
	if got := s.now(); got != verdicts(true) {
		t.Errorf("applied after the writers:\n%s", difference(verdicts(true), got))
	}
	s.restore()
	if out, err := s.try("apply"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if e.backend == "iptables" && e.name != "iptables-nft" {
		return // the patience of the command line is no matter of the backend
	}
	w = s.begin(s.lists, itself)
	begin()
	s.stays("while apply waits in vain", time.Second)
	if out := <-applied; !strings.HasPrefix(out, "<nil>") || strings.Count(out, "is stale") != 4 ||
		!strings.Contains(out, "still has it open for writing") {
		t.Errorf("apply while they are written: %s", out)
	}
	s.stays("applied while they are written", 0)
	w.finish()
}
