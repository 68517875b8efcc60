package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/history"
)

// Bounds of apply --confirm: less than a person needs to log in again proves nothing, and more than a day is no test.
const (
	shortestConfirm = 5 * time.Second
	longestConfirm  = 24 * time.Hour
)

// confirm says that the generation in force works, so that it is not taken back.
func confirm(inv *invocation) error {
	store, unlock, err := inv.locked()
	if err != nil {
		return err
	}
	defer unlock()
	last, err := store.Last()
	if err != nil {
		return err
	}
	waited := !last.Confirmed
	if waited {
		user, from := inv.who()
		if err := store.Confirm(last.Number, history.Confirmation{Time: time.Now().UTC(), User: user, From: from}); err != nil {
			return err
		}
	}
	if inv.screen.json {
		return inv.screen.object(map[string]any{"generation": last.Number, "changed": waited})
	}
	if !waited {
		inv.screen.printf("Nothing to confirm: generation %d is in force for good.\n", last.Number)
		return nil
	}
	inv.screen.printf("%s: generation %d stays in force.\n", inv.screen.paint(green, "Confirmed"), last.Number)
	return nil
}

// locked opens the history for writing and keeps other runs out until unlock is called.
func (inv *invocation) locked() (store *history.Store, unlock func(), err error) {
	if store, err = history.Open(inv.stateDir); err != nil {
		return nil, nil, err
	}
	unlock, err = store.Lock(inv.ctx, lockWait)
	return store, unlock, err
}

// takeBack returns to the last confirmed generation, if the one in force should have been confirmed by now. It
// reports whether there was anything to take back. The caller holds the lock.
func takeBack(inv *invocation, r *firewall.Reconciler, store *history.Store, now time.Time) (bool, error) {
	last, err := store.Last()
	if errors.Is(err, history.ErrNone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if last.Confirmed || now.Before(last.ConfirmBy) {
		return false, nil
	}
	g := history.Generation{Time: now.UTC(), User: "portgrave", Backend: r.Backend.Name(), Confirmed: true,
		Reason: fmt.Sprintf("generation %d was not confirmed by %s", last.Number, last.ConfirmBy.Local().Format(time.TimeOnly))}
	before, err := store.LastConfirmed()
	if errors.Is(err, history.ErrNone) {
		out, err := r.Apply(inv.ctx, nil, true)
		if err != nil {
			return true, err
		}
		g.Summary = "teardown, " + plural(out.Plan.Count(), "change")
		_, err = store.Clear(g)
		return true, err
	}
	if err != nil {
		return true, err
	}
	want, err := inv.withLeases(before.State)
	if err != nil {
		// Taking back must not wait for that; the leases of then, but for those that have ended, are the next best.
		want = before.InForce()
	}
	out, err := r.Apply(inv.ctx, &want, true)
	if err != nil {
		return true, err
	}
	g.Origin, g.State, g.Leased, g.Summary = before.Origin, before.State, leased(before.State, want), fmt.Sprintf("back to generation %d, %s", before.Number, plural(out.Plan.Count(), "change"))
	_, err = store.Append(g)
	return true, err
}
