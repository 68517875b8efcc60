package firewall

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// Reconciler makes the kernel hold a State: observe, diff, plan, apply, observe.
//
// Goals: nothing is written when nothing differs; no result is believed before it was read back;
// a failure leaves the previous rules in force and says so; a second writer never makes us
// overwrite what we have not seen.
//
// Design: Backend does all that differs between nftables and iptables; the loop stands here, once.
// When another program commits between our observation and our write, the backend reports
// ErrConflict and the loop starts again from a fresh observation, a bounded number of times.
//
// A Reconciler is used by one goroutine at a time; runs in several processes are kept apart by
// the lock of firewall/host/history.
type Reconciler struct {
	Backend Backend
	// Others are the host's other backends, in which nothing of ours shall be left once Backend
	// holds the State.
	Others []Backend
	// Connections ends the running connections of revoked sources; nil leaves them alone.
	Connections Connections
	// Once: what another program undoes at once is not written once more, since the caller comes
	// again.
	Once bool
	Now  func() time.Time
	Log  *slog.Logger
}

// Outcome is what Apply did.
type Outcome struct {
	// Plan holds the changes that were made; empty if nothing was written.
	Plan Plan
	// Before is what the kernel held when Plan was made.
	Before Observation
	// Enforced is when the kernel was seen to hold the State.
	Enforced time.Time
	// Cut lists the running connections that were ended.
	Cut []Connection
	// Warnings are things that went wrong after the rules were in force.
	Warnings []string
}

// attempts bounds how often Apply starts again when other programs write at the same moment.
const attempts = 5

// Plan compares want with the kernel and writes nothing. want nil means nothing of ours. The plan
// is for people to read: it includes what other backends still hold of ours.
func (r *Reconciler) Plan(ctx context.Context, want *State) (Plan, Observation, error) {
	plan, seen, err := r.planOf(ctx, r.Backend, want)
	if err != nil {
		return plan, seen, err
	}
	for _, other := range r.Others {
		left, there, err := r.planOf(ctx, other, nil)
		if err != nil {
			return Plan{}, nil, err
		}
		if there.Foreign() == "" {
			plan.Changes = append(plan.Changes, left.Changes...)
		}
	}
	return plan, seen, nil
}

func (r *Reconciler) planOf(ctx context.Context, b Backend,
	want *State) (Plan, Observation, error) {
	seen, err := b.Observe(ctx)
	if err != nil {
		return Plan{}, nil, fmt.Errorf("reading the kernel's rules (%s): %w", b.Name(), err)
	}
	plan, err := b.Diff(want, seen, r.Now())
	return plan, seen, err
}

// Apply makes the kernel hold want and proves it by reading back; want nil removes everything of
// ours. Objects of our name that we did not write are replaced only with force; without it the
// error wraps ErrForeign. After an error the previous rules are in force unless the error says
// otherwise.
func (r *Reconciler) Apply(ctx context.Context, want *State, force bool) (Outcome, error) {
	return r.Switch(ctx, want, force, func(Plan) error { return nil })
}

// Switch is Apply for who records what he puts in force: record is called once, with what will
// change, right before the kernel is changed, or when it turns out that it need not be. Its error
// ends Switch, and nothing was changed. If Outcome.Enforced is set, want is in force although there
// is an error.
func (r *Reconciler) Switch(ctx context.Context, want *State, force bool,
	record func(Plan) error) (Outcome, error) {
	done, seen, err := r.converge(ctx, r.Backend, want, force,
		func(p Plan) error { return record(r.withOthers(ctx, p)) })
	if err != nil {
		return Outcome{Plan: done}, err
	}
	out := Outcome{Plan: done, Before: seen, Enforced: r.Now()}
	// The new rules stand: now those of the backends used before can go.
	for _, other := range r.Others {
		left, _, err := r.converge(ctx, other, nil, false, func(Plan) error { return nil })
		if errors.Is(err, ErrForeign) {
			continue // bears our name but is not ours
		}
		if err != nil {
			return out, fmt.Errorf(
				"the rules are in force through %s, but those of before, through %s, could not be removed: %w",
				r.Backend.Name(),
				other.Name(),
				err,
			)
		}
		out.Plan.Changes = append(out.Plan.Changes, left.Changes...)
	}
	if want != nil {
		r.cut(ctx, *want, done.Begins(), &out)
	}
	return out, nil
}

// withOthers adds to a plan what will be removed from the other backends, as far as it can be told.
func (r *Reconciler) withOthers(ctx context.Context, plan Plan) Plan {
	for _, other := range r.Others {
		if left, there, err := r.planOf(ctx, other, nil); err == nil && there.Foreign() == "" {
			plan.Changes = slices.Concat(plan.Changes, left.Changes)
		}
	}
	return plan
}

