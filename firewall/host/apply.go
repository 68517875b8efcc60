package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/firewall/policydiff"
)

// Bounds of apply --confirm: less than a person needs to log in again proves nothing, and more than
// a day is no test.
const (
	shortestConfirm = 5 * time.Second
	longestConfirm  = 24 * time.Hour
)

// Apply implements Operations: the kernel agrees with the policy, and what was applied is recorded.
func (l *Local) Apply(ctx context.Context, q ApplyRequest) (Applied, error) {
	if q.Policy == nil {
		return Applied{}, Usagef("apply needs a policy")
	}
	if err := checkRemarks(q.Caller, q.Reason); err != nil {
		return Applied{}, err
	}
	confirm, err := confirmWait(q.Confirm)
	if err != nil {
		return Applied{}, err
	}
	r, store, unlock, err := l.beginOr(ctx, q.Backend, false, q.DryRun)
	if err != nil {
		return Applied{}, err
	}
	defer unlock()
	if len(q.Policy.FailedTests) > 0 && !q.Force {
		return Applied{}, TestsFailedError{q.Policy.FailedTests}
	}
	want, warnings, err := l.withLeases(q.Policy.State)
	if err != nil {
		return Applied{}, err
	}
	warnings = append(warnings, l.repliesUnknown(ctx, want)...)
	if !q.Force {
		if err := refuseLockOut(ctx, r, want, q.Session); err != nil {
			return Applied{}, err
		}
	}
	if q.DryRun {
		check := func(p firewall.Plan) error { return q.checkPlan(l, p) }
		return l.wouldApply(ctx, r, q.Policy, want, q.Force, check, warnings)
	}
	text, err := l.keepPolicy(store, q.Policy)
	if err != nil {
		return Applied{}, notRecordedError{err}
	}
	if confirm > 0 {
		return l.applyOnTrial(ctx, r, store, q, text, want, confirm, warnings)
	}
	leases, same := leased(q.Policy.State, want), false
	replaced := replacedBy(store, r.Backend.Name(), text, q, want)
	var was before
	out, g, err := l.putChecked(
		ctx,
		r,
		store,
		&want,
		q.Force,
		func(p firewall.Plan) error { return q.checkPlan(l, p) },
		func(p firewall.Plan) (history.Generation, bool) {
			last, alike := l.enforces(store, q.Policy.State, leases)
			if same = alike && last.Backend == r.Backend.Name() && !last.Overdue(l.Clocks()); same {
				g := history.Generation{Record: last, State: q.Policy.State, Leased: leases}
				was = l.before(func() (*history.Generation, error) { return &g, nil })
				return g, false
			}
			if q.User != itself { // else nobody reads what it comes to
				was = l.beforeChange(store, p)
			}
			g := l.generation(q.Caller, q.Reason, r.Backend.Name(), Plural(p.Count(), "change"))
			if replaced != nil {
				g.Record = replaced.Record
			}
			return compiledFrom(g, q, text, leases), true
		},
	)
	if err == nil && same {
		g.Record, err = l.samePolicy(store, g.Record, q, text)
	} else if err == nil && replaced != nil {
		err = store.Forget(replaced.Number)
	}
	if err != nil {
		return Applied{}, err
	}
	if q.User == itself {
		return applied(g, out, warnings), nil
	}
	return l.appliedPolicy(r, g, out, warnings, was, q.Policy, want), nil
}

// replacedBy is the generation in force if what is applied differs from it in the services of IPVS
// alone, which are the host's and change by themselves. The new one takes its place in the history,
// so that what people have applied stays there. Nil if it does not.
func replacedBy(
	store *history.Store,
	backend, text string,
	q ApplyRequest,
	want firewall.State,
) *history.Generation {
	if !q.HostChanged {
		return nil
	}
	last, err := store.Last()
	if err != nil || !last.Confirmed || last.Policy != text || last.Backend != backend ||
		!last.State.EqualButVirtual(q.Policy.State) || !last.InForce().EqualButVirtual(want) {
		return nil
	}
	return last
}

// generation is a confirmed one that begins now, without its State.
func (l *Local) generation(c Caller, reason, backend, summary string) history.Generation {
	return history.Generation{
		Record: history.Record{
			Time:      l.Now().UTC(),
			User:      c.User,
			From:      c.From,
			Reason:    reason,
			Backend:   backend,
			Summary:   summary,
			Confirmed: true,
		},
	}
}

