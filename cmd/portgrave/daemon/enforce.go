package daemon

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
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
				"another program added or removed a base chain, "+
					"which may decide before portgrave does",
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
	d.driftAuthor, d.owed = c.Author, &c
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
		cause, c = "the full lists", d.listsDrift
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
	d.last, d.listsOwed, d.unanswered, d.listsDrift = err, out.owed, nil, nil
	if err == nil || out.owed {
		d.smallStands = out.owed && (err != nil || !out.standing.IsZero())
	}
	if err != nil {
		d.unanswered, d.listsOwed = c, stood
	} else if out.owed && out.standing.IsZero() {
		d.listsDrift = c
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
		d.driftAuthor = nil
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
	d.lastRepair = time.Now()
	began := d.fights.repaired(d.lastRepair, missing, e.Author)
	if f := d.fights.now; f != nil {
		d.status.fight(*f)
	}
	if began {
		d.reportFight(
			"another program keeps undoing the rules; "+
				"repairs go on with a tenth of a processor: stop that program",
			*d.fights.now,
		)
	}
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
