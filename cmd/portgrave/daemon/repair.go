package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/portgrave/portgrave/firewall/host/history"
)

// repair compares and writes, under the lock that the command line takes too. It needs neither the
// disk nor new descriptors: what was in force goes on being so, and a reserve is lent to what needs
// descriptors, such as starting programs. That is so from the beginning, because without any a
// repair would not always fail: it would miss a newer generation or the running connections.
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
	var disk []error // what keeps the state directory from being read or written
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
	default: // then nobody else can take it either
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

// wanted is what the kernel shall hold: the generation in force or, if that should have been
// confirmed by now and could not be taken back in the history, the one before it; nil is nothing.
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

// look is reload, but for a disk that keeps it from knowing: then what was in force before still
// is.
func (d *Daemon) look(disk *[]error) error {
	err := d.reload()
	if err == nil || d.inForce == nil || errors.Is(err, ErrOtherBackend) ||
		errors.Is(err, history.ErrDamaged) {
		return err
	}
	*disk = append(*disk, err)
	return nil
}

// mend writes anew what is damaged or lost of the large sets in force, while they are in memory.
// Other generations have the same files: without them no trial could be taken back.
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
	if text != "" && text != d.unmended { // once, not with every look
		d.Log.Warn("a file of the history is damaged", "error", err)
	}
	d.unmended = text
}

// mendNow is mend, if there is anything to do, under the lock that it needs.
func (d *Daemon) mendNow(ctx context.Context) {
	if d.inForce == nil || time.Now().Before(d.mendAgain) || d.Store.Intact(d.inForce) {
		return
	}
	if unlock, err := d.Store.Lock(ctx, LockWait); err == nil {
		d.mend(d.Store)
		unlock()
	}
}

// keptFromDisk says, once, that the state directory can't be used, and that it can be again.
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
