package host

import (
	"context"
	"errors"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/firewall/policydiff"
)

// A dry run takes the way of the operation itself up to where the first thing would be written:
// there it tells what would follow. What would refuse the operation refuses it, too, but for a disk
// or a kernel that fails. It holds no lock, so that it leaves no file behind; what changes
// meanwhile may change the answer.

// beginOr is begin, or, for a dry run, what needs no lock and writes nothing.
func (l *Local) beginOr(
	ctx context.Context, backend string, thorough, dryRun bool,
) (r *firewall.Reconciler, store *history.Store, unlock func(), err error) {
	if !dryRun {
		return l.begin(ctx, backend, thorough)
	}
	r, err = l.Backends(ctx, backend, thorough)
	return r, l.view(), func() {}, err
}

// wouldApply is what apply or rollback would do from here on.
func (l *Local) wouldApply(
	ctx context.Context,
	r *firewall.Reconciler,
	to *Policy,
	want firewall.State,
	force bool,
	check func(firewall.Plan) error,
	warnings []string,
) (Applied, error) {
	p, seen, err := r.Plan(ctx, &want)
	if err == nil {
		err = firewall.CheckForeign(p, seen, force)
	}
	if err == nil {
		err = check(p)
	}
	if err != nil {
		return Applied{}, err
	}
	a := Applied{
		DryRun:   true,
		Changed:  !p.InSync(),
		Backend:  r.Backend.Name(),
		Services: []policydiff.Change{},
		Changes:  orEmpty(p.Changes),
		Cut:      []Cut{},
		Warnings: orEmpty(warnings),
	}
	if a.Generation, err = l.generationInForce(); err != nil {
		return Applied{}, err
	}
	if a.Changed {
		x := l.inWords(r, seen, p.Changes, l.before(l.lastKnown), to, want, false)
		a.Services, a.Restores, a.Author, a.Unknown = x.services, x.restores, x.author, x.unknown
	}
	return a, nil
}

// wouldReplaceOwn refuses what enforcing leases refuses: to replace what somebody else wrote.
func wouldReplaceOwn(ctx context.Context, r *firewall.Reconciler, want firewall.State) error {
	p, seen, err := r.Plan(ctx, &want)
	if err != nil {
		return err
	}
	return firewall.CheckForeign(p, seen, false)
}

// generationInForce is the number of the generation in force; 0 if there is none.
func (l *Local) generationInForce() (int, error) {
	head, err := l.view().Head()
	if errors.Is(err, history.ErrNone) {
		return 0, nil
	}
	return head.Number, err
}

// wouldTearDown is what a teardown would remove.
func wouldTearDown(ctx context.Context, r *firewall.Reconciler, force bool) (TornDown, error) {
	p, seen, err := r.Plan(ctx, nil)
	if err == nil {
		err = firewall.CheckForeign(p, seen, force)
	}
	if err != nil {
		return TornDown{}, err
	}
	return TornDown{Changed: !p.InSync(), Changes: orEmpty(p.Changes), DryRun: true}, nil
}
