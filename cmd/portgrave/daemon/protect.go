package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// shield remembers how keeping others from the rules went.
type shield struct {
	// failed is when the rules could not be made anew; that is not tried again before handOverPause
	// is over.
	failed time.Time
	err    error
}

// handOverPause keeps a hand-over that fails, for want of memory perhaps, from being tried at every
// event.
const handOverPause = 10 * time.Minute

// wantsProtection tells whether others shall be kept from changing the rules, and if not, why.
func (d *Daemon) wantsProtection() (on bool, reason string) {
	switch {
	case d.policy == nil || d.policy.Daemon.Protect == "auto":
		if d.CannotPrint != nil {
			reason = d.CannotPrint()
		}
		if reason != "" {
			reason += ", or daemon: {protect: always}"
		}
		return reason == "", reason
	case d.policy.Daemon.Protect == "never":
		return false, "the policy says protect: never"
	}
	return true, ""
}

// protect keeps others from changing the rules, if the policy wants that, the host can do with it
// and the backend can; else it lets them.
func (d *Daemon) protect(ctx context.Context) {
	if !d.readOnce {
		return // whether the policy wants that is not known yet
	}
	on, reason := d.wantsProtection()
	p := firewall.Protection{Reason: "this backend can't"}
	if d.Protect != nil {
		var err error
		p, err = d.Protect.Protect(ctx, on)
		if errors.Is(err, firewall.ErrHandOver) {
			if err = d.handOver(ctx); err == nil {
				d.Log.Info("the rules were made anew", "protected", on, "reason", reason)
				p, err = d.Protect.Protect(ctx, on)
			}
		}
		if err != nil && !errors.Is(err, errNotNow) {
			d.Log.Warn(
				"whether others can change the rules is not as it should be",
				"wanted",
				on,
				"error",
				err,
			)
		}
		if err != nil {
			p = firewall.Protection{Reason: err.Error()}
		}
	}
	if reason != "" && p.Reason == "" {
		p.Reason = reason
	}
	p.Wanted = on
	d.status.protection(p)
}

// errNotNow: nothing is in force that the rules could be made anew from, or a small table stands
// for it.
var errNotNow = errors.New("the rules are made anew once all of them are in force")

// handOver makes the rules anew, under the lock that the command line takes too. If that fails
// midway, a second set of rules judges packets; repairing removes it.
func (d *Daemon) handOver(ctx context.Context) error {
	if time.Since(d.shield.failed) < handOverPause {
		return d.shield.err
	}
	if d.inForce == nil || d.listsOwed {
		return errNotNow
	}
	want, err := d.wanted()
	if err != nil || want == nil {
		return errors.Join(errNotNow, err)
	}
	unlock, err := d.Store.Lock(ctx, LockWait)
	if err != nil {
		return err
	}
	err = d.Protect.HandOver(ctx, want.InForce())
	unlock()
	d.shield = shield{}
	if err == nil {
		return nil
	}
	d.shield = shield{time.Now(), err}
	if _, rerr := d.repair(ctx, false, false); rerr != nil {
		d.last = errors.Join(err, rerr)
		d.again.after(d.last)
	}
	return err
}
