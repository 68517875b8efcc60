package main

import (
	"errors"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/history"
)

// drift compares the live kernel with what was applied last.
func drift(inv *invocation) error {
	if inv.cli.Bool("watch") {
		return watchDrift(inv)
	}
	r, closeAll, err := inv.firewallInForce()
	if err != nil {
		return err
	}
	defer closeAll()
	p, _, err := driftPlan(inv, r)
	if err != nil {
		return err
	}
	inSync := "No drift: the kernel holds what was applied last."
	if _, err := inv.history().Last(); errors.Is(err, history.ErrNone) {
		inSync = "Nothing has been applied, and nothing of portgrave is in the kernel."
	}
	return reportPlan(inv, p, inSync)
}

// driftPlan is what would bring the kernel back to the last generation; with none, to nothing of ours.
func driftPlan(inv *invocation, r *firewall.Reconciler) (firewall.Plan, firewall.Observation, error) {
	last, err := inv.history().Last()
	switch {
	case errors.Is(err, history.ErrNone):
		return r.Plan(inv.ctx, nil)
	case err != nil:
		return firewall.Plan{}, nil, err
	}
	want := last.InForce()
	return r.Plan(inv.ctx, &want)
}
