package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/history"
)

// rollback puts the State of an earlier generation in force again: the one given, or the last one before that enforced
// something else. It is a new generation, so that a rollback can be rolled back.
func rollback(inv *invocation) error {
	r, store, done, err := inv.exclusive(false)
	if err != nil {
		return err
	}
	defer done()
	target, err := rollbackTarget(store, inv.cli.Args().First())
	if err != nil {
		return err
	}
	want, err := inv.withLeases(target.State)
	if err != nil {
		return err
	}
	force := inv.cli.Bool("force")
	if !force {
		if err := refuseLockOut(inv, r, want); err != nil {
			return err
		}
	}
	out, err := r.Apply(inv.ctx, &want, force)
	if err != nil {
		return err
	}
	user, from := inv.who()
	reason := inv.cli.String("reason")
	if reason == "" {
		reason = fmt.Sprintf("rollback to generation %d", target.Number)
	}
	g, err := store.Append(history.Generation{Time: time.Now().UTC(), User: user, From: from, Reason: reason, Backend: r.Backend.Name(), Origin: target.Origin,
		Summary: fmt.Sprintf("back to generation %d, %s", target.Number, plural(out.Plan.Count(), "change")), Confirmed: true, State: target.State, Leased: leased(target.State, want)})
	if err != nil {
		return fmt.Errorf("the rules are in force, but could not be recorded: %w", err)
	}
	return reportApply(inv, g, out)
}

func rollbackTarget(store *history.Store, wanted string) (*history.Generation, error) {
	if wanted != "" {
		n, err := strconv.Atoi(wanted)
		if err != nil || n < 1 {
			return nil, usagef("rollback takes the number of a generation, not %q: see portgrave history", wanted)
		}
		g, err := store.Load(n)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no generation %d (the last %d are kept): see portgrave history", n, history.Keep)
		}
		if err == nil && g.TornDown {
			return nil, fmt.Errorf("generation %d is a teardown: use portgrave teardown", n)
		}
		return g, err
	}
	all, err := store.List()
	if len(all) == 0 {
		return nil, errors.Join(history.ErrNone, err)
	}
	last := all[len(all)-1]
	for i := len(all) - 2; i >= 0; i-- {
		if !all[i].TornDown && all[i].Confirmed && (last.TornDown || !all[i].State.Equal(last.State)) {
			return &all[i], nil
		}
	}
	return nil, fmt.Errorf("there is no earlier generation that enforces anything else: see portgrave history")
}

// generationState is the State of a generation for plan --from and --to: "0" is a host without rules of ours.
func generationState(store *history.Store, wanted string) (*firewall.State, error) {
	if wanted == "0" {
		return nil, nil
	}
	n, err := strconv.Atoi(wanted)
	if err != nil || n < 1 {
		return nil, usagef("%q is no number of a generation: see portgrave history", wanted)
	}
	g, err := store.Load(n)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no generation %d (the last %d are kept): see portgrave history", n, history.Keep)
	}
	if err != nil || g.TornDown {
		return nil, err
	}
	want := g.InForce()
	return &want, nil
}
