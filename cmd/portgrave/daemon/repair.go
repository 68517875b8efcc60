package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/portgrave/portgrave/firewall/host/history"
)

// repair compares the kernel with the generation in force, and writes the difference. It holds the
// lock that the command line takes too.
//
// It works without the disk: if the state directory can't be read, the generation in memory stays
// in force. It works without free descriptors: it lends a reserve to what needs some, such as
// starting programs. If few are left, it lends the reserve before the first attempt, because a
// repair without descriptors may succeed in part: it may miss a newer generation or the running
// connections.
func (d *Daemon) repair(ctx context.Context, brief, stood bool) (restored, error) {
	if !d.spare.short() {
		out, err := d.repairOnce(ctx, brief, stood)
		if err == nil || ctx.Err() != nil || !outOfDescriptors(err) && !d.spare.short() {
			d.spare.fill()
			return out, err
		}
	}
	giveBack := d.spare.lend()
	defer giveBack()
	return d.repairOnce(ctx, brief, stood)
}

func (d *Daemon) repairOnce(ctx context.Context, brief, stood bool) (restored, error) {
	var disk []error // of reading and writing the state directory
	defer func() { d.keptFromDisk(errors.Join(disk...)) }()
	d.mendNow(ctx)
	if err := d.look(&disk); err != nil {
		return restored{}, err
	}
	if d.inForce != nil && d.inForce.Overdue(d.Local.Clocks()) {
		d.triedBack = time.Now()
		if back, err := d.Local.TakeBack(ctx); err != nil && ctx.Err() != nil {
			return restored{}, err
		} else if errors.Is(err, history.ErrHeld) {
			return restored{}, err
		} else if err != nil {
			disk = append(disk, err)
		} else if back.Done {
			d.Log.Warn("a generation was not confirmed in time and has been taken back",
				"generation", d.inForce.Number)
		}
	}
	unlock, err := d.Store.Lock(ctx, LockWait)
	switch {
	case err == nil:
		defer unlock()
	case errors.Is(err, history.ErrHeld) || ctx.Err() != nil:
		return restored{}, err
	default: // no other process can take the lock either, so it protects nothing
		disk = append(disk, err)
	}
	if err := d.look(&disk); err != nil {
		return restored{}, err
	}
	if d.inForce == nil {
		return restored{}, nil // nothing was applied yet, or it was torn down
	}
	want, err := d.wanted()
	if err != nil {
		return restored{}, err
	}
	return d.restore(ctx, want, brief, stood)
}

// wanted returns the generation that the kernel has to hold: mostly the one in force. If that one
// wasn't confirmed in time and the history couldn't be written to take it back, it is the last
// confirmed one, or nil if there is none.
func (d *Daemon) wanted() (*history.Generation, error) {
	if !d.inForce.Overdue(d.Local.Clocks()) {
		return d.inForce, nil
	}
	before, err := d.Store.LastConfirmed()
	if errors.Is(err, history.ErrNone) {
		return nil, nil
	}
	return before, err
}

// look calls reload. If the disk fails, it adds the error to disk, and the generation that was in
// force before stays in force.
func (d *Daemon) look(disk *[]error) error {
	err := d.reload()
	if err == nil || d.inForce == nil || errors.Is(err, ErrOtherBackend) ||
		errors.Is(err, history.ErrDamaged) {
		return err
	}
	*disk = append(*disk, err)
	return nil
}

// mend rewrites damaged or lost files of the large sets in force, from the sets in memory. Older
// generations share these files, and a trial is taken back to an older generation.
func (d *Daemon) mend(store *history.Store) {
	if d.inForce == nil {
		return
	}
	mended, err := store.Mend(d.inForce)
	for _, file := range mended {
		d.Log.Warn("a file of the history was damaged or lost, and was written anew", "file", file)
	}
	text := ""
	if err != nil {
		text, d.mendAgain = err.Error(), time.Now().Add(longestRetry)
	}
	if text != "" && text != d.unmended { // the same error is logged once
		d.Log.Warn("a file of the history is damaged", "error", err)
	}
	d.unmended = text
}

// mendNow takes the history's lock and calls mend, if a file is damaged or lost.
func (d *Daemon) mendNow(ctx context.Context) {
	if d.inForce == nil || time.Now().Before(d.mendAgain) || d.Store.Intact(d.inForce) {
		return
	}
	if unlock, err := d.Store.Lock(ctx, LockWait); err == nil {
		d.mend(d.Store)
		unlock()
	}
}

// keptFromDisk logs when the state directory becomes unusable, and when it can be used again.
func (d *Daemon) keptFromDisk(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	switch was := d.status.disk(text); {
	case text != "" && was == "":
		d.Log.Error(
			"the state directory can't be used; the rules in force are kept up from memory",
			"error",
			text,
		)
	case text == "" && was != "":
		d.Log.Info("the state directory can be used again")
	}
}
