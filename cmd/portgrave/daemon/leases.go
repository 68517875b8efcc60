package daemon

import (
	"context"
	"time"
)

// leasesEndEvery is how often, at the most, leases that are over are swept up. The kernel has ended
// them to the second; what is left are empty sets and chains, and the record.
const leasesEndEvery = time.Minute

// leaseWatch knows when the next lease ends.
type leaseWatch struct {
	end   time.Time // zero: no lease runs
	swept time.Time
}

// look reads the leases anew.
func (w *leaseWatch) look(d *Daemon) {
	w.end = time.Time{}
	all, err := d.Local.Leases(context.Background())
	if err != nil || all.Error != "" {
		d.Log.Warn("leases can't be read", "error", err, "damaged", all.Error)
	}
	if len(all.Leases) > 0 {
		w.end = all.Leases[0].Until // those that end first stand at the front
	}
	d.status.setLeases(len(all.Leases), w.end)
}

// over fires when a lease has ended.
func (w *leaseWatch) over() <-chan time.Time {
	if w.end.IsZero() {
		return nil
	}
	at := w.end.Add(time.Second) // to be on the far side of it
	if next := w.swept.Add(leasesEndEvery); at.Before(next) {
		at = next
	}
	return time.After(time.Until(at))
}

// endLeases records the leases that are over, and removes what they leave in the kernel.
func (d *Daemon) endLeases(ctx context.Context) {
	d.leases.swept = time.Now()
	ended, err := d.Local.EndLeases(ctx)
	if err != nil && ctx.Err() == nil {
		d.Log.Error("what ended leases left behind can't be removed", "error", err)
	}
	for _, l := range ended {
		d.Log.Info(
			"lease ended",
			"lease",
			l.ID,
			"opened",
			l.Opens(),
			"user",
			l.User,
			"reason",
			l.Reason,
		)
	}
	d.operated(ctx)
	d.leases.look(d)
}
