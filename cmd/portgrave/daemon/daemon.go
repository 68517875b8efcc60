package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/denied"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/host/bootclock"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/firewall/host/statefiles"
	"github.com/portgrave/portgrave/firewall/ipvs"
	"github.com/portgrave/portgrave/policy"
	"github.com/portgrave/portgrave/systemd/notify"
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
	// Commits is nil where nobody is told of changes.
	Commits Commits
	// Polled: there are changes that Commits does not tell of, so the kernel is looked at now and
	// then.
	Polled bool
	// Read reads and compiles the policy; p is set even if it could not be compiled, nil if it
	// could not be read.
	Read func(ctx context.Context, how ReadOptions) (p *policy.Policy, c *policy.Compiled, err error)
	// ReadText is Read for the text of a policy that was in force before (policy.ReadText); nil
	// where networks are not followed while another policy waits.
	ReadText func(ctx context.Context, text []byte, how ReadOptions) (p *policy.Policy, c *policy.Compiled, err error)
	// Compile compiles a policy that a client has read, as Read does, but offline: the warnings
	// include those about this host. An error may be one of reading files that the client can
	// read, so it is not for people. nil leaves compiling to clients.
	Compile func(ctx context.Context, q api.CompileRequest) (*policy.Policy, *policy.Compiled, error)
	// Memory is that of Read, ReadText and Compile; nil if they have none.
	Memory *policy.Memory
	// Local does what is asked for. It uses the same reconciler and state directory.
	Local *host.Local
	// Protect keeps others from changing the rules, or lets them again; nil where the backend
	// can't.
	Protect firewall.Protector
	// CannotPrint says why a program of this host can't print rules that are protected; "" if all
	// can.
	CannotPrint func() string
	// Folders are those whose files decide what Read says.
	Folders func(p *policy.Policy) []string
	// Audit tells what the host exposes, through everybody's rules; nil if nobody shall look. It is
	// called beside the loop.
	Audit func(ctx context.Context) (audit.Report, error)
	// Virtual lists the services of IPVS that the rules make an exception of (State.Virtual). If it
	// is nil, changes are not followed.
	Virtual ipvs.Reader
	// Reports is nil if refused packets are not reported.
	Reports Reports
	// EventDir keeps the drift log; RunDir the control socket and the lock that keeps a second
	// daemon out.
	EventDir, RunDir string
	Version          string
	Log              *slog.Logger
}

// ReadOptions say how a policy is read. The functions are called from several goroutines.
type ReadOptions struct {
	// Offline: only what is on this host counts.
	Offline bool
	// Patience is how long to wait for who still writes a file.
	Patience time.Duration
	// Parsed hears of the policy before its networks are loaded.
	Parsed func(*policy.Policy)
	// Unfinished is policy.Files.Unfinished.
	Unfinished func(path string, again time.Time)
}

// resyncEvery is how often everything is compared although nothing told of a change.
const resyncEvery = 10 * time.Minute

// LockWait is how long the loop, and what it does for clients, wait for another process that holds
// the lock of the state directory. The loop goes on afterwards, and tries again with the next
// event.
const LockWait = 10 * time.Second

// ErrRunning: another daemon keeps this host.
var ErrRunning = errors.New("another portgrave daemon is running")

// ErrOtherBackend: somebody has moved the rules to another backend. Keeping them where they were
// would undo that, so the daemon ends; started again, it keeps them where they are.
var ErrOtherBackend = errors.New("the rules were moved to another backend: start the daemon again")

