package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/firewall/nft"
	"github.com/portgrave/portgrave/firewall/policydiff"
	"github.com/portgrave/portgrave/firewall/xt"
)

// Digest tells States apart without sending them.
func Digest(s firewall.State) string {
	sum := sha256.New()
	_ = s.WriteBinary(sum) // a State always encodes, and a hash never fails to write
	return hex.EncodeToString(sum.Sum(nil))
}

// digested is a generation with its policy's digest, which takes long to make of a million sources.
type digested struct {
	generation *history.Generation
	digest     string
}

func (d *digested) of(g *history.Generation) string {
	if d.generation == nil || d.generation.Number != g.Number ||
		!d.generation.State.Equal(g.State) {
		*d = digested{g, Digest(g.State)}
	}
	return d.digest
}

// Firewall implements Operations.
func (l *Local) Firewall(ctx context.Context, q FirewallRequest) (Firewall, error) {
	r, err := l.Backends(ctx, l.inForce(q.Backend), false)
	if err != nil {
		return Firewall{}, err
	}
	view := l.view()
	inForce := func() (*history.Generation, error) { return l.last(view) }
	plan, seen, last, err := l.driftPlan(ctx, r, inForce)
	damaged := err
	if errors.Is(err, history.ErrDamaged) {
		// Then it is unknown what should be in force, but not what is.
		seen, err = r.Backend.Observe(ctx)
	}
	if err != nil {
		return Firewall{}, err
	}
	result := Firewall{
		Backend:      r.Backend.Name(),
		BackendNotes: orEmpty(seen.Notes()),
		Present:      seen.Present(),
		Drift:        DriftCount{damaged == nil && plan.InSync(), plan.Count()},
		Services:     []Service{},
	}
	if damaged != nil {
		result.Warnings = append(result.Warnings, damaged.Error())
	}
	if last == nil && damaged == nil {
		result.TornDown = l.tornDown()
	}
	leases, unreadable, err := l.leases().List()
	for _, d := range append(unreadable, err) {
		if d != nil {
			result.Warnings = append(result.Warnings, d.Error())
		}
	}
	result.Leases = orEmpty(leases)
	if last != nil {
		e := l.entryInForce(last.Record)
		result.Generation, result.Unlisted = &e, last.State.Unlisted
		result.PolicyDigest, result.PolicyText = l.digested.of(last), last.Policy
		result.SetAside = slices.Sorted(maps.Keys(last.SetAside))
		known, used := l.named.of(l, last), l.used(counted(last.InForce()), seen.Traffic)
		for _, svc := range last.InForce().Services {
			s := serviceOf(svc, seen, r.Now())
			if last.State.Has(svc.Name) {
				s.Policy = svc.Name
			}
			s.Named = writtenAs(known, svc, leases, r.Now())
			if u, is := used[svc.Name]; is {
				s.Usage = &u
			}
			result.Services = append(result.Services, s)
		}
		result.UnlistedPorts = otherTraffic(seen, firewall.UnlistedTraffic)
		result.Spoofed = otherTraffic(seen, firewall.SpoofedTraffic)
		result.DirectWays = otherTraffic(seen, firewall.DirectTraffic)
		full, err := fullTables(ctx, r.Backend, last.InForce())
		if err != nil {
			result.Warnings = append(result.Warnings, err.Error())
		}
		result.FullTables = orEmpty(full)
	}
	result.SetAside = orEmpty(result.SetAside)
	tracking, problems := l.tracking(ctx)
	result.Tracking, result.Warnings = tracking, append(result.Warnings, problems...)
	return result, nil
}

// otherTraffic is what was counted for no service; nil if nothing counts it.
func otherTraffic(seen firewall.Observation, name string) *Traffic {
	t, counted := seen.Traffic(name)
	if !counted {
		return nil
	}
	words := trafficOf(t)
	return &words
}

// fullTables asks only where something has a rate or a log, as counting takes time.
func fullTables(
	ctx context.Context,
	b firewall.Backend,
	s firewall.State,
) (out []FullTable, err error) {
	counting, can := b.(firewall.Filling)
	if !can {
		return nil, nil
	}
	fills, err := counting.Fill(ctx, s.Rated())
	for _, t := range fills {
		if t.Full() {
			out = append(out, FullTable{t, t.Family.String()})
		}
	}
	return out, err
}

// entryInForce is a generation in force. One on trial is taken back at the time that it has by the
// clock as it is now, which may have been set since.
func (l *Local) entryInForce(g history.Record) Entry {
	e := entryOf(g)
	if now := l.Clocks(); !g.Confirmed {
		e.ConfirmBy = now.Wall.Add(g.Left(now)).UTC().Truncate(time.Second)
	}
	return e
}

