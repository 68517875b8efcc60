package daemon

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/firewall/watch"
	"golang.org/x/sys/unix"
)

// committed answers commits of others, which have come in this order.
func (d *Daemon) committed(ctx context.Context, commits []Commit) {
	var ours []Commit
	for _, c := range commits {
		d.exposed.changed(c.Author)
		if c.Hooks && !c.Ours {
			d.record(Event{At: c.At, Kind: "hook", Author: c.Author, Summary: c.Summary})
			d.Log.Warn(
				"another program added or removed a base chain, which may decide before portgrave does",
				"what",
				c.Summary,
				"author",
				c.Author.String(),
			)
		}
		if c.Ours || c.Lost {
			ours = append(ours, c)
		}
	}
	if len(ours) == 0 {
		return
	}
	if d.owed != nil {
		ours = append([]Commit{*d.owed}, ours...)
	}
	c := together(ours)
	d.bentBy, d.owed = c.Author, &c
	if now := time.Now(); d.fights.full.wait(now) == 0 || d.fights.brief.wait(now) == 0 {
		d.repairOwed(ctx)
	}
}

// repairOwed undoes the commits that were not undone yet, and puts in force what a small table
// stands for.
func (d *Daemon) repairOwed(ctx context.Context) {
	calm := watch.Urgent()
	defer calm()
	cause, c := "commit", d.owed
	if c == nil {
		cause, c = "the full lists", d.listsBent
	}
	d.enforceWithin(ctx, cause, c)
}

// repairDue fires when commits that wait must be undone, or the full lists can follow.
func (d *Daemon) repairDue() <-chan time.Time {
	if d.owed == nil && !d.listsOwed {
		return nil
	}
	now := time.Now()
	wait := d.fights.full.wait(now)
	if d.owed != nil {
		forced := max(d.owed.At.Add(smallWithin).Sub(now), d.fights.wait(now))
		wait = min(wait, d.fights.brief.wait(now), forced)
	}
	return time.After(wait)
}

// enforceWithin enforces within the share of the processor that repairs have: all of it if some is
// left, else what must not wait.
func (d *Daemon) enforceWithin(ctx context.Context, cause string, c *Commit) {
	d.enforceAs(ctx, cause, c, d.fights.full.wait(time.Now()) > 0)
}

// together is several commits as one: since the first, and by its author; should others have had a
// part in it, the summary names them.
func together(commits []Commit) Commit {
	c := commits[0]
	if len(commits) == 1 {
		return c
	}
	var others []string
	for _, x := range commits[1:] {
		c.Ours, c.Lost = c.Ours || x.Ours, c.Lost || x.Lost
		if who := x.Author.String(); !slices.Contains(others, who) && len(others) < 5 {
			others = append(others, who)
		}
	}
	c.Summary += fmt.Sprintf(
		"; and %d commits right behind it, by %s",
		len(commits)-1,
		strings.Join(others, ", "),
	)
	return c
}

// enforce makes the kernel hold the generation in force, and says what it had to repair.
func (d *Daemon) enforce(ctx context.Context, cause string, c *Commit) {
	d.enforceAs(ctx, cause, c, false)
}

