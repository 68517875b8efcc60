package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/denied"
	"github.com/portgrave/portgrave/firewall/history"
	"github.com/portgrave/portgrave/policy"
	"golang.org/x/sys/unix"
)

// Commits reports what others commit to nf_tables. firewall/watch is the real one.
type Commits interface {
	// Next blocks until something was committed by somebody else, or ctx ends.
	Next(ctx context.Context) (Commit, error)
}

// Commit is one transaction of somebody else, or of several if notifications were lost.
type Commit struct {
	At      time.Time
	Ours    bool // it touched our table
	Hooks   bool // it added or removed a base chain of another table
	Lost    bool // notifications were lost: anything may have changed
	Summary string
	Author  *firewall.Author // nil if unknown
}

// Reports tells who was refused. firewall/denied is the real one.
type Reports interface {
	// SetServices tells the names of the services in force.
	SetServices(names []string)
	Stats() denied.Stats
}

// Config is what the daemon is connected to.
type Config struct {
	Reconciler *firewall.Reconciler
	Store      *history.Store
	// Commits is nil where the backend sends no notifications; then the kernel is looked at every Poll.
	Commits Commits
	// Read reads and compiles the policy; p is set even if it could not be compiled, nil if it could not be read.
	Read func(ctx context.Context) (p *policy.Policy, c *policy.Compiled, err error)
	// WithLeases merges the leases that run into the State of a policy.
	WithLeases func(firewall.State) (firewall.State, error)
	// Folders are those whose files decide what Read says.
	Folders func(p *policy.Policy) []string
	// TakeBack returns to the last confirmed generation if the one in force should have been confirmed by now.
	TakeBack func(ctx context.Context) (bool, error)
	// Reports is nil if refused packets are not reported.
	Reports Reports
	// EventDir keeps the drift log; RunDir the control socket and the lock that keeps a second daemon out.
	EventDir, RunDir string
	Version          string
	Log              *slog.Logger
}

// resyncEvery is how often everything is compared although nothing told of a change.
const resyncEvery = 10 * time.Minute

// lockWait is how long the loop waits for a run of the command line that holds the lock. It goes on afterwards, and tries again
// with the next event.
const lockWait = 10 * time.Second

// ErrRunning: another daemon keeps this host.
var ErrRunning = errors.New("another portgrave daemon is running")

// ErrOtherBackend: somebody has moved the rules to another backend. Keeping them where they were would undo that, so
// the daemon ends; started again, it keeps them where they are.
var ErrOtherBackend = errors.New("the rules were moved to another backend: start the daemon again")

// Daemon is one running daemon. Everything below is touched by the loop alone, but for events and status.
type Daemon struct {
	Config
	status *status
	events *events
	fights fights

	policy    *policy.Policy // last read; nil if it could not be
	inForce   *history.Generation
	readAt    time.Time     // when the policy was read
	polling   time.Duration // how often the kernel is looked at
	quietTill time.Time     // repairs pause until then
	named     int           // the generation whose services the reports know
	last      error         // of the last attempt to enforce
	requests  chan func()

	reads      chan reading
	readingNow bool
	again      string // why the policy must be read once more; "" if it need not
}

// Run keeps the kernel on the policy until ctx ends. The rules stay.
func Run(ctx context.Context, c Config) error {
	unlock, err := onlyOne(c.RunDir)
	if err != nil {
		return err
	}
	defer unlock()
	d := &Daemon{Config: c, status: newStatus(c), events: newEvents(c.EventDir), requests: make(chan func()), reads: make(chan reading)}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	closeControl, err := d.serveControl(ctx)
	if err != nil {
		return err
	}
	defer closeControl()
	return d.loop(ctx)
}

// onlyOne takes the lock that a daemon holds as long as it lives.
func onlyOne(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("the run directory can't be made: %w (set PORTGRAVE_RUN_DIR, or run as root)", err)
	}
	path := filepath.Join(dir, "daemon.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the run directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w (it holds %s)", ErrRunning, path)
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() { _ = f.Close() }, nil
}

