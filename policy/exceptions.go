package policy

import (
	"context"

	"github.com/portgrave/portgrave/firewall/address"
)

// Exception is an entry of a service's except, and what it holds.
type Exception struct {
	At      Location
	Sources address.Set
}

// Exceptions lists the entries of a service's except, in the order of the policy, and what its
// allow holds now, without its except taken away. Only the networks of the service are loaded. The
// error is Problems.
func (p *Policy) Exceptions(
	ctx context.Context, name string, n *Networks,
) (list []Exception, allow address.Set, err error) {
	if n == nil {
		n = &Networks{}
	}
	for _, s := range p.services {
		if s.enforced.Name != name || len(s.except) == 0 {
			continue
		}
		c := compiler{policy: p, resolved: map[string]address.Set{}, now: n.now(),
			out: &Compiled{Lists: map[string]string{}}}
		var release func()
		c.shared, release = n.Memory.share()
		defer release()
		used := p.usedBy([]service{s})
		c.resolve(used, loadExternal(ctx, n, used))
		for _, e := range s.except {
			list = append(list, Exception{e.at, c.union([]source{e})})
		}
		var entries []source
		for _, e := range s.allow {
			if e.expires.IsZero() || e.expires.After(c.now) {
				entries = append(entries, e)
			}
		}
		return list, c.union(entries), c.report.problems()
	}
	return nil, address.Set{}, nil
}