// converge applies the difference and returns it, with what the kernel held before. What was
// accepted but isn't held, as when another program undid it at once, is written once more. Before
// it writes for the first time, or has nothing to write, it calls before.
func (r *Reconciler) converge(ctx context.Context, b Backend, want *State, force bool,
	before func(Plan) error) (Plan, Observation, error) {
	called := false
	announce := func(p Plan) error {
		if called {
			return nil
		}
		called = true
		return before(p)
	}
	plan, seen, err := r.write(ctx, b, want, force, announce)
	if r.Once || !errors.Is(err, ErrNotHeld) {
		return plan, seen, err
	}
	r.Log.Info("writing the rules once more", "backend", b.Name(), "error", err)
	if _, _, again := r.write(ctx, b, want, force, announce); again != nil {
		return plan, seen, fmt.Errorf("%w; the second time: %w", err, again)
	}
	return plan, seen, nil
}

// write applies the difference and returns it, with what the kernel held before. It starts again
// when another program got in between, and believes nothing before it is read back.
func (r *Reconciler) write(ctx context.Context, b Backend, want *State, force bool,
	announce func(Plan) error) (Plan, Observation, error) {
	for range attempts {
		plan, seen, err := r.planOf(ctx, b, want)
		if err != nil {
			return Plan{}, nil, err
		}
		if plan.InSync() {
			return plan, seen, announce(plan)
		}
		if err := CheckForeign(plan, seen, force); err != nil {
			return Plan{}, nil, err
		}
		if err := announce(plan); err != nil {
			return Plan{}, nil, err
		}
		err = b.Apply(ctx, plan)
		if !errors.Is(err, ErrConflict) {
			return plan, seen, r.readBack(ctx, b, want, plan, err)
		}
		r.Log.Info(
			"the rules changed while they were compared; comparing again",
			"backend",
			plan.Backend,
		)
	}
	return Plan{}, nil, fmt.Errorf(
		"%w, %d times in a row; nothing was changed: stop that program, or try again",
		ErrConflict,
		attempts,
	)
}

// CheckForeign refuses a plan that would replace what bears our name and was not written by us,
// unless that is forced. The error wraps ErrForeign.
func CheckForeign(p Plan, seen Observation, force bool) error {
	what := seen.Foreign()
	if what == "" || force || p.InSync() {
		return nil
	}
	return fmt.Errorf("%s exists but was %w: look at it, then remove it or use --force to "+
		"replace it", what, ErrForeign)
}

// readBack decides what really became of an applied plan, whatever applying it reported.
func (r *Reconciler) readBack(ctx context.Context, b Backend, want *State, applied Plan,
	applyErr error) error {
	left, _, err := r.planOf(ctx, b, want)
	switch {
	case err != nil:
		return fmt.Errorf("it is unknown what the kernel holds now: %w", errors.Join(applyErr, err))
	case left.InSync() && applyErr != nil:
		r.Log.Warn("the kernel reported an error but holds what was written", "error", applyErr)
		return nil
	case left.InSync():
		return nil
	case applyErr == nil:
		return fmt.Errorf("%w: %d differences remain, the first: %s", ErrNotHeld, left.Count(),
			left.Changes[0])
	case slices.Equal(applied.Changes, left.Changes):
		return fmt.Errorf("%w (nothing was changed: the previous rules are in force)", applyErr)
	default:
		return fmt.Errorf("%w (%d differences remain, the first: %s; run apply again)", applyErr,
			left.Count(), left.Changes[0])
	}
}

// cut ends the running connections that want refuses. A connection that can't be ended is a
// warning: the rules, which are in force by now, drop the client's packets anyway.
func (r *Reconciler) cut(ctx context.Context, want State, first bool, out *Outcome) {
	if r.Connections == nil || want.Established == EstablishedKeep {
		return
	}
	running, err := r.Connections.List(ctx)
	if err != nil {
		out.Warnings = append(out.Warnings, fmt.Sprintf(
			"running connections could not be listed, so those of revoked sources were not ended (their "+
				"packets are refused): %v",
			err,
		))
		return
	}
	for _, c := range want.Cut(running, first, r.Now()) {
		if err := r.Connections.End(ctx, c); err != nil {
			out.Warnings = append(out.Warnings, fmt.Sprintf(
				"the running connection %s from %s to %s could not be ended (its packets are refused): %v",
				c.Protocol,
				c.Client,
				c.Dialled,
				err,
			))
			continue
		}
		out.Cut = append(out.Cut, c)
	}
}
