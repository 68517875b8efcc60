package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/portgrave/portgrave/firewall/host/history"
)

// operated looks at what an operation of the control socket has put in force.
func (d *Daemon) operated(ctx context.Context) {
	d.mendNow(ctx) // the reply has named what is damaged
	before, policy := d.number(), d.policyName()
	d.smallStands = false // the operation may have put the full lists in force
	if err := d.reload(); err != nil {
		d.last = err
		return
	}
	d.leases.look(d)
	if d.policyName() != policy || d.policyChanged() {
		d.holdApplied()
	}
	if d.number() != before {
		d.status.enforced(time.Now(), d.inForce, nil)
		d.nameServices()
		d.protect(ctx)
	}
}

// nameServices tells the reports which services there are, when they may have changed.
func (d *Daemon) nameServices() {
	if d.Reports == nil || d.named == d.number() {
		return
	}
	d.named = d.number()
	var names []string
	if d.inForce != nil {
		for _, svc := range d.inForce.InForce().Services {
			names = append(names, svc.Name)
		}
	}
	d.Reports.SetServices(names)
}

// reload looks which generation is in force, and reads it only if it is another one than before.
func (d *Daemon) reload() error {
	newest, err := d.Store.Newest()
	if err != nil || d.known(newest) != nil && !errors.Is(d.last, ErrOtherBackend) {
		return err
	}
	last, err := d.generation(newest)
	d.tornDown = errors.Is(err, history.ErrTornDown)
	if errors.Is(err, history.ErrNone) && newest == 0 && d.inForce != nil && d.Store.Lost() {
		return errors.New(
			"the history is gone from the state directory: is its file system mounted?",
		)
	}
	if errors.Is(err, history.ErrNone) {
		d.inForce = nil
		return nil
	}
	if err != nil {
		return err
	}
	d.inForce = last
	if ours := d.Reconciler.Backend.Name(); last.Backend != "" && last.Backend != ours {
		return fmt.Errorf(
			"%w (generation %d: %s, before: %s)",
			ErrOtherBackend,
			last.Number,
			last.Backend,
			ours,
		)
	}
	return nil
}

// generation is the newest one. Of one that was written here, all is at hand, but whether it was
// confirmed since.
func (d *Daemon) generation(newest int) (*history.Generation, error) {
	g := d.recorded
	d.recorded = nil
	if g != nil && g.Number == newest && g.Confirmed {
		return g, nil
	}
	return d.Store.Last()
}

// known is the generation in force, if it has that number and nothing about it can change any more.
func (d *Daemon) known(generation int) *history.Generation {
	if d.inForce == nil || d.inForce.Number != generation || !d.inForce.Confirmed {
		return nil
	}
	return d.inForce
}

func (d *Daemon) number() int {
	if d.inForce == nil {
		return 0
	}
	return d.inForce.Number
}