// loop is the daemon. Each case does one thing to its end; nothing waits for a client.
func (d *Daemon) loop(ctx context.Context) error {
	commits := d.watchCommits(ctx)
	files, err := watchFiles(ctx, d.Log)
	if err != nil {
		return err
	}
	reload, stopSignals := reloadSignal()
	defer stopSignals()
	watchdog := newWatchdog()
	defer watchdog.Stop()
	resync := time.NewTicker(resyncEvery)
	defer resync.Stop()
	poll := time.NewTicker(defaultPoll)
	defer poll.Stop()

	d.enforce(ctx, "start", nil)
	d.beginReading(ctx, "start")
	if d.inForce == nil { // nothing to enforce yet: not ready before there is
		select {
		case r := <-d.reads:
			d.finishReading(ctx, r, files)
		case <-ctx.Done():
			return nil
		}
	}
	notify("READY=1\nSTATUS=" + d.status.line())
	d.Log.Info("ready", "backend", d.Reconciler.Backend.Name(), "generation", d.number())
	for {
		if errors.Is(d.last, ErrOtherBackend) {
			return d.last
		}
		if d.Commits != nil {
			poll.Stop()
		} else if every := d.pollEvery(); every != d.polling {
			d.polling = every
			poll.Reset(every)
		}
		select {
		case <-ctx.Done():
			notify("STOPPING=1")
			d.Log.Info("ending; the rules stay in force")
			return nil
		case c, open := <-commits:
			if !open && ctx.Err() != nil {
				continue // the end has come, by the other way
			}
			if !open {
				return errors.New("the kernel's notifications have ended")
			}
			d.committed(ctx, c)
		case <-files.changed:
			d.beginReading(ctx, "the policy's files changed")
		case <-d.refresh():
			d.beginReading(ctx, "networks are due")
		case <-reload:
			notify(reloading())
			d.beginReading(ctx, hangup)
		case r := <-d.reads:
			d.finishReading(ctx, r, files)
		case <-d.dueBack():
			d.enforce(ctx, "a generation was not confirmed", nil)
		case <-d.pauseOver():
			d.quietTill = time.Time{}
			d.enforce(ctx, "the pause is over", nil)
		case <-resync.C:
			d.enforce(ctx, "resync", nil)
		case <-poll.C:
			d.enforce(ctx, "poll", nil)
		case f := <-d.requests:
			f()
		case <-watchdog.C:
			notify("WATCHDOG=1")
		}
	}
}

// defaultPoll is how often a backend without notifications is looked at when no policy says otherwise.
const defaultPoll = 10 * time.Second

func (d *Daemon) pollEvery() time.Duration {
	if d.policy != nil && d.policy.Daemon.Poll > 0 {
		return d.policy.Daemon.Poll
	}
	return defaultPoll
}