// Daemon is one running daemon. Everything below is touched by the loop alone, but for events and
// status.
type Daemon struct {
	Config
	status  *status
	events  *events
	commits <-chan Commit // of others, since the loop began; nil: none are heard
	early   []Commit      // heard while a repair looked for its author, and not answered yet
	fights  fights
	spare   *reserve

	// in force, as far as it is known: what the daemon's settings are; nil if none could be read
	policy   *policy.Policy
	inForce  *history.Generation
	recorded *history.Generation // the last one that an operation of ours has written
	// onDisk is the policy that was read last, under the name of its text; nil if it could not be.
	onDisk     *policy.Policy
	onDiskName string
	// considered is the name of the policy on disk that was last put in force, or found to wait:
	// with follow: all it is adopted when it is edited, not whenever something else is in force,
	// such as after a rollback.
	considered string
	readAt     time.Time     // when the policy was read
	polling    time.Duration // how often the kernel is looked at
	owed       *Commit       // of others, and not undone yet; nil: none
	// listsBent is the commit after which only lists differ.
	listsBent *Commit
	// unanswered is the commit that the last attempt could not undo.
	unanswered *Commit
	listsOwed  bool       // a small table stands, or only lists differ: the full lists must follow
	standIn    smallState // what that table holds
	pollOwed   bool       // the kernel is to be looked at
	// smallStands: the last repair has put it in force, or has tried to where rules were missing.
	smallStands bool
	bent        time.Time     // when somebody's change was last repaired
	used        time.Duration // processor time until the end of the last repair
	seenWhole   time.Time     // when the rules were last seen in the kernel
	triedBack   time.Time     // when what nobody confirmed was last tried to be taken back
	named       int           // the generation whose services the reports know
	last        error         // of the last attempt to enforce
	again       retry         // of what failed
	requests    chan func(context.Context)
	// bentBy is who bent the rules and was not undone yet.
	bentBy *firewall.Author
	leases leaseWatch
	shield shield
	// metrics are served by the control socket and, at will, by scrape.
	metrics http.Handler
	scrape  scrape
	counted counted

	exposed *exposures
	// booted is what the start of the system put in force; nil if portgrave had no part in it.
	booted    *host.Booted
	unmended  string      // why the history could not be mended; "" if it could
	mendAgain time.Time   // when to try again if it could not
	unlogged  atomic.Bool // the last event could not be written to the drift log

	files      *fileWatch
	writing    *unfinished // of the last reading; nil before it
	reads      chan reading
	readingNow bool
	reloads    chan chan<- error // who asks for a reading, and gets to know what came of it
	waiting    []chan<- error    // those for whom the next reading is
	readAgain  string            // why the policy must be read once more; "" if it need not
	readOnce   bool              // the policy was read, or could not be
	refused    bool              // and could not be put in force
	// again because what was read could not be recorded, as on a full disk
	readingAgain retry
	// the rules were removed: nothing is put in force until somebody applies it
	tornDown  bool
	postponed bool // a reading waits for the end of a trial
	// virtual are the services of IPVS as they are now, once that is known; virtualIn is the
	// generation that was found to know them (0: none), and virtualAgain is when to try again until
	// one does.
	virtual      []firewall.VirtualService
	virtualKnown bool
	virtualIn    int
	virtualAgain time.Time
}

// Run keeps the kernel on the policy until ctx ends. The rules stay.
func Run(ctx context.Context, c Config) error {
	unlock, err := onlyOne(c.RunDir)
	if err != nil {
		return err
	}
	defer unlock()
	d := &Daemon{
		Config:   c,
		status:   newStatus(c),
		events:   newEvents(c.EventDir),
		spare:    newReserve(),
		fights:   newFights(),
		requests: make(chan func(context.Context)),
		reads:    make(chan reading),
		reloads:  make(chan chan<- error),
	}
	defer d.spare.empty()
	if err := d.Store.Hold(); err != nil {
		d.Log.Warn("repairs need the state directory from now on", "error", err)
	}
	d.exposed = newExposures(
		c.Audit,
		d.record,
		func(err error) { d.Log.Warn("what the host exposes can't be told", "error", err) },
	)
	d.booted = host.LastBooted(c.RunDir, bootclock.System().BootID)
	d.Local.Author = func() *firewall.Author { return d.bentBy }
	d.Local.Known = d.known
	d.Local.Recorded = func(g history.Generation) { d.recorded = &g }
	d.Local.Mend = d.mend
	d.Local.MaxLease = d.maxLease
	if d.ReadText != nil {
		d.Local.Lists = d.listsNow
	}
	d.metrics = d.metricsHandler()
	d.scrape.guard = d.spare.guard
	defer d.scrape.close()
	serving, stop := context.WithCancel(ctx)
	closeControl, err := d.serveControl(serving)
	if err != nil {
		stop()
		return err
	}
	defer closeControl()
	var looking sync.WaitGroup
	defer looking.Wait()
	defer stop() // first, so that those who follow events let go
	looking.Go(func() { d.exposed.run(serving) })
	return d.loop(ctx)
}

// maxLease is the bound of the policy that was last read.
func (d *Daemon) maxLease() (time.Duration, error) {
	if d.policy == nil {
		return 0, errors.New(
			"the policy could not be read yet, so it is unknown how long a lease may be: see portgrave status",
		)
	}
	return d.policy.Daemon.MaxLease, nil
}

