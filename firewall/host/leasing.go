package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/firewall/host/lease"
)

// inForceForLeases is the generation that leases are opened and closed on. It is the last one, and
// not the policy as it is now: opening a port must not put in force what somebody is still writing.
func (l *Local) inForceForLeases(store *history.Store) (*history.Generation, error) {
	last, err := l.last(store)
	if err != nil {
		return nil, fmt.Errorf("%w: run portgrave apply first", err)
	}
	if !last.Confirmed {
		return nil, fmt.Errorf(
			"generation %d waits to be confirmed: run portgrave confirm, or wait until it is taken back",
			last.Number,
		)
	}
	return last, nil
}

// enforceLeases puts some leases in force on a generation's policy, as a generation of its own.
func (l *Local) enforceLeases(
	ctx context.Context,
	r *firewall.Reconciler,
	store *history.Store,
	c Caller,
	last *history.Generation,
	enforced firewall.State,
	summary, reason string,
) (firewall.Outcome, history.Generation, error) {
	return l.put(ctx, r, store, &enforced, false, func(firewall.Plan) (history.Generation, bool) {
		return enforcing(l.generation(c, reason, r.Backend.Name(), summary), *last, enforced), true
	})
}

// leaseRequest reads what somebody wants to open; every mistake is named.
func leaseRequest(q OpenRequest) (lease.Request, error) {
	ports, portsErr := lease.ParsePorts(q.Port)
	sources, sourcesErr := lease.ParseSources(q.Sources...)
	length, lengthErr := lease.ParseDuration(q.For)
	err := errors.Join(portsErr, sourcesErr, lengthErr)
	if err != nil {
		err = UsageError{err}
	}
	return lease.Request{
		Ports:   ports,
		Sources: sources,
		For:     length,
		User:    q.User,
		From:    q.From,
		Reason:  q.Reason,
		Force:   q.Force,
	}, err
}

// Open implements Operations: a port is open to a source for a time.
func (l *Local) Open(ctx context.Context, q OpenRequest) (Opened, error) {
	if err := checkRemarks(q.Caller, q.Reason); err != nil {
		return Opened{}, err
	}
	request, err := leaseRequest(q)
	if err != nil {
		return Opened{}, err
	}
	longest, err := l.MaxLease()
	if err != nil {
		return Opened{}, err
	}
	r, store, unlock, err := l.beginOr(ctx, l.inForce(q.Backend), false, q.DryRun)
	if err != nil {
		return Opened{}, err
	}
	defer unlock()
	last, err := l.inForceForLeases(store)
	if err != nil {
		return Opened{}, err
	}
	x, err := request.Grant(last.State, longest, r.Now())
	if err != nil {
		return Opened{}, UsageError{err}
	}
	if q.DryRun {
		return l.wouldOpen(ctx, r, x, last)
	}
	// Recorded first: if the program dies from here on, the record says who opened it and why.
	if x, err = l.leases().Add(x); err != nil {
		return Opened{}, err
	}
	enforced, warnings, err := l.withLeases(last.State)
	if err != nil {
		return Opened{}, errors.Join(err, l.leases().Remove(x.ID))
	}
	_, g, err := l.enforceLeases(
		ctx,
		r,
		store,
		q.Caller,
		last,
		enforced,
		fmt.Sprintf("open %s: lease %s", x.Opens(), x.ID),
		x.Reason,
	)
	if err != nil {
		return Opened{}, errors.Join(err, l.leases().Remove(x.ID))
	}
	return Opened{
		Lease: x, Generation: g.Number, Changed: !enforced.Equal(last.InForce()), Warnings: warnings,
	}, nil
}

// wouldOpen is what a lease would come to, which is not recorded and has no ID.
func (l *Local) wouldOpen(
	ctx context.Context, r *firewall.Reconciler, x lease.Lease, last *history.Generation,
) (Opened, error) {
	err := l.leases().HasRoom()
	if err != nil {
		return Opened{}, cmp.Or(permission(err), err)
	}
	running, damaged, err := l.leases().List()
	if err != nil {
		return Opened{}, cmp.Or(permission(err), err)
	}
	enforced, err := lease.Apply(last.State, append(running, x), l.leases().Clock().Wall)
	if err != nil {
		return Opened{}, err
	}
	if err := wouldReplaceOwn(ctx, r, enforced); err != nil {
		return Opened{}, err
	}
	would := Opened{Lease: x, Generation: last.Number, Changed: !enforced.Equal(last.InForce()),
		DryRun: true}
	for _, d := range damaged {
		would.Warnings = append(would.Warnings, d.Error())
	}
	return would, nil
}

