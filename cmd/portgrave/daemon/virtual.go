package daemon

import (
	"context"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/ipvs"
	"github.com/portgrave/portgrave/policy"
)

// servicesChanged is the cause of a reading after services of IPVS came or went.
const servicesChanged = "services of IPVS changed"

// virtualRetry is how long to wait before another reading where the last one brought no rules that
// know the services of IPVS.
const virtualRetry = 5 * time.Second

// watchVirtual sends the services of IPVS, first as they are now. It returns nil if Config.Virtual
// is nil.
func (d *Daemon) watchVirtual(ctx context.Context) <-chan []firewall.VirtualService {
	if d.Virtual == nil {
		return nil
	}
	out, err := ipvs.Watch(ctx, d.Virtual)
	if err != nil {
		d.Log.Warn("services of IPVS that come or go are not followed", "error", err)
	}
	return out
}

// checkVirtual starts a reading of the policy where the generation in force knows other services of
// IPVS than there are, and starts another one until it does. With follow: none, and during a trial,
// the generation stays as it is.
func (d *Daemon) checkVirtual(ctx context.Context) {
	if !d.virtualStale() || time.Now().Before(d.virtualAgain) {
		return
	}
	s, err := d.inForce.State.WithVirtual(d.virtual)
	if err != nil || slices.Equal(s.Virtual, d.inForce.State.Virtual) {
		d.virtualIn = d.inForce.Number
		return
	}
	d.virtualAgain = time.Now().Add(virtualRetry)
	d.beginReading(ctx, servicesChanged)
}

// virtualStale reports whether the generation in force may know other services of IPVS than there
// are.
func (d *Daemon) virtualStale() bool {
	follows := d.policy == nil || d.policy.Daemon.Follow != policy.FollowNone
	return d.virtualKnown && d.inForce != nil && d.virtualIn != d.inForce.Number && follows &&
		!d.onTrial() &&
		!d.readingNow
}

// virtualDue fires when checkVirtual must look again.
func (d *Daemon) virtualDue() <-chan time.Time {
	if !d.virtualStale() {
		return nil
	}
	return time.After(time.Until(d.virtualAgain))
}
