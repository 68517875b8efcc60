package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/portgrave/portgrave/firewall/host/history"
)

// operated takes over what an operation of the control socket has put in force.
func (d *Daemon) operated(ctx context.Context) {
	d.mendNow(ctx) // the operation's reply has told its caller about damaged files already
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

// nameServices tells the reports the names of the services, if the generation in force has changed.
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

// reload finds the generation that is in force. It reads the generation only if its number has
// changed, or if it may have been confirmed since.
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

// generation returns the newest generation. If this process has recorded it and it is confirmed, it
// is in memory. Otherwise it is read, because it may have been confirmed or taken back since.
func (d *Daemon) generation(newest int) (*history.Generation, error) {
	g := d.recorded
	d.recorded = nil
	if g != nil && g.Number == newest && g.Confirmed {
		return g, nil
	}
	return d.Store.Last()
}

// known returns the generation in force if it has the given number and is confirmed, because then
// it can't change any more; otherwise nil.
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
