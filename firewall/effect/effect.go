package effect

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/firewall/host"
)

// Of is the effect of a plan on a host as in has it. in's policy doesn't matter. running are the
// connections that run now. unread lists what couldn't be read, so that effects may be missing.
func Of(
	ctx context.Context,
	in audit.Input,
	want host.Wanted,
	running []firewall.Connection,
	now time.Time,
) (effects []host.Effect, unread []string, err error) {
	rules, err := Replaced(in.Rules, want, now)
	if err != nil {
		return nil, nil, err
	}
	in.Now, in.Policy = now, want.Before
	compared, err := audit.Compare(ctx, in, rules, &want.State, portsOf(want))
	if err != nil {
		return nil, nil, err
	}
	effects = []host.Effect{}
	for _, c := range compared.Changes {
		effects = append(effects, effectOf(c))
	}
	return withConnections(effects, want.Ends(running, now)), compared.Unread, nil
}

func effectOf(c audit.Change) host.Effect {
	e := host.Effect{
		Protocol:   c.Protocol,
		Port:       c.Port,
		PortLast:   c.PortLast,
		Addresses:  c.Addresses,
		Interfaces: c.Interfaces,
		Process:    c.Process,
		Container:  c.Container,
		Target:     c.Target,
		Gains:      c.Gains,
		Loses:      c.Loses,
		MayGain:    c.MayGain,
		MayLose:    c.MayLose,
	}
	if s := c.Stopped; s != nil {
		e.Blocked = s.Sources
		if len(s.By) > 0 {
			e.BlockedRule = s.By[0]
		}
		e.BlockedBy = cmp.Or(strings.Join(s.Owners, ", "), e.BlockedRule)
	}
	return e
}

// withConnections adds how many connections to each port end. What is ended at ports that nobody
// gains or loses has an effect of its own: a source that could not connect before is cut now.
func withConnections(effects []host.Effect, ended []firewall.Connection) []host.Effect {
	for _, x := range ended {
		protocol, port := x.Protocol.String(), x.Dialled.Port()
		best, rank := -1, 0
		for i, e := range effects {
			if e.Protocol != protocol || port < e.Port || port > max(e.Port, e.PortLast) {
				continue
			}
			if r := fits(e, x); best < 0 || r > rank {
				best, rank = i, r
			}
		}
		if best < 0 {
			best = len(effects)
			effects = append(effects, host.Effect{
				Protocol: protocol, Port: port, Process: x.Owner,
			})
		}
		effects[best].Connections++
	}
	slices.SortStableFunc(effects, func(a, b host.Effect) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
	return effects
}

// fits counts what speaks for a connection to belong to an effect of its port.
func fits(e host.Effect, x firewall.Connection) (n int) {
	for _, speaks := range []bool{
		e.Loses.Contains(x.Client.Addr().Unmap()) || e.MayLose.Contains(x.Client.Addr().Unmap()),
		e.Interfaces == nil || slices.Contains(e.Interfaces, x.Interface),
		e.Addresses == nil || slices.Contains(e.Addresses, x.Dialled.Addr().Unmap().String()),
		(e.Target != "") == x.Forwarded,
	} {
		if speaks {
			n++
		}
	}
	return n
}
