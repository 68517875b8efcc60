package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/history"
	"github.com/portgrave/portgrave/firewall/watch"
)

// committed answers commits of others, which have come in this order.
func (d *Daemon) committed(ctx context.Context, commits []Commit) {
	var ours []Commit
	for _, c := range commits {
		d.exposed.changed(c.Author)
		if c.Hooks && !c.Ours {
			d.record(Event{At: c.At, Kind: "hook", Author: c.Author, Summary: c.Summary})
			d.Log.Warn("another program added or removed a base chain, which may decide before portgrave does", "what", c.Summary, "author", authorText(c.Author))
		}
		if c.Ours || c.Lost {
			ours = append(ours, c)
		}
	}
	if len(ours) == 0 {
		return
	}
	c := together(ours)
	d.bentBy = c.Author
	if d.quietTill.IsZero() {
		calm := watch.Urgent()
		d.enforce(ctx, "commit", &c)
		calm()
	}
}

// together is several commits as one: since the first, and by its author; should others have had a part in it, the summary names them.
func together(commits []Commit) Commit {
	c := commits[0]
	if len(commits) == 1 {
		return c
	}
	var others []string
	for _, x := range commits[1:] {
		c.Ours, c.Lost = c.Ours || x.Ours, c.Lost || x.Lost
		if who := authorText(x.Author); !slices.Contains(others, who) && len(others) < 5 {
			others = append(others, who)
		}
	}
	c.Summary += fmt.Sprintf("; and %d commits right behind it, by %s", len(commits)-1, strings.Join(others, ", "))
	return c
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
		if d.last == nil || d.last.Error() != err.Error() { // once, not at every attempt
			d.Log.Error("the rules can't be enforced", "cause", cause, "error", err)
			d.record(Event{At: start, Kind: "failed", Author: authorOf(c), Summary: cause, Error: err.Error()})
		}
	}
	d.last = err
	d.again.after(err)
	d.status.enforced(time.Now(), d.inForce, err)
	d.nameServices()
	if err == nil {
		d.bentBy = nil
		d.protect(ctx)
	}
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
	if err := d.reload(); err != nil {
		return firewall.Outcome{}, err
	}
	if d.inForce != nil && !d.inForce.Confirmed {
		if back, err := d.Local.TakeBack(ctx); err != nil {
			return firewall.Outcome{}, err
		} else if back.Done {
			d.Log.Warn("a generation was not confirmed in time and has been taken back", "generation", d.inForce.Number)
		}
	}
	unlock, err := d.Store.Lock(ctx, lockWait)
	if err != nil {
		return firewall.Outcome{}, err
	}
	defer unlock()
	if err := d.reload(); err != nil {
		return firewall.Outcome{}, err
	}
	if d.inForce == nil {
		return firewall.Outcome{}, nil // nothing was applied yet, or it was torn down
	}
	want := d.inForce.InForce()
	return d.Reconciler.Apply(ctx, &want, false)
}

// operated looks at what an operation of the control socket has put in force.
func (d *Daemon) operated(ctx context.Context) {
	before := d.number()
	if err := d.reload(); err != nil {
		d.last = err
		return
	}
	d.leases.look(d)
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

// generation is the newest one. Of one that was written here, all is at hand, but whether it was confirmed since.
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