// refuseLockOut refuses a State that would cut an SSH session that is open now: that of who asks,
// or another one.
func refuseLockOut(
	ctx context.Context,
	r *firewall.Reconciler,
	want firewall.State,
	own *Session,
) error {
	if r.Connections == nil {
		return nil
	}
	cut, err := LockedOut(ctx, r.Connections, want, own, r.Now())
	if err != nil {
		return fmt.Errorf(
			"can't tell whether this would cut an SSH session: %w (--force goes on without knowing)",
			err,
		)
	}
	if len(cut) == 0 {
		return nil
	}
	return fmt.Errorf(
		"refused: this would lock out %s that is open now:\n  %s\n"+
			"Nothing was changed. Allow the source in the policy, or use --force",
		Plural(len(cut), "SSH session"),
		strings.Join(cut, "\n  "),
	)
}

// LockedOut describes the SSH sessions that are open now and that a State would cut: that of own,
// and others.
func LockedOut(
	ctx context.Context,
	connections firewall.Connections,
	want firewall.State,
	own *Session,
	now time.Time,
) (sessions []string, err error) {
	running, err := connections.List(ctx)
	if err != nil {
		return nil, err
	}
	var session firewall.Connection
	if own != nil {
		session = firewall.Connection{
			Protocol:  firewall.TCP,
			Client:    own.Client,
			Dialled:   own.Server,
			Interface: own.Interface,
		}
	}
	cut := firewall.LockedOut(
		want,
		running,
		session,
		now,
		func(of []firewall.Connection) { connections.NameOwners(ctx, of) },
	)
	index := want.Index()
	for _, x := range cut {
		sessions = append(sessions, fmt.Sprintf("from %s to port %d: %s",
			x.Client.Addr(), x.Dialled.Port(), index.Decide(x.Flow(), now).Reason))
	}
	return sessions, nil
}

func applied(g history.Generation, out firewall.Outcome, warnings []string) Applied {
	a := Applied{
		Changed:    !out.Plan.InSync(),
		Generation: g.Number,
		Backend:    g.Backend,
		Services:   []policydiff.Change{},
		Changes:    orEmpty(out.Plan.Changes),
		Cut:        cuts(out),
		Warnings:   append(orEmpty(warnings), out.Warnings...),
	}
	if !g.Confirmed {
		a.ConfirmBy = &g.ConfirmBy
	}
	return a
}

// appliedPolicy is applied with what changed for which service.
func (l *Local) appliedPolicy(
	r *firewall.Reconciler,
	g history.Generation,
	out firewall.Outcome,
	warnings []string,
	was before,
	p *Policy,
	enforced firewall.State,
) Applied {
	a := applied(g, out, warnings)
	if a.Changed && out.Before != nil {
		x := l.inWords(r, out.Before, out.Plan.Changes, was, p, enforced, false)
		a.Services, a.Restores, a.Author, a.Unknown = x.services, x.restores, x.author, x.unknown
	}
	return a
}

func cuts(out firewall.Outcome) []Cut {
	list := []Cut{}
	for _, x := range out.Cut {
		list = append(list, Cut{x.Protocol.String(), x.Client, x.Dialled})
	}
	return list
}

