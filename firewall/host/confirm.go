package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/firewall/host/lease"
	"golang.org/x/sys/unix"
)

// confirmWait reads ApplyRequest.Confirm; 0 is for good.
func confirmWait(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	wait, err := lease.ParseDuration(text)
	if err != nil {
		return 0, Usagef("%q is not a duration: write --confirm 60s", text)
	}
	if wait < shortestConfirm || wait > longestConfirm {
		return 0, Usagef(
			"--confirm takes from %s to %s, not %q",
			lease.Spell(shortestConfirm),
			lease.Spell(longestConfirm),
			text,
		)
	}
	return wait, nil
}

// ParseConfirm reads a duration for ApplyRequest.Confirm, or says what is wrong with it, before
// anything else is done.
func ParseConfirm(text string) (time.Duration, error) {
	if text == "" {
		return 0, Usagef("a duration is missing: write --confirm 60s")
	}
	return confirmWait(text)
}

// applyOnTrial applies a policy that is taken back unless it is confirmed. The generation is
// recorded and its guard runs before the kernel is changed: whatever dies from then on, what nobody
// confirms does not stay.
func (l *Local) applyOnTrial(
	ctx context.Context,
	r *firewall.Reconciler,
	store *history.Store,
	q ApplyRequest,
	text string,
	want firewall.State,
	wait time.Duration,
	warnings []string,
) (Applied, error) {
	plan, _, err := r.Plan(ctx, &want)
	if err == nil {
		err = q.checkPlan(l, plan)
	}
	if err != nil {
		return Applied{}, err
	}
	leases := leased(q.Policy.State, want)
	if last, same := l.enforces(store, q.Policy.State, leases); same && plan.InSync() &&
		!last.Overdue(l.Clocks()) {
		last, err := l.samePolicy(store, last, q, text)
		return applied(
			history.Generation{Record: last},
			firewall.Outcome{Plan: plan},
			warnings,
		), err
	}
	was := l.beforeChange(store, plan)
	g := l.generation(q.Caller, q.Reason, r.Backend.Name(), Plural(plan.Count(), "change"))
	g.OnTrial(l.Clocks(), wait)
	g = compiledFrom(g, q, text, leases)
	if g, err = l.append(store, g); err != nil {
		return Applied{}, errors.Join(notRecordedError{err}, l.withdraw(store, g.Number))
	}
	if err := l.StartGuard(g.Number); err != nil {
		return Applied{}, errors.Join(
			fmt.Errorf("nothing was changed: nobody would take it back: %w", err),
			l.withdraw(store, g.Number),
		)
	}
	out, err := r.Switch(ctx, &want, q.Force, func(p firewall.Plan) error {
		if q.Expect != nil && !slices.Equal(p.Changes, plan.Changes) {
			return outOfDate("the rules in the kernel have changed")
		}
		return nil
	})
	if err != nil && out.Enforced.IsZero() {
		return Applied{}, errors.Join(err, l.withdraw(store, g.Number))
	}
	if err != nil {
		return Applied{}, err // the rules are in force, on trial, and something of before is left
	}
	return l.appliedPolicy(r, g, out, warnings, was, q.Policy, want), nil
}

// itself is the user of generations that nobody asked for.
const itself = "portgrave"

// Confirm implements Operations: the generation in force works, so it is not taken back. After its
// time that is too late, and an error.
func (l *Local) Confirm(ctx context.Context, q ConfirmRequest) (Confirmed, error) {
	if err := q.Caller.check(); err != nil {
		return Confirmed{}, err
	}
	if q.DryRun {
		return l.wouldConfirm()
	}
	store, unlock, err := l.exclusive(ctx)
	if err != nil {
		return Confirmed{}, err
	}
	defer unlock()
	if last, err := store.Head(); err == nil && last.Overdue(l.Clocks()) {
		r, err := l.Backends(ctx, last.Backend, false)
		if err != nil {
			return Confirmed{}, err
		}
		if _, err := l.takeBack(ctx, r, store); err != nil {
			return Confirmed{}, fmt.Errorf(
				"generation %d was not confirmed in time, and can't be taken back yet: %w",
				last.Number,
				err,
			)
		}
	}
	if err := tooLate(store); err != nil {
		return Confirmed{}, err
	}
	last, err := store.Last()
	if err != nil || last.Confirmed {
		return Confirmed{Generation: numberOf(last)}, err
	}
	err = store.Confirm(
		last.Number,
		history.Confirmation{Time: l.Now().UTC(), User: q.User, From: q.From},
	)
	return Confirmed{Generation: last.Number, Changed: err == nil}, err
}

