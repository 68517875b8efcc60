package daemon

import (
	"context"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/ipvs"
)

// watchVirtual tells of the services of IPVS, first as they are now. Nil if nobody looks.
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

// checkVirtual has the policy read again where the generation in force knows other services of IPVS than
// there are. It looks at each generation once: one that leaves them as they are, since the policy says
// follow: none, is no reason to read for ever.
func (d *Daemon) checkVirtual(ctx context.Context) {
	if d.inForce == nil || !d.virtualKnown || d.virtualIn == d.inForce.Number {
		return
	}
	d.virtualIn = d.inForce.Number
	s := d.inForce.State
	if len(d.virtual) == 0 && len(s.Virtual) == 0 {
		return
	}
	s.Virtual = d.virtual
	if now, err := s.Canonical(); err == nil && !slices.Equal(now.Virtual, d.inForce.State.Virtual) {
		d.beginReading(ctx, "services of IPVS changed")
	}
}