// watchCommits passes notifications on to the loop. The author was read when the notification came.
func (d *Daemon) watchCommits(ctx context.Context) <-chan Commit {
	if d.Commits == nil {
		return nil
	}
	out := make(chan Commit, 64)
	go func() {
		defer close(out)
		for {
			c, err := d.Commits.Next(ctx)
			if err != nil {
				if ctx.Err() == nil {
					d.Log.Error("the kernel's notifications can't be read", "error", err)
				}
				return
			}
			select {
			case out <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// committed answers a commit of somebody else.
func (d *Daemon) committed(ctx context.Context, c Commit) {
	if c.Hooks && !c.Ours {
		d.record(Event{At: c.At, Kind: "hook", Author: c.Author, Summary: c.Summary})
		d.Log.Warn("another program added or removed a base chain, which may decide before portgrave does", "what", c.Summary, "author", authorText(c.Author))
	}
	if (c.Ours || c.Lost) && d.quietTill.IsZero() {
		d.enforce(ctx, "commit", &c)
	}
}

// enforce makes the kernel hold the generation in force, and says what it had to repair.
func (d *Daemon) enforce(ctx context.Context, cause string, c *Commit) {
	start := time.Now()
	if c != nil {
		start = c.At
	}
	out, err := d.repair(ctx)
	if err != nil && ctx.Err() != nil {
		return // the end has come
	}
	if err != nil {
		if d.last == nil || d.last.Error() != err.Error() { // once, not at every event
			d.Log.Error("the rules can't be enforced", "cause", cause, "error", err)
		}
		d.record(Event{At: start, Kind: "failed", Author: authorOf(c), Summary: cause, Error: err.Error()})
	}
	d.last = err
	d.status.enforced(time.Now(), d.inForce, err)
	d.nameServices()
	if err != nil || out.Plan.InSync() {
		return
	}
	took := out.Enforced.Sub(start)
	e := Event{At: start, Kind: "repaired", Author: authorOf(c), Summary: cause, Changes: out.Plan.Changes, Took: float64(took.Microseconds()) / 1000}
	if c != nil {
		e.Summary = c.Summary
	}
	d.record(e)
	if cause == "start" {
		d.Log.Info("the kernel did not hold the generation in force; repaired", "changes", out.Plan.Count(), "took", took.String())
		return
	}
	d.Log.Warn("drift repaired", "changes", out.Plan.Count(), "first", out.Plan.Changes[0].String(), "author", authorText(e.Author), "took", took.String())
	if pause := d.fights.repaired(time.Now()); pause > 0 {
		d.quietTill = time.Now().Add(pause)
		d.record(Event{At: time.Now(), Kind: "fight", Author: e.Author, Summary: fmt.Sprintf("another program keeps undoing the rules; repairs pause for %s", pause)})
		d.Log.Error("another program keeps undoing the rules; repairs pause: stop that program", "pause", pause.String(), "author", authorText(e.Author))
	}
}

// repair compares and writes, under the lock that the command line takes too.
func (d *Daemon) repair(ctx context.Context) (firewall.Outcome, error) {
	unlock, err := d.Store.Lock(ctx, lockWait)
	if err != nil {
		return firewall.Outcome{}, err
	}
	defer unlock()
	if err := d.reload(); err != nil {
		return firewall.Outcome{}, err
	}
	if d.inForce != nil && !d.inForce.Confirmed && !time.Now().Before(d.inForce.ConfirmBy) {
		if _, err := d.TakeBack(ctx); err != nil {
			return firewall.Outcome{}, err
		}
		d.Log.Warn("a generation was not confirmed in time and has been taken back", "generation", d.inForce.Number)
		if err := d.reload(); err != nil {
			return firewall.Outcome{}, err
		}
	}
	if d.inForce == nil {
		return firewall.Outcome{}, nil // nothing was applied yet, or it was torn down
	}
	want := d.inForce.InForce()
	return d.Reconciler.Apply(ctx, &want, false)
}

// nameServices tells the reports which services there are, when they may have changed.
func (d *Daemon) nameServices() {
	if d.Reports == nil || d.named == d.number() {
		return
	}
	d.named = d.number()
	var names []string
	if d.inForce != nil {
		for _, svc := range d.inForce.InForce().Services {
			names = append(names, svc.Name)
		}
	}
	d.Reports.SetServices(names)
}

// reload looks which generation is in force, and reads it only if it is another one than before.
func (d *Daemon) reload() error {
	newest, err := d.Store.Newest()
	if err != nil || d.inForce != nil && d.inForce.Number == newest && d.inForce.Confirmed && !errors.Is(d.last, ErrOtherBackend) {
		return err
	}
	last, err := d.Store.Last()
	if errors.Is(err, history.ErrNone) {
		d.inForce = nil
		return nil
	}
	if err != nil {
		return err
	}
	d.inForce = last
	if ours := d.Reconciler.Backend.Name(); last.Backend != "" && last.Backend != ours {
		return fmt.Errorf("%w (generation %d: %s, before: %s)", ErrOtherBackend, last.Number, last.Backend, ours)
	}
	return nil
}

func (d *Daemon) number() int {
	if d.inForce == nil {
		return 0
	}
	return d.inForce.Number
}

// hangup is the cause of a reading that systemd waits for.
const hangup = "SIGHUP"

// reading is a policy as it was read.
type reading struct {
	cause string
	p     *policy.Policy
	c     *policy.Compiled
	err   error
}

// beginReading reads the policy beside the loop: networks may be slow, and repairs must not wait for them. If a reading is
// under way, another one follows it.
func (d *Daemon) beginReading(ctx context.Context, cause string) {
	if d.readingNow {
		if d.again != hangup {
			d.again = cause
		}
		return
	}
	d.readingNow, d.readAt = true, time.Now()
	go func() {
		p, c, err := d.Read(ctx)
		select {
		case d.reads <- reading{cause, p, c, err}:
		case <-ctx.Done():
		}
	}()
}

// finishReading makes a generation of a policy that says something else than what is in force. One that can't be used
// changes nothing.
func (d *Daemon) finishReading(ctx context.Context, r reading, files *fileWatch) {
	d.readingNow = false
	if r.p != nil {
		d.policy = r.p
	}
	files.watch(d.Folders(r.p))
	err := r.err
	if err == nil {
		err = d.adopt(ctx, r.cause, r.p, r.c)
	}
	d.status.policyRead(d.readAt, r.p, r.c, err)
	if err != nil {
		d.Log.Error("the policy can't be used; the rules in force stay", "cause", r.cause, "error", err)
	}
	d.enforce(ctx, r.cause, nil)
	if r.cause == hangup {
		notify("READY=1\nSTATUS=" + d.status.line())
	}
	if again := d.again; again != "" {
		d.again = ""
		d.beginReading(ctx, again)
	}
}

func (d *Daemon) adopt(ctx context.Context, cause string, p *policy.Policy, c *policy.Compiled) error {
	for _, t := range c.RunTests(time.Now()) {
		if !t.OK {
			return fmt.Errorf("it fails its own test: from %s to %s: expected %s, got %s", t.From, t.To, t.Expect, t.Got)
		}
	}
	unlock, err := d.Store.Lock(ctx, lockWait)
	if err != nil {
		return err
	}
	defer unlock()
	if err := d.reload(); err != nil {
		return err
	}
	if d.inForce != nil && d.inForce.State.Equal(c.State) {
		return nil
	}
	if refused, err := d.takenBack(c.State); err != nil || refused {
		return errors.Join(err, errors.New("it was taken back because nobody confirmed it: run portgrave apply to put it in force all the same"))
	}
	want, err := d.WithLeases(c.State)
	if err != nil {
		return err
	}
	out, err := d.Reconciler.Apply(ctx, &want, false)
	if err != nil {
		return err
	}
	var leased *firewall.State // as in Generation.Leased
	if !want.Equal(c.State) {
		leased = &want
	}
	g, err := d.Store.Append(history.Generation{Time: time.Now().UTC(), User: "portgrave", Reason: cause, Backend: d.Reconciler.Backend.Name(), Origin: p.Origin,
		Summary: fmt.Sprintf("%d changes", out.Plan.Count()), Confirmed: true, State: c.State, Leased: leased})
	if err != nil {
		return fmt.Errorf("the rules are in force, but could not be recorded: %w", err)
	}
	d.inForce = &g
	d.Log.Info("policy applied", "generation", g.Number, "cause", cause, "changes", out.Plan.Count(), "ended_connections", len(out.Cut))
	return nil
}

// takenBack reports whether a State was the last one that nobody confirmed.
func (d *Daemon) takenBack(s firewall.State) (bool, error) {
	newest, err := d.Store.Newest()
	for n := newest; err == nil && n > max(0, newest-2); n-- { // it stands right before the generation that replaced it
		var g *history.Generation
		if g, err = d.Store.Load(n); err == nil && !g.Confirmed {
			return g.State.Equal(s), nil
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return false, err
}

// refresh fires when a network that lives elsewhere wants to be loaded again.
func (d *Daemon) refresh() <-chan time.Time {
	if d.policy == nil || d.policy.Refresh() == 0 {
		return nil
	}
	return time.After(time.Until(d.readAt.Add(d.policy.Refresh())))
}

// dueBack fires when the generation in force must have been confirmed.
func (d *Daemon) dueBack() <-chan time.Time {
	if d.inForce == nil || d.inForce.Confirmed {
		return nil
	}
	return time.After(max(time.Second, time.Until(d.inForce.ConfirmBy)))
}

func (d *Daemon) pauseOver() <-chan time.Time {
	if d.quietTill.IsZero() {
		return nil
	}
	return time.After(time.Until(d.quietTill))
}

func (d *Daemon) record(e Event) {
	if err := d.events.add(e); err != nil {
		d.Log.Warn("the drift log can't be written", "error", err)
	}
}

func authorOf(c *Commit) *firewall.Author {
	if c == nil {
		return nil
	}
	return c.Author
}

func authorText(a *firewall.Author) string {
	if a == nil {
		return "unknown"
	}
	return fmt.Sprintf("%s (process %d, user %s, unit %s)", a.Command, a.PID, a.User, a.Unit)
}