// wouldConfirm is what confirm would keep.
func (l *Local) wouldConfirm() (Confirmed, error) {
	store := l.view()
	if last, err := store.Head(); err == nil && last.Overdue(l.Clocks()) {
		return Confirmed{}, fmt.Errorf("generation %d was not confirmed in time", last.Number)
	}
	if err := tooLate(store); err != nil {
		return Confirmed{}, err
	}
	last, err := store.Last()
	return Confirmed{Generation: numberOf(last), Changed: err == nil && !last.Confirmed, DryRun: true},
		err
}

// tooLate refuses to confirm after a trial was taken back.
func tooLate(store *history.Store) error {
	n := lapsed(store)
	if n == 0 {
		return nil
	}
	return fmt.Errorf(
		"generation %d was not confirmed in time and has been taken back: run portgrave apply again", n)
}

// lapsed is the generation that was taken back last, if nothing was applied since; 0 otherwise.
func lapsed(store *history.Store) int {
	n, err := store.Newest()
	if err != nil || n == 0 {
		return 0
	}
	newest, err := store.HeadOf(n)
	if err != nil {
		return 0
	}
	return newest.TookBack
}

func numberOf(g *history.Generation) int {
	if g == nil {
		return 0
	}
	return g.Number
}

// TakeBack implements Operations.
func (l *Local) TakeBack(ctx context.Context) (TakenBack, error) {
	r, err := l.Backends(ctx, l.inForce("auto"), false)
	if err != nil {
		return TakenBack{}, err
	}
	store, unlock, err := l.exclusive(ctx)
	if errors.Is(err, unix.EROFS) { // what nobody confirmed must go all the same
		store = l.view()
		unlock, err = store.Lock(ctx, l.LockWait)
	}
	if err != nil {
		return TakenBack{}, err
	}
	defer unlock()
	done, err := l.takeBack(ctx, r, store)
	return TakenBack{done && err == nil}, err
}

// takeBack is TakeBack for the holder of the lock. It reports whether there was anything to take
// back.
func (l *Local) takeBack(
	ctx context.Context,
	r *firewall.Reconciler,
	store *history.Store,
) (bool, error) {
	last, err := store.Head() // what it enforces may be damaged
	if errors.Is(err, history.ErrNone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	now := l.Clocks()
	if !last.Overdue(now) {
		return false, nil
	}
	why := fmt.Sprintf("generation %d was not confirmed in time", last.Number)
	if last.Restarted(now) {
		why = fmt.Sprintf(
			"the system was started anew before generation %d was confirmed",
			last.Number,
		)
	}
	g := l.generation(Caller{User: itself}, why, r.Backend.Name(), "")
	g.TookBack = last.Number
	left := last
	before, err := store.LastConfirmed()
	if errors.Is(err, history.ErrNone) {
		out, err := r.Apply(ctx, nil, true)
		if err != nil {
			return true, err
		}
		g.Summary, g.TornDown = "teardown, "+Plural(out.Plan.Count(), "change"), true
		return true, l.recordBack(store, g)
	}
	if err != nil {
		return true, err
	}
	want, _, err := l.withLeases(before.State)
	if err != nil {
		// Taking back must not wait for that; the leases of then, but for those that have ended,
		// are the next best.
		want = before.InForce()
	}
	out, backend, err := l.applyWhereItWas(ctx, r, before.Backend, want)
	if err != nil {
		return true, err
	}
	g.Backend, g.Summary = backend, backTo(before.Number, out.Plan.Count())
	g = enforcing(g, *before, want)
	g.SetAside = history.GoingBack(left, before.Record, nil)
	return true, l.recordBack(store, g)
}

// recordBack records what was gone back to. On a full disk it withdraws what was not confirmed
// instead, which takes no room and comes to the same.
func (l *Local) recordBack(store *history.Store, g history.Generation) error {
	_, err := l.append(store, g)
	if err == nil {
		return nil
	}
	for {
		last, lerr := store.Head()
		if errors.Is(lerr, history.ErrNone) || lerr == nil && last.Confirmed {
			return nil
		}
		if lerr == nil {
			lerr = store.WithdrawTrial(last.Number)
		}
		if lerr != nil {
			return errors.Join(err, lerr)
		}
	}
}

// applyWhereItWas puts a State in force through the backend where it was before. If that can't be
// done any more, it is better there where r writes than not at all.
func (l *Local) applyWhereItWas(
	ctx context.Context,
	r *firewall.Reconciler,
	backend string,
	want firewall.State,
) (out firewall.Outcome, through string, err error) {
	there, err := l.through(ctx, r, backend)
	if err == nil {
		if out, err = there.Apply(ctx, &want, true); err == nil || there == r {
			return out, there.Backend.Name(), err
		}
	}
	out, again := r.Apply(ctx, &want, true)
	if again != nil {
		return out, "", errors.Join(again, err)
	}
	return out, r.Backend.Name(), nil
}
