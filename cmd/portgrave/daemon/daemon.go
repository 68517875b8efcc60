package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/host/bootclock"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/firewall/host/statefiles"
	"github.com/portgrave/portgrave/policy"
	"golang.org/x/sys/unix"
)

// LockWait is how long the loop, and what it does for clients, wait for another process that holds
// the lock of the state directory. The loop goes on afterwards, and tries again with the next
// event.
const LockWait = 10 * time.Second

// ErrRunning: another daemon keeps this host.
var ErrRunning = errors.New("another portgrave daemon is running")

// ErrOtherBackend: somebody has moved the rules to another backend. Keeping them where they were
// would undo that, so the daemon ends; started again, it keeps them where they are.
var ErrOtherBackend = errors.New("the rules were moved to another backend: start the daemon again")

// Daemon is one running daemon. The loop alone touches what is below, except for events and status.
type Daemon struct {
	Config
	status   *status
	events   *events
	spare    *reserve
	exposed  *exposures
	metrics  http.Handler // served by the control socket and, if the policy says so, by scrape
	scrape   scrape
	counted  counted
	requests chan func(context.Context) // what clients want done in the loop
	booted   *host.Booted               // what boot put in force; nil: not by portgrave

	// What is in force.

	inForce  *history.Generation // nil: nothing, or it could not be read yet
	recorded *history.Generation // the last one that an operation of ours wrote
	named    int                 // the generation whose services the reports know
	tornDown bool                // nothing is put in force until somebody applies it
	leases   leaseWatch
	shield   shield

	// Repairs.

	commits     <-chan Commit    // of others, since the loop began; nil: none are heard
	early       []Commit         // heard while a repair looked for its author, and not answered yet
	owed        *Commit          // of others, and not undone yet; nil: none
	unanswered  *Commit          // the one that the last attempt could not undo
	driftAuthor *firewall.Author // who changed the rules, until that is undone
	fights      fights
	again       retry         // of what failed
	last        error         // of the last attempt to enforce
	lastRepair  time.Time     // of somebody's change
	used        time.Duration // processor time until the end of the last repair
	seenWhole   time.Time     // when the rules were last seen in the kernel
	triedBack   time.Time     // when the daemon last tried to take back what nobody confirmed
	polling     time.Duration // how often the kernel is looked at
	pollOwed    bool          // the kernel must be looked at

	// The small table that stands in for long lists.

	listsOwed   bool       // it stands, or only lists differ: the full lists must follow
	listsDrift  *Commit    // the commit after which only lists differ
	standIn     smallState // what the small table holds
	smallStands bool       // the last repair put it in force, or tried to where rules were missing

	// The policy and its files.

	policy     *policy.Policy // whose settings the daemon has; nil if none could be read
	onDisk     *policy.Policy // the one read last; nil if it could not be
	onDiskName string         // the name of its text
	// considered is the name of the policy on disk that was last put in force, or found to wait:
	// with follow: all it is adopted when it is edited, not whenever something else is in force,
	// such as after a rollback.
	considered   string
	files        *fileWatch
	writing      *unfinished // of the last reading; nil before it
	reads        chan reading
	readAt       time.Time         // when the policy was read
	readingNow   bool              // a reading is under way
	readAgain    string            // why the policy must be read once more; "" if it need not
	readOnce     bool              // the policy was read, or could not be
	readingAgain retry             // of what could not be recorded, as on a full disk
	refused      bool              // what was read could not be put in force
	postponed    bool              // a reading waits for the end of a trial
	reloads      chan chan<- error // who asks for a reading, and waits for its outcome
	waiting      []chan<- error    // those for whom the next reading is

	// The state directory.

	unmended  string      // why the history could not be mended; "" if it could
	mendAgain time.Time   // when to try again if it could not
	unlogged  atomic.Bool // the last event could not be written to the drift log

	// Services of IPVS.

	virtual      []firewall.VirtualService // as they are now, once that is known
	virtualKnown bool
	virtualIn    int       // the generation that was found to know them; 0: none
	virtualAgain time.Time // when to try again until one does
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
	d.Local.Author = func() *firewall.Author { return d.driftAuthor }
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
		return 0, errors.New("the policy could not be read yet, so it is unknown how long a lease " +
			"may be: see portgrave status")
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