// tornDown is what removed the rules; nil if nothing did.
func (l *Local) tornDown() *Entry {
	n, err := l.view().Newest()
	if err != nil || n == 0 {
		return nil
	}
	newest, err := l.view().HeadOf(n)
	if err != nil || !newest.TornDown {
		return nil
	}
	e := entryOf(newest)
	return &e
}

func serviceOf(svc firewall.Service, seen firewall.Observation, now time.Time) Service {
	t, _ := seen.Traffic(svc.Name)
	s := Service{
		Name:       svc.Name,
		Ports:      []string{},
		Interfaces: orEmpty(svc.Interfaces),
		Addresses:  svc.Addresses.Strings(),
		Sources:    svc.Sources.Len(),
		Traffic:    trafficOf(t),
	}
	for _, r := range svc.Ports {
		s.Ports = append(s.Ports, r.String())
	}
	for _, e := range svc.AllExpiring() {
		if e.Until.After(now) {
			s.Expiring++
		}
	}
	return s
}

// driftPlan is what would bring the kernel back to the last generation; with none, to nothing of
// ours.
func (l *Local) driftPlan(
	ctx context.Context,
	r *firewall.Reconciler,
	read func() (*history.Generation, error),
) (firewall.Plan, firewall.Observation, *history.Generation, error) {
	last, err := read()
	if errors.Is(err, history.ErrNone) {
		plan, seen, err := r.Plan(ctx, nil)
		return plan, seen, nil, err
	}
	if err != nil {
		return firewall.Plan{}, nil, nil, err
	}
	want := last.InForce()
	plan, seen, err := r.Plan(ctx, &want)
	return plan, seen, last, err
}

// last is the generation in force, like Store.Last. Who keeps it in memory need not read it again
// while its file stays the same.
func (l *Local) last(store *history.Store) (*history.Generation, error) {
	if l.Known != nil {
		if newest, err := store.Newest(); err == nil {
			if g := l.Known(newest); g != nil {
				if now, same := store.Unchanged(g); same {
					return now, nil
				}
			}
		}
	}
	g, err := store.Last()
	if err == nil {
		store.Remember(g)
	}
	return g, err
}

// enforces is Store.Enforces, without reading what is in memory.
func (l *Local) enforces(
	store *history.Store, state firewall.State, leased *firewall.State,
) (history.Record, bool) {
	if l.Known == nil {
		return store.Enforces(state, leased)
	}
	last, err := l.last(store)
	if err != nil || !last.State.Equal(state) || (last.Leased == nil) != (leased == nil) ||
		leased != nil && !last.Leased.Equal(*leased) {
		return history.Record{}, false
	}
	return last.Record, true
}

// lastKnown is the last generation, as it is known already or from the history.
func (l *Local) lastKnown() (*history.Generation, error) {
	if l.Known != nil {
		if newest, err := l.view().Newest(); err == nil {
			if g := l.Known(newest); g != nil {
				return g, nil
			}
		}
	}
	return l.view().Last()
}

// Drift implements Operations.
func (l *Local) Drift(ctx context.Context, q FirewallRequest) (Difference, error) {
	r, err := l.Backends(ctx, l.inForce(q.Backend), false)
	if err != nil {
		return Difference{}, err
	}
	plan, _, last, err := l.driftPlan(ctx, r, l.lastKnown)
	if err != nil {
		return Difference{}, err
	}
	d := difference(plan, nil)
	d.Applied = last != nil
	if !d.InSync {
		d.Author = l.author()
	}
	if !d.InSync && last != nil {
		side := l.past(l.view(), last, nil)
		side.State = last.InForce()
		d.Services = policydiff.Restored(side, plan.Changes)
	}
	return d, nil
}

func difference(p firewall.Plan, warnings []string) Difference {
	return Difference{
		InSync:   p.InSync(),
		Backend:  p.Backend,
		Services: []policydiff.Change{},
		Changes:  orEmpty(p.Changes),
		Warnings: warnings,
		Applied:  true,
	}
}

