package daemon

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host"
)

// compileFor compiles a policy for a client, beside the loop. It asks nobody outside this host, and
// answers only if all is well.
func (d *Daemon) compileFor(
	ctx context.Context,
	q api.CompileRequest,
) (*host.Policy, api.CompiledPolicy, error) {
	var out api.CompiledPolicy
	if d.Compile == nil || q.StateDir != d.EventDir {
		return nil, out, api.ErrUncompiled
	}
	parsed := d.parsed()
	p, c, err := d.Compile(ctx, q)
	if d.parsed() != parsed {
		time.AfterFunc(api.KeepCompiled, debug.FreeOSMemory) // as in finishReading
	}
	if err != nil {
		return nil, out, fmt.Errorf("%w: %w", api.ErrUncompiled, err)
	}
	if len(c.Stale) > 0 {
		return nil, out, fmt.Errorf("%w: network %q is stale", api.ErrUncompiled, c.Stale[0].Name)
	}
	compiled, err := api.PolicyOf(p, c, time.Now())
	if err != nil {
		return nil, out, err
	}
	out.Warnings = c.Warnings
	err = d.inLoop(ctx, operationPatience, func(context.Context) {
		newest, err := d.Store.Newest()
		if err == nil && newest == d.number() && d.holds(compiled.State) {
			out.InForce = newest
		}
	})
	return compiled, out, err
}

// parsed is how many lists were parsed since the daemon started.
func (d *Daemon) parsed() int {
	if d.Memory == nil {
		return 0
	}
	return d.Memory.Parsed()
}

// holds reports whether the policy in force means the same as a State. If so, that State's sets
// replace its own: the policy's memory has them, and equal sets are kept once.
func (d *Daemon) holds(s firewall.State) bool {
	if d.inForce == nil || !d.inForce.State.Equal(s) {
		return false
	}
	d.inForce = d.inForce.With(s)
	return true
}