// Close implements Operations: leases end before their time, one by its ID or those of a port.
func (l *Local) Close(ctx context.Context, q CloseRequest) (Closed, error) {
	if err := checkRemarks(q.Caller, q.Reason); err != nil {
		return Closed{}, err
	}
	r, store, unlock, err := l.beginOr(ctx, l.inForce(q.Backend), false, q.DryRun)
	if err != nil {
		return Closed{}, err
	}
	defer unlock()
	leases := l.leases()
	running, _, err := leases.List()
	if err != nil {
		return Closed{}, err
	}
	closing, overlapping, err := lease.Find(running, q.Lease)
	if errors.Is(err, lease.ErrNoName) {
		return Closed{}, UsageError{err}
	}
	if err != nil {
		return Closed{}, err
	}
	last, err := l.inForceForLeases(store)
	if err != nil {
		return Closed{}, err
	}
	staying := slices.DeleteFunc(running, func(x lease.Lease) bool {
		return slices.ContainsFunc(closing, func(c lease.Lease) bool { return c.ID == x.ID })
	})
	enforced, err := lease.Apply(last.State, staying, leases.Clock().Wall)
	if err != nil {
		return Closed{}, err
	}
	if !q.Force {
		if err := refuseLockOut(ctx, r, enforced, q.Session); err != nil {
			return Closed{}, err
		}
	}
	result := Closed{Closed: closing, Staying: overlapping, DryRun: q.DryRun,
		Generation: last.Number}
	if q.DryRun {
		return result, wouldReplaceOwn(ctx, r, enforced)
	}
	var names []string
	for _, x := range closing {
		names = append(names, x.ID)
	}
	// The kernel first: whatever fails then, a lease that is recorded is one that somebody knows
	// of.
	out, g, err := l.enforceLeases(
		ctx,
		r,
		store,
		q.Caller,
		last,
		enforced,
		"close lease "+strings.Join(names, ", "),
		q.Reason,
	)
	if err != nil {
		return Closed{}, err
	}
	for _, id := range names {
		if err := leases.Remove(id); errors.Is(err, lease.ErrUncertain) {
			result.Warnings = append(result.Warnings, err.Error())
		} else if err != nil {
			return Closed{}, fmt.Errorf("nobody is let in by lease %s any more, but it is still "+
				"recorded, and the next apply opens it again: %w", id, err)
		}
	}
	result.Generation, result.Cut = g.Number, cuts(out)
	return result, nil
}

// EndLeases records the leases that have ended since the last time, and removes what they leave in
// the kernel once it has ended them: empty sets, and services that were split off for them. It
// returns those that ended.
func (l *Local) EndLeases(ctx context.Context) ([]lease.Lease, error) {
	store, unlock, err := l.exclusive(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	last, err := l.last(store)
	if errors.Is(err, history.ErrNone) || err == nil && !last.Confirmed {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ended, err := l.leases().Ended()
	if err != nil {
		return nil, err
	}
	enforced, _, err := l.withLeases(last.State)
	if err != nil {
		return nil, err
	}
	if !enforced.Equal(last.InForce()) {
		r, err := l.Backends(ctx, last.Backend, false)
		if err != nil {
			return nil, err
		}
		words := []string{"leases ended"}
		for _, x := range ended {
			words = append(words, fmt.Sprintf("%s (%s)", x.ID, x.Opens()))
		}
		_, _, err = l.enforceLeases(
			ctx,
			r,
			store,
			Caller{User: itself},
			last,
			enforced,
			strings.Join(words, " "),
			"",
		)
		if err != nil {
			return nil, err
		}
	}
	l.leases().Forget(ended)
	return ended, nil
}

// Leases implements Operations.
func (l *Local) Leases(context.Context) (Leases, error) {
	running, damaged, err := l.leases().List()
	if err != nil {
		return Leases{}, cmp.Or(permission(err), err)
	}
	result := Leases{Leases: orEmpty(running)}
	if err := errors.Join(damaged...); err != nil {
		result.Error = err.Error()
	}
	return result, nil
}