// Plan implements Operations.
func (l *Local) Plan(ctx context.Context, q PlanRequest) (Difference, error) {
	if q.From != nil {
		return l.planBetween(ctx, q)
	}
	if q.To != nil {
		return Difference{}, Usagef(
			"plan --to needs --from: the live kernel is compared with the policy only",
		)
	}
	if q.Policy == nil {
		return Difference{}, Usagef("plan needs a policy")
	}
	r, err := l.Backends(ctx, q.Backend, false)
	if err != nil {
		return Difference{}, err
	}
	want, warnings, err := l.withLeases(q.Policy.State)
	if err != nil {
		return Difference{}, err
	}
	p, seen, err := r.Plan(ctx, &want)
	if err != nil {
		return Difference{}, err
	}
	if what := seen.Foreign(); what != "" && !p.InSync() {
		warnings = append(warnings, what+" exists but was not written by portgrave; "+
			"apply would refuse to replace it without --force")
	}
	warnings = append(warnings, l.trackingBegins(ctx, p, seen)...)
	d := difference(p, warnings)
	held := false
	if !d.InSync {
		x := l.inWords(r, seen, p.Changes, l.before(l.lastKnown), q.Policy, want, q.All)
		d.Services, d.Restores, d.Author, d.Unknown = x.services, x.restores, x.author, x.unknown
		held = x.held
	}
	if q.Effect && d.InSync {
		d.Effect = &[]Effect{}
	} else if q.Effect {
		if d.Wanted, err = l.wantedOf(p, want, seen, held); err != nil {
			return Difference{}, err
		}
	}
	if q.Fingerprint {
		f, err := l.fingerprint(p, q.Policy.State)
		if err != nil {
			return Difference{}, err
		}
		d.Fingerprint = &f
	}
	d.Leases, _, _ = l.leases().List() // withLeases has told what can't be read
	return d, nil
}

// planBetween compares a generation with another one, or with the policy, without looking at the
// kernel.
func (l *Local) planBetween(ctx context.Context, q PlanRequest) (Difference, error) {
	store := l.view()
	from, err := l.endOf(store, *q.From)
	if err != nil {
		return Difference{}, err
	}
	var to end
	switch {
	case q.To != nil:
		if to, err = l.endOf(store, *q.To); err != nil {
			return Difference{}, err
		}
	case q.Policy == nil:
		return Difference{}, Usagef("plan needs a policy, or two generations")
	default:
		to = end{&q.Policy.State, l.inForce(""), l.wanted(q.Policy, q.Policy.State)}
	}
	from, to = from.through(q.Backend, to), to.through(q.Backend, from)
	plan, err := planFrom(ctx, from, to, l.Now())
	if err != nil {
		return Difference{}, err
	}
	d := difference(plan, nil)
	services := policydiff.Between(from.side, to.side, l.Now(), q.All)
	d.Services = policydiff.Moved(services, from.backend, to.backend)
	return d, nil
}

// end is one of two things that are compared without a look at the kernel.
type end struct {
	state   *firewall.State // nil: a host without rules of ours
	backend string          // that enforces it, "" or "auto" where that is open
	side    policydiff.Side
}

// endOf is a generation; 0 is a host without rules of ours.
func (l *Local) endOf(store *history.Store, n int) (end, error) {
	if n == 0 {
		return end{}, nil
	}
	g, err := load(store, n)
	if err != nil || g.TornDown {
		return end{}, err
	}
	want := g.InForce()
	return end{&want, g.Backend, l.past(store, g, nil)}, nil
}

// through settles the backend: the one that is asked for, its own, or that of what it is compared
// with.
func (e end) through(asked string, other end) end {
	for _, name := range []string{asked, e.backend, other.backend, "nftables"} {
		if !isAuto(name) {
			e.backend = name
			break
		}
	}
	return e
}

// planFrom words what leads from one to the other. Where the backends differ, everything goes from
// one and comes to the other.
func planFrom(ctx context.Context, from, to end, now time.Time) (firewall.Plan, error) {
	between := func(backend string, from, to *firewall.State) ([]firewall.Change, error) {
		if backend == "iptables" {
			return xt.Between(ctx, from, to, now)
		}
		return nft.Between(from, to, now), nil
	}
	plan := firewall.Plan{Backend: to.backend}
	var err error
	if from.backend == to.backend {
		plan.Changes, err = between(to.backend, from.state, to.state)
		return plan, err
	}
	gone, err := between(from.backend, from.state, nil)
	if err != nil {
		return plan, err
	}
	come, err := between(to.backend, nil, to.state)
	plan.Changes = slices.Concat(come, gone)
	return plan, err
}

// load reads a generation that somebody named.
func load(store *history.Store, n int) (*history.Generation, error) {
	g, err := store.Load(n)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf(
			"generation %d doesn't exist, or has been pruned: see portgrave history",
			n,
		)
	}
	return g, err
}

// History implements Operations.
func (l *Local) History(context.Context) (History, error) {
	all, err := l.view().List()
	if err := permission(err); err != nil {
		return History{}, err
	}
	h := History{Generations: []Entry{}}
	for i := len(all) - 1; i >= 0; i-- {
		h.Generations = append(h.Generations, entryOf(all[i]))
	}
	if err != nil {
		h.Error = err.Error()
	}
	return h, nil
}