// Rollback implements Operations: the State of an earlier generation is in force again, through the
// backend of then unless another one is asked for, with the leases of today. It is a new
// generation, so that a rollback can be rolled back.
func (l *Local) Rollback(ctx context.Context, q RollbackRequest) (Applied, error) {
	if err := checkRemarks(q.Caller, q.Reason); err != nil {
		return Applied{}, err
	}
	r, store, unlock, err := l.beginOr(ctx, l.inForce(q.Backend), false, q.DryRun)
	if err != nil {
		return Applied{}, err
	}
	defer unlock()
	target, err := rollbackTarget(store, q.Generation)
	if err != nil {
		return Applied{}, err
	}
	left, err := store.Head()
	if err != nil {
		left = history.Record{} // nothing was in force, so that nothing is taken back but files
	}
	aside := l.setAside(ctx, store, left, target.Record)
	if last, err := store.Last(); err == nil { // services of IPVS are the host's, and as of today
		if target.State, err = target.State.WithVirtual(last.State.Virtual); err != nil {
			return Applied{}, err
		}
	}
	if isAuto(q.Backend) {
		if r, err = l.through(ctx, r, target.Backend); err != nil {
			return Applied{}, err
		}
	}
	want, warnings, err := l.withLeases(target.State)
	if err != nil {
		return Applied{}, err
	}
	if !q.Force {
		if err := refuseLockOut(ctx, r, want, q.Session); err != nil {
			return Applied{}, err
		}
	}
	p := &Policy{State: target.State, Text: l.textOf(store, target), Lists: target.Lists}
	if q.DryRun {
		fine := func(firewall.Plan) error { return nil }
		return l.wouldApply(ctx, r, p, want, q.Force, fine, warnings)
	}
	reason := q.Reason
	if reason == "" {
		reason = fmt.Sprintf("rollback to generation %d", target.Number)
	}
	var was before
	out, g, err := l.put(
		ctx,
		r,
		store,
		&want,
		q.Force,
		func(p firewall.Plan) (history.Generation, bool) {
			was = l.beforeChange(store, p)
			summary := backTo(target.Number, p.Count())
			g := l.generation(q.Caller, reason, r.Backend.Name(), summary)
			g = enforcing(g, *target, want)
			g.SetAside, g.LeftPolicy = aside, left.LeftPolicy
			if left.Policy != target.Policy {
				g.LeftPolicy = left.Policy
			}
			return g, true
		},
	)
	if err != nil {
		return Applied{}, err
	}
	return l.appliedPolicy(r, g, out, warnings, was, p, want), nil
}

// setAside is what lists hold that a rollback must not have put in force again.
func (l *Local) setAside(
	ctx context.Context, store *history.Store, left, target history.Record,
) map[string]string {
	var now map[string]string
	if l.Lists != nil && target.Policy != "" {
		if text, err := store.Policy(target.Policy); err == nil {
			now = l.Lists(ctx, text)
		}
	}
	return history.GoingBack(left, target, now)
}

// backTo is the summary of a generation that goes back to another one.
func backTo(generation, changes int) string {
	return fmt.Sprintf("back to generation %d, %s", generation, Plural(changes, "change"))
}

// rollbackTarget is the generation wanted, or, for 0, the last one that enforced something else
// than the one in force.
func rollbackTarget(store *history.Store, wanted int) (*history.Generation, error) {
	if wanted != 0 {
		g, err := load(store, wanted)
		if err == nil && g.TornDown {
			return nil, fmt.Errorf("generation %d is a teardown: use portgrave teardown", wanted)
		}
		return g, err
	}
	all, err := store.List()
	if len(all) == 0 {
		return nil, errors.Join(history.ErrNone, err)
	}
	last, err := store.Load(all[len(all)-1].Number)
	if err != nil {
		return nil, err
	}
	for i := len(all) - 2; i >= 0; i-- {
		if all[i].TornDown || !all[i].Confirmed {
			continue
		}
		g, err := store.Load(all[i].Number)
		if err != nil {
			return nil, err
		}
		if last.TornDown || !g.State.EqualButVirtual(last.State) {
			return g, nil
		}
	}
	return nil, fmt.Errorf(
		"there is no earlier generation that enforces anything else: see portgrave history",
	)
}

// Teardown implements Operations: every rule of ours is removed, and stays so until the next apply.
func (l *Local) Teardown(ctx context.Context, q TeardownRequest) (TornDown, error) {
	if err := q.Caller.check(); err != nil {
		return TornDown{}, err
	}
	r, store, unlock, err := l.beginOr(ctx, q.Backend, true, q.DryRun)
	if err != nil {
		return TornDown{}, err
	}
	defer unlock()
	if q.DryRun {
		return wouldTearDown(ctx, r, q.Force)
	}
	_, last := store.Last()
	out, _, err := l.put(
		ctx,
		r,
		store,
		nil,
		q.Force,
		func(firewall.Plan) (history.Generation, bool) {
			g := l.generation(q.Caller, "", r.Backend.Name(), "teardown")
			g.TornDown = true
			// Also where nothing was ever applied: boot would compile the policy then.
			return g, !errors.Is(last, history.ErrTornDown)
		},
	)
	if err != nil {
		return TornDown{}, err
	}
	l.forgetUsage()
	return TornDown{Changed: !out.Plan.InSync(), Changes: orEmpty(out.Plan.Changes)}, nil
}