// onlyOne takes the lock that a daemon holds as long as it lives.
func onlyOne(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf(
			"the run directory can't be made: %w (set PORTGRAVE_RUN_DIR, or run as root)",
			err,
		)
	}
	path := filepath.Join(dir, "daemon.lock")
	f, err := statefiles.Open(path, os.O_RDWR)
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
	d.commits = d.watchCommits(ctx)
	var err error
	if d.files, err = watchFiles(ctx, d.Log); err != nil {
		return err
	}
	reload, stopSignals := reloadSignal()
	defer stopSignals()
	watchdog := notify.Watchdog()
	clock := watchClock(ctx, d.Log)
	defer watchdog.Stop()
	resync := time.NewTicker(resyncEvery)
	defer resync.Stop()
	poll := time.NewTicker(policy.DefaultPoll)
	defer poll.Stop()

	virtual := d.watchVirtual(ctx)

	d.enforce(ctx, "start", nil)
	d.endLeases(ctx)
	d.beginReading(ctx, started)
	if d.inForce == nil { // nothing to enforce yet: not ready before there is
		select {
		case r := <-d.reads:
			d.finishReading(ctx, r)
		case <-ctx.Done():
			return nil
		}
	}
	notify.Ready(d.status.line())
	d.Log.Info("ready", "backend", d.Reconciler.Backend.Name(), "generation", d.number())
	for {
		if errors.Is(d.last, ErrOtherBackend) {
			return d.last
		}
		if d.postponed && !d.onTrial() {
			d.postponed = false
			d.beginReading(ctx, "a trial has ended")
		}
		d.checkVirtual(ctx)
		if early := d.early; len(early) > 0 {
			d.early = nil
			d.committed(ctx, early)
		}
		if !d.Polled {
			poll.Stop()
		} else if every := d.pollEvery(); every != d.polling {
			d.polling = every
			poll.Reset(every)
		}
		select {
		case <-ctx.Done():
			notify.Stopping()
			if d.inForce == nil {
				d.Log.Info("ending; there are no rules")
			} else {
				d.Log.Info("ending; the rules stay in force")
			}
			return nil
		case c, open := <-d.commits:
			if !open && ctx.Err() != nil {
				continue // the end has come, by the other way
			}
			if !open {
				return errors.New("the kernel's notifications have ended")
			}
			d.committed(ctx, append([]Commit{c}, waiting(d.commits)...))
		case <-d.files.changed:
			d.beginReading(ctx, "the policy's files changed")
		case list, open := <-virtual:
			if !open { // the end has come
				virtual = nil
				continue
			}
			d.virtual, d.virtualKnown, d.virtualIn, d.virtualAgain = list, true, 0, time.Time{}
		case <-d.virtualDue(): // checkVirtual looks again
		case <-d.writing.due():
			d.writing = nil
			d.beginReading(ctx, "files should be whole by now")
		case <-d.readingAgain.due(0):
			d.readingAgain.at = time.Time{}
			d.beginReading(ctx, "the history could not be written before")
		case <-d.refresh():
			d.beginReading(ctx, "networks are due")
		case <-reload:
			notify.Reloading()
			d.beginReading(ctx, hangup)
		case outcome := <-d.reloads:
			notify.Reloading()
			d.waiting = append(d.waiting, outcome)
			d.beginReading(ctx, asked)
		case r := <-d.reads:
			d.finishReading(ctx, r)
		case <-d.dueBack():
			d.enforce(ctx, "a generation was not confirmed", nil)
		case <-d.repairDue():
			d.repairOwed(ctx)
		case <-d.fightDue():
			d.lookAtFight()
		case <-d.again.due(d.fights.waitAgain(time.Now(), d.again.first())):
			d.enforceWithin(ctx, "another try", d.unanswered)
		case <-resync.C:
			d.enforce(ctx, resyncing, nil)
			if d.refused ||
				d.writing != nil &&
					len(
						d.writing.files,
						// perhaps for want of something that is there by now, such as room on the
						// disk
					) > 0 {
				d.beginReading(ctx, "resync")
			}
		case <-clock:
			d.enforce(ctx, "the clock was set", nil)
			d.endLeases(ctx)
		case <-poll.C:
			d.pollOwed = true
		case <-d.pollDue():
			d.enforceWithin(ctx, polling, d.owed)
		case f := <-d.requests:
			if first := waiting(d.commits); len(first) > 0 { // a repair comes first, however many ask
				d.committed(ctx, first)
			}
			f(context.WithoutCancel(ctx))
		case <-d.leases.over():
			d.endLeases(ctx)
		case <-watchdog.C:
			notify.Alive()
		}
	}
}

// pollEvery is how often a backend without notifications is looked at: more often while somebody
// changes the rules there.
func (d *Daemon) pollEvery() time.Duration {
	if !d.bent.IsZero() && time.Since(d.bent) < fightWindow {
		return shortestPause
	}
	if d.policy != nil && d.policy.Daemon.Poll > 0 {
		return d.policy.Daemon.Poll
	}
	return policy.DefaultPoll
}

// pollDue fires when the kernel is to be looked at, and what is found may be repaired.
func (d *Daemon) pollDue() <-chan time.Time {
	if !d.pollOwed {
		return nil
	}
	return time.After(d.fights.wait(time.Now()))
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

// waiting are the commits that have come meanwhile: one look at the kernel answers them all.
func waiting(commits <-chan Commit) (more []Commit) {
	for {
		select {
		case c, open := <-commits:
			if !open {
				return more
			}
			more = append(more, c)
		default:
			return more
		}
	}
}

// dueBack fires when the generation in force must have been confirmed.
func (d *Daemon) dueBack() <-chan time.Time {
	if d.inForce == nil || d.inForce.Confirmed {
		return nil
	}
	// Not again and again where that fails.
	return time.After(
		max(time.Until(d.triedBack.Add(time.Second)), d.inForce.Left(d.Local.Clocks())),
	)
}
