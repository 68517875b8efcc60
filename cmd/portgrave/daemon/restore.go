package daemon

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host/history"
)

// restored is what a repair has done.
type restored struct {
	firewall.Outcome
	// missing: rules, and not only sources, were not as they should be.
	missing bool
	// standing is since when the listed ports are refused again to whom they should be.
	standing time.Time
	// owed: the full lists, or what differed from them alone, must follow.
	owed bool
}

// bulkRepair is how many changes a repair takes too long for to leave the host without rules
// meanwhile: some 20 ms.
const bulkRepair = 10_000

// Why a Switch does not go on.
var (
	errSmallFirst = errors.New("a small table comes first")
	errLater      = errors.New(
		"only lists differ, and there is no share of the processor left for them",
	)
)

// restore makes the kernel hold a generation; nil is nothing. Where rules are missing, and the
// lists are long, a small table stands first. With brief the lists are left for later, and so is
// what differs in them alone. stood: a small table should be what the kernel holds.
func (d *Daemon) restore(
	ctx context.Context,
	g *history.Generation,
	brief, stood bool,
) (r restored, err error) {
	if g == nil {
		r.Outcome, err = d.Reconciler.Apply(ctx, nil, false)
		r.standing = r.Enforced
		return r, err
	}
	want := g.InForce()
	// Where our rules have stood, what bears our name is what somebody left of them, or put in
	// their place.
	force := !d.seenWhole.IsZero()
	if brief && d.smallStands && d.standIn.generation == g.Number {
		// Comparing with the full lists first would cost as much again, and tell nothing.
		if small, reduced := d.small(ctx, g.Number, want); reduced {
			err = d.putSmall(ctx, small, force, &r)
			return r, err
		}
	}
	r.Outcome, err = d.Reconciler.Switch(ctx, &want, force, func(p firewall.Plan) error {
		r.missing = p.Restores()
		switch {
		case r.missing && (brief || stood || p.Count() > bulkRepair && startsFromNothing(p)):
			return errSmallFirst
		case brief && !p.InSync():
			return errLater
		}
		return nil
	})
	switch {
	case errors.Is(err, errLater):
		return restored{owed: true}, nil
	case !errors.Is(err, errSmallFirst):
		r.standing = r.Enforced
		return r, err
	}
	if small, reduced := d.small(ctx, g.Number, want); reduced {
		if brief {
			err = d.putSmall(ctx, small, force, &r)
			return r, err
		}
		_ = d.putSmall(ctx, small, force, &r) // if it can't be, the full lists may still
		r.owed = false
	}
	first := r.standing
	full := *d.Reconciler
	full.Once = !first.IsZero() // the small table stands meanwhile
	if r.Outcome, err = full.Apply(ctx, &want, force); !first.IsZero() {
		return r, err
	}
	r.standing = r.Enforced
	return r, err
}

// putSmall puts a small table in force, for which the full lists are owed.
func (d *Daemon) putSmall(
	ctx context.Context, small firewall.State, force bool, r *restored,
) (err error) {
	quick := *d.Reconciler
	quick.Connections, quick.Others = nil, nil // nobody is cut who will be let in again
	quick.Once = true                          // in a fight it is soon put in force anew
	r.owed = true
	r.Outcome, err = quick.Switch(ctx, &small, force, func(p firewall.Plan) error {
		r.missing = p.Restores() // a small table may stand already
		return nil
	})
	if err == nil {
		r.standing = r.Enforced
	}
	return err
}

// startsFromNothing reports whether there are no rules that a plan changes: others would stay in
// force until the new ones are.
func startsFromNothing(p firewall.Plan) bool {
	return !slices.ContainsFunc(
		p.Changes,
		func(c firewall.Change) bool { return c.Action != firewall.Add },
	)
}

// smallFor is how long a small State is good for: looking whose connections are whose goes through
// all processes.
const smallFor = 10 * time.Second

// smallState is what stands in for a generation.
type smallState struct {
	generation int
	at         time.Time
	state      firewall.State
	reduced    bool
}

// small is the State that stands in for a generation's, with the SSH sessions that run.
func (d *Daemon) small(
	ctx context.Context,
	generation int,
	want firewall.State,
) (firewall.State, bool) {
	s := &d.standIn
	if s.generation == generation && time.Since(s.at) < smallFor {
		return s.state, s.reduced
	}
	var running []firewall.Connection
	named := func([]firewall.Connection) {}
	if c := d.Reconciler.Connections; c != nil {
		running, _ = c.List(ctx) // without them sessions wait for the full lists
		named = func(of []firewall.Connection) { c.NameOwners(ctx, of) }
	}
	small, reduced := want.Small(running, d.Reconciler.Now(), named)
	*s = smallState{generation, time.Now(), small, reduced}
	return small, reduced
}
