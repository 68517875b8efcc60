package host

import (
	"errors"
	"fmt"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/firewall/policydiff"
)

// What plan and apply change, in the words of policies. There are two differences, and people must
// not take one for the other: that between the policy in force and the one that is wanted, and that
// between what was applied and what the kernel holds, which others have made.

// before is what was in force before an operation.
type before struct {
	generation *history.Generation // nil: nothing
	unreadable error
	text       []byte
}

// before reads what is in force.
func (l *Local) before(read func() (*history.Generation, error)) before {
	g, err := read()
	if errors.Is(err, history.ErrNone) {
		return before{}
	}
	if err != nil {
		return before{unreadable: err}
	}
	return before{generation: g, text: l.textOf(l.view(), g)}
}

// beforeChange is before for an operation that carries out a plan. Its text is read now, since the
// history may forget it with the next generation.
func (l *Local) beforeChange(store *history.Store, p firewall.Plan) before {
	if p.InSync() {
		return before{}
	}
	return l.before(func() (*history.Generation, error) { return l.last(store) })
}

// textOf is the text of a generation's policy; nil if it is not known.
func (l *Local) textOf(store *history.Store, g *history.Generation) []byte {
	if g.Policy == "" || l.Written == nil {
		return nil
	}
	text, err := store.Policy(g.Policy)
	if err != nil {
		return nil // then prefixes are shown
	}
	return text
}

// inWords is what a plan or an operation changes.
type inWords struct {
	services, restores []policydiff.Change
	author             *firewall.Author
	unknown            string // why services can't be told
	held               bool   // the kernel held exactly what was in force
}

// inWords words the changes that lead from the kernel, as it was seen, to a policy, which is
// enforced with its leases.
func (l *Local) inWords(
	r *firewall.Reconciler,
	seen firewall.Observation,
	changes []firewall.Change,
	was before,
	to *Policy,
	enforced firewall.State,
	all bool,
) inWords {
	out := inWords{services: []policydiff.Change{}}
	if was.unreadable != nil {
		out.unknown = fmt.Sprintf("what was in force can't be read: %v", was.unreadable)
		return out
	}
	wanted := l.wanted(to, enforced)
	var from policydiff.Side
	if was.generation != nil {
		from = l.sideOf(was.text, was.generation, to)
	}
	out.services = policydiff.Between(from, wanted, l.Now(), all)
	if was.generation == nil {
		return out
	}
	if from := was.generation.Backend; from != r.Backend.Name() {
		out.services = policydiff.Moved(out.services, from, r.Backend.Name())
		return out
	}
	from.State = was.generation.InForce()
	if !seen.Present() {
		out.restores = policydiff.Missing()
	} else if drift, err := driftIn(r, seen, changes, from.State, enforced); err == nil {
		out.restores = policydiff.Restored(from, drift)
		out.held = len(drift) == 0 && len(r.Others) == 0
	}
	if len(out.restores) > 0 {
		out.author = l.author()
	}
	return out
}

// driftIn is what leads back from the kernel, as it was seen, to the State in force; changes lead
// to another State.
func driftIn(
	r *firewall.Reconciler,
	seen firewall.Observation,
	changes []firewall.Change,
	inForce, wanted firewall.State,
) ([]firewall.Change, error) {
	if inForce.Equal(wanted) {
		return changes, nil
	}
	p, err := r.Backend.Diff(&inForce, seen, r.Now())
	return p.Changes, err
}

// author is who bent the rules; nil if that is unknown.
func (l *Local) author() *firewall.Author {
	if l.Author == nil {
		return nil
	}
	return l.Author()
}

// wanted is a policy with the leases that are enforced with it, as a side of a comparison.
func (l *Local) wanted(p *Policy, enforced firewall.State) policydiff.Side {
	written := p.Written
	if written == nil && l.Written != nil && len(p.Text) > 0 {
		written = l.Written(p.Text, nil)
	}
	return policydiff.Side{
		State: p.State, Written: written, Leases: leasesIn(p.State, enforced),
	}
}

// past is a generation as a side of a comparison with a policy; nil is none.
func (l *Local) past(
	store *history.Store, g *history.Generation, with *Policy,
) policydiff.Side {
	return l.sideOf(l.textOf(store, g), g, with)
}

// sideOf is past with the text of the generation's policy. What its lists held is known if those of
// the policy hold the same.
func (l *Local) sideOf(
	text []byte, g *history.Generation, with *Policy,
) policydiff.Side {
	side := policydiff.Side{State: g.State, Leases: leasesIn(g.State, g.InForce())}
	if text == nil || l.Written == nil {
		return side
	}
	lists := map[string]address.Set{}
	if with != nil && with.Written != nil {
		for name, digest := range g.Lists {
			if held, known := with.Written.Networks[name]; known && with.Lists[name] == digest {
				lists[name] = held
			}
		}
	}
	side.Written = l.Written(text, lists)
	return side
}

// leasesIn are the sources that leases add to the State of a policy.
func leasesIn(policy, enforced firewall.State) (leases []policydiff.Lease) {
	own := map[string]map[firewall.ExpiringSource]bool{}
	for _, svc := range policy.Services {
		if len(svc.Expiring) > 0 {
			own[svc.Name] = map[firewall.ExpiringSource]bool{}
			for _, e := range svc.Expiring {
				own[svc.Name][e] = true
			}
		}
	}
	for _, svc := range enforced.Services {
		add := func(ports []firewall.PortRange, expiring []firewall.ExpiringSource) {
			for _, e := range expiring {
				if !own[svc.Name][e] {
					leases = append(leases,
						policydiff.Lease{Service: svc.Name, Ports: ports, Source: e})
				}
			}
		}
		add(svc.Ports, svc.Expiring)
		for _, l := range svc.Leases {
			add(l.Ports, l.Expiring)
		}
	}
	return leases
}