// enforceAs is enforce; with brief, lists wait, and where rules are missing a small table stands.
func (d *Daemon) enforceAs(ctx context.Context, cause string, c *Commit, brief bool) {
	start, lastSeen := time.Now(), d.seenWhole
	runtime.LockOSThread() // what others do meanwhile, such as an audit, is not the repair's
	defer runtime.UnlockOSThread()
	d.fights.began = start
	used, whose := processorTime(unix.RUSAGE_THREAD), unix.RUSAGE_THREAD
	if d.fights.now != nil { // then listening to the other program counts too
		used, whose = d.used, unix.RUSAGE_SELF
	}
	if c != nil {
		start = c.At
	}
	stood := d.listsOwed // a small table
	d.owed, d.listsOwed, d.pollOwed = nil, false, false
	out, err := d.repair(ctx, brief, stood)
	d.fights.spent(time.Now(), processorTime(whose)-used, brief)
	d.used = processorTime(unix.RUSAGE_SELF)
	if err != nil && ctx.Err() != nil {
		return // the end has come
	}
	if err != nil {
		if d.last == nil || d.last.Error() != err.Error() { // once, not at every attempt
			d.Log.Error("the rules can't be enforced", "cause", cause, "error", err)
			d.record(
				Event{
					At:      start,
					Kind:    "failed",
					Author:  authorOf(c),
					Summary: cause,
					Error:   err.Error(),
				},
			)
		}
	}
	d.last, d.listsOwed, d.unanswered, d.listsBent = err, out.owed, nil, nil
	if err == nil || out.owed {
		d.smallStands = out.owed && (err != nil || !out.standing.IsZero())
	}
	if err != nil {
		d.unanswered, d.listsOwed = c, stood
	} else if out.owed && out.standing.IsZero() {
		d.listsBent = c
	}
	d.again.after(err)
	d.status.reduced(out.owed && !out.standing.IsZero())
	if !out.owed {
		d.status.enforced(time.Now(), d.inForce, err)
		d.nameServices()
	}
	if err == nil && d.inForce != nil {
		d.seenWhole = time.Now()
	}
	if err == nil {
		d.bentBy = nil
		d.protect(ctx)
	}
	if err != nil || out.Plan.InSync() {
		return
	}
	if c == nil && (cause == polling || cause == resyncing) {
		if c = d.heardSince(ctx, out.standing); c != nil {
			start = c.At
		}
	}
	took := out.standing.Sub(start)
	e := Event{
		At:      start,
		Kind:    "repaired",
		Author:  authorOf(c),
		Summary: cause,
		Changes: out.Plan.Changes,
		Took:    float64(took.Microseconds()) / 1000,
	}
	if c != nil {
		e.Summary = c.Summary
	}
	if out.owed {
		e.Summary += "; a small table stands, and the full lists follow"
	}
	d.record(e)
	if cause == "start" {
		d.Log.Info(
			"the kernel did not hold the generation in force; repaired",
			"changes",
			out.Plan.Count(),
			"took",
			took.String(),
		)
		return
	}
	if d.fights.now == nil { // else the fight is reported
		d.Log.Warn(
			"drift repaired",
			"changes",
			out.Plan.Count(),
			"first",
			out.Plan.Changes[0].String(),
			"author",
			e.Author.String(),
			"took",
			took.String(),
		)
	}
	if stood && !out.missing {
		return
	}
	missing := time.Duration(0)
	if out.missing {
		if c == nil && !lastSeen.IsZero() {
			start = lastSeen // found by looking: it may have happened right after the last look
		}
		missing = max(0, out.standing.Sub(start))
	}
	d.status.missing(missing)
	d.bent = time.Now()
	began := d.fights.repaired(d.bent, missing, e.Author)
	if f := d.fights.now; f != nil {
		d.status.fight(*f)
	}
	if began {
		d.reportFight(
			"another program keeps undoing the rules; repairs go on with a tenth of a processor: stop that program",
			*d.fights.now,
		)
	}
}

// reportFight tells of a fight.
func (d *Daemon) reportFight(what string, f Fight) {
	d.record(
		Event{
			At:      time.Now(),
			Kind:    "fight",
			Author:  f.Author,
			Summary: what + " (" + f.String() + ")",
		},
	)
	d.Log.Error(
		what,
		"repairs",
		f.Repairs,
		"rules_missing_seconds",
		f.MissingSeconds,
		"rules_missing_share",
		f.MissingShare,
		"author",
		f.Author.String(),
	)
}

// fightDue fires when a fight may be over, or is to be reported again.
func (d *Daemon) fightDue() <-chan time.Time {
	if at := d.fights.next(); !at.IsZero() {
		return time.After(time.Until(at))
	}
	return nil
}

// lookAtFight reports how a fight goes on.
func (d *Daemon) lookAtFight() {
	f, over := d.fights.look(time.Now())
	d.status.fight(f)
	if over {
		d.reportFight("the other program has not undone the rules any more", f)
	} else {
		d.reportFight("another program still keeps undoing the rules: stop that program", f)
	}
}

// repair compares and writes, under the lock that the command line takes too. It needs neither the
// disk nor new descriptors: what was in force goes on being so, and a reserve is lent to what needs
// descriptors, such as starting programs. That is so from the beginning, because without any a
// repair would not always fail: it would miss a newer generation or the running connections.
func (d *Daemon) repair(ctx context.Context, brief, stood bool) (restored, error) {
	if !d.spare.short() {
		out, err := d.repairOnce(ctx, brief, stood)
		if err == nil || ctx.Err() != nil || !outOfDescriptors(err) && !d.spare.short() {
			d.spare.fill()
			return out, err
		}
	}
	giveBack := d.spare.lend()
	defer giveBack()
	return d.repairOnce(ctx, brief, stood)
}

func (d *Daemon) repairOnce(ctx context.Context, brief, stood bool) (restored, error) {
	var disk []error // what keeps the state directory from being read or written
	defer func() { d.keptFromDisk(errors.Join(disk...)) }()
	d.mendNow(ctx)
	if err := d.look(&disk); err != nil {
		return restored{}, err
	}
	if d.inForce != nil && d.inForce.Overdue(d.Local.Clocks()) {
		d.triedBack = time.Now()
		if back, err := d.Local.TakeBack(ctx); err != nil && ctx.Err() != nil {
			return restored{}, err
		} else if errors.Is(err, history.ErrHeld) {
			return restored{}, err
		} else if err != nil {
			disk = append(disk, err)
		} else if back.Done {
			d.Log.Warn("a generation was not confirmed in time and has been taken back", "generation", d.inForce.Number)
		}
	}
	unlock, err := d.Store.Lock(ctx, LockWait)
	switch {
	case err == nil:
		defer unlock()
	case errors.Is(err, history.ErrHeld) || ctx.Err() != nil:
		return restored{}, err
	default: // then nobody else can take it either
		disk = append(disk, err)
	}
	if err := d.look(&disk); err != nil {
		return restored{}, err
	}
	if d.inForce == nil {
		return restored{}, nil // nothing was applied yet, or it was torn down
	}
	want, err := d.wanted()
	if err != nil {
		return restored{}, err
	}
	return d.restore(ctx, want, brief, stood)
}

