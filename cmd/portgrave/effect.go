package main

import (
	"context"
	"fmt"
	"time"

	"github.com/portgrave/portgrave/firewall/connections"
	"github.com/portgrave/portgrave/firewall/effect"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/firewall/host"
)

// addEffect adds to a plan who gains and who loses access, with some workers (audit.Input). A plan
// is good without it: a reason stands in its place if it fails.
func addEffect(ctx context.Context, d *host.Difference, workers int) {
	want := d.Wanted
	if want == nil {
		return
	}
	d.Wanted = nil // it holds the sources of both States
	effects, unknown, err := effectOf(ctx, *want, workers)
	switch {
	case err != nil:
		d.EffectUnknown = err.Error()
		return
	case unknown != "":
		d.EffectUnknown = unknown
	}
	d.Effect = &effects
}

func effectOf(
	ctx context.Context, want host.Wanted, workers int,
) (effects []host.Effect, unknown string, err error) {
	at, done, err := readHost(ctx)
	defer done()
	if err != nil {
		return nil, "", err
	}
	kernel, err := connections.New()
	if err != nil {
		return nil, "", err
	}
	running, err := kernel.List(ctx)
	if err != nil {
		unknown = fmt.Sprintf("which connections end isn't known: %v", err)
	}
	in := audit.Input{
		Rules:   at.Rules,
		Host:    at.Host,
		Sockets: at.Sockets,
		IPVS:    at.IPVS,
		Enter:   at.Enter,
		Workers: workers,
	}
	effects, unread, err := effect.Of(ctx, in, want, running, time.Now())
	for _, u := range unread {
		if unknown != "" {
			unknown += "; "
		}
		unknown += u
	}
	return effects, unknown, err
}
