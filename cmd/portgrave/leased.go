package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/history"
	"github.com/portgrave/portgrave/firewall/lease"
)

func (inv *invocation) leases() *lease.Store { return lease.At(inv.stateDir) }

// withLeases merges the leases that run into the State of a policy: what is to be enforced. If it is unknown which
// leases there are, nothing may be enforced as if there were none.
func (inv *invocation) withLeases(s firewall.State) (firewall.State, error) {
	store := inv.leases()
	running, damaged, err := store.List()
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: %w", firewall.ErrPermission, err)
	}
	if err != nil {
		return s, err
	}
	for _, d := range damaged {
		inv.screen.warnf("%v", d)
	}
	for _, l := range running {
		if err := lease.Check(s, l); err != nil {
			inv.screen.warnf("lease %s opens nothing on %v", l.ID, err)
		}
	}
	return lease.Apply(s, running, store.Clock().Wall)
}

// leased is what a generation keeps of the State that was enforced: nothing, if leases changed nothing.
func leased(policy, enforced firewall.State) *firewall.State {
	if enforced.Equal(policy) {
		return nil
	}
	return &enforced
}

// inForceForLeases is the generation that leases are opened and closed on. It is the last one, and not the policy as it is now:
// opening a port must not put in force what somebody is still writing.
func inForceForLeases(store *history.Store) (*history.Generation, error) {
	last, err := store.Last()
	if err != nil {
		return nil, fmt.Errorf("%w: run portgrave apply first", err)
	}
	if !last.Confirmed {
		return nil, fmt.Errorf("generation %d waits to be confirmed: run portgrave confirm, or wait until it is taken back", last.Number)
	}
	return last, nil
}

// enforceLeases puts some leases in force on a generation's policy, and records it as a generation of its own.
func enforceLeases(inv *invocation, r *firewall.Reconciler, store *history.Store, last *history.Generation, enforced firewall.State, summary, reason string) (firewall.Outcome, history.Generation, error) {
	out, err := r.Apply(inv.ctx, &enforced, false)
	if err != nil {
		return out, history.Generation{}, err
	}
	user, from := inv.who()
	g, err := store.Append(history.Generation{Time: r.Now().UTC(), User: user, From: from, Reason: reason, Backend: r.Backend.Name(), Origin: last.Origin,
		Summary: summary, Confirmed: true, State: last.State, Leased: leased(last.State, enforced)})
	if err != nil {
		return out, g, recordError{err}
	}
	return out, g, nil
}

// recordError: the kernel was changed but the history was not.
type recordError struct{ error }

func (e recordError) Error() string {
	return "the rules are in force, but could not be recorded, so drift does not know them: " + e.error.Error()
}
func (e recordError) Unwrap() error { return e.error }

// opening is a lease in a few words: "tcp/9090 to 203.0.113.7".
func opening(l lease.Lease) string {
	var ports, sources []string
	for _, p := range l.Ports {
		ports = append(ports, p.String())
	}
	for p := range l.Sources.All() {
		sources = append(sources, lease.Source(p))
	}
	return strings.Join(ports, ", ") + " to " + strings.Join(sources, ", ")
}