// wanted is what the kernel shall hold: the generation in force or, if that should have been
// confirmed by now and could not be taken back in the history, the one before it; nil is nothing.
func (d *Daemon) wanted() (*history.Generation, error) {
	if !d.inForce.Overdue(d.Local.Clocks()) {
		return d.inForce, nil
	}
	before, err := d.Store.LastConfirmed()
	if errors.Is(err, history.ErrNone) {
		return nil, nil
	}
	return before, err
}

// look is reload, but for a disk that keeps it from knowing: then what was in force before still
// is.
func (d *Daemon) look(disk *[]error) error {
	err := d.reload()
	if err == nil || d.inForce == nil || errors.Is(err, ErrOtherBackend) ||
		errors.Is(err, history.ErrDamaged) {
		return err
	}
	*disk = append(*disk, err)
	return nil
}

// mend writes anew what is damaged or lost of the large sets in force, while they are in memory.
// Other generations have the same files: without them no trial could be taken back.
func (d *Daemon) mend(store *history.Store) {
	if d.inForce == nil {
		return
	}
	mended, err := store.Mend(d.inForce)
	for _, file := range mended {
		d.Log.Warn("a file of the history was damaged or lost, and was written anew", "file", file)
	}
	text := ""
	if err != nil {
		text, d.mendAgain = err.Error(), time.Now().Add(longestRetry)
	}
	if text != "" && text != d.unmended { // once, not with every look
		d.Log.Warn("a file of the history is damaged", "error", err)
	}
	d.unmended = text
}

// mendNow is mend, if there is anything to do, under the lock that it needs.
func (d *Daemon) mendNow(ctx context.Context) {
	if d.inForce == nil || time.Now().Before(d.mendAgain) || d.Store.Intact(d.inForce) {
		return
	}
	if unlock, err := d.Store.Lock(ctx, LockWait); err == nil {
		d.mend(d.Store)
		unlock()
	}
}

// keptFromDisk says, once, that the state directory can't be used, and that it can be again.
func (d *Daemon) keptFromDisk(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch was := d.status.disk(text); {
	case text != "" && was == "":
		d.Log.Error(
			"the state directory can't be used; the rules in force are kept up from memory",
			"error",
			text,
		)
	case text == "" && was != "":
		d.Log.Info("the state directory can be used again")
	}
}

// operated looks at what an operation of the control socket has put in force.
func (d *Daemon) operated(ctx context.Context) {
	d.mendNow(ctx) // whoever asked was told what is damaged
	before, policy := d.number(), d.policyName()
	d.smallStands = false // the operation may have put the full lists in force
	if err := d.reload(); err != nil {
		d.last = err
		return
	}
	d.leases.look(d)
	if d.policyName() != policy || d.policyChanged() {
		d.holdApplied()
	}
	if d.number() != before {
		d.status.enforced(time.Now(), d.inForce, nil)
		d.nameServices()
		d.protect(ctx)
	}
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
	if err != nil || d.known(newest) != nil && !errors.Is(d.last, ErrOtherBackend) {
		return err
	}
	last, err := d.generation(newest)
	d.tornDown = errors.Is(err, history.ErrTornDown)
	if errors.Is(err, history.ErrNone) && newest == 0 && d.inForce != nil && d.Store.Lost() {
		return errors.New(
			"the history is gone from the state directory: is its file system mounted?",
		)
	}
	if errors.Is(err, history.ErrNone) {
		d.inForce = nil
		return nil
	}
	if err != nil {
		return err
	}
	d.inForce = last
	if ours := d.Reconciler.Backend.Name(); last.Backend != "" && last.Backend != ours {
		return fmt.Errorf(
			"%w (generation %d: %s, before: %s)",
			ErrOtherBackend,
			last.Number,
			last.Backend,
			ours,
		)
	}
	return nil
}

// generation is the newest one. Of one that was written here, all is at hand, but whether it was
// confirmed since.
func (d *Daemon) generation(newest int) (*history.Generation, error) {
	g := d.recorded
	d.recorded = nil
	if g != nil && g.Number == newest && g.Confirmed {
		return g, nil
	}
	return d.Store.Last()
}

// known is the generation in force, if it has that number and nothing about it can change any more.
func (d *Daemon) known(generation int) *history.Generation {
	if d.inForce == nil || d.inForce.Number != generation || !d.inForce.Confirmed {
		return nil
	}
	return d.inForce
}

func (d *Daemon) number() int {
	if d.inForce == nil {
		return 0
	}
	return d.inForce.Number
}

func (d *Daemon) record(e Event) {
	err := d.events.add(e)
	if before := d.unlogged.Swap(err != nil); err != nil && !before { // once, not with each event
		d.Log.Warn("the drift log can't be written", "error", err)
	}
}

func authorOf(c *Commit) *firewall.Author {
	if c == nil {
		return nil
	}
	return c.Author
}
