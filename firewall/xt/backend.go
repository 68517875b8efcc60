package xt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/pipeline"
)

// Backend is firewall.Backend over iptables and ipset. It serves one goroutine at a time; the
// programs it runs work in the network namespace of the calling thread.
type Backend struct {
	kernel kernel
	// noSecurity holds the families whose legacy kernel turned out to have no table security.
	noSecurity map[address.Family]bool
}

var _ firewall.Backend = (*Backend)(nil)

// Variants, as a preference for New.
const (
	Legacy    = string(legacy)
	NFVariant = string(nfVariant)
)

// New finds the host's programs. preferred is the variant to use where the rules of others don't
// decide; "" is the one that the host's own command iptables speaks. The error wraps
// firewall.ErrUnsupported if the programs are not there, or only for one of the IP versions that
// the kernel speaks.
func New(ctx context.Context, preferred string) (*Backend, error) {
	p, err := detect(ctx, find)
	if err != nil {
		return nil, err
	}
	if v := variant(preferred); v != "" {
		if !p.complete(v) {
			return nil, fmt.Errorf("%w: there are no iptables programs of the %s variant",
				firewall.ErrUnsupported, v)
		}
		p.variant = v
	}
	return &Backend{kernel: p, noSecurity: map[address.Family]bool{}}, nil
}

// Name implements firewall.Backend.
func (b *Backend) Name() string { return "iptables" }

// Observe implements firewall.Backend.
func (b *Backend) Observe(ctx context.Context) (firewall.Observation, error) {
	h, err := b.kernel.host(ctx)
	if err != nil {
		return nil, err
	}
	r, err := b.kernel.read(ctx)
	if err != nil {
		return nil, err
	}
	r.nameLeases()
	// Where only one variant holds rules of others, that one is live, whatever the command
	// "iptables" points to.
	other := otherVariant(h.variant)
	if r.used[other] && !r.used[h.variant] && h.has[other] {
		h.variant = other
	}
	h.security = map[address.Family]bool{}
	for _, f := range h.families {
		h.security[f] = !b.noSecurity[f] && r.mayHaveSecurity(h.variant, f)
	}
	return observation{r, h}, nil
}

// mayHaveSecurity guesses whether the kernel has table security, without loading it: nf_tables
// always has; a legacy kernel has unless table filter refuses already and the table is not there
// behind it, which is how Apply leaves a kernel without it.
func (r *ruleset) mayHaveSecurity(v variant, f address.Family) bool {
	return v == nfVariant || r.at(tableKey{v, f, filter}).empty() ||
		!r.at(tableKey{v, f, security}).empty() ||
		r.loaded[tableKey{v, f, security}]
}

// Diff implements firewall.Backend. It is pure. A State that iptables can't enforce is an error
// that names each reason.
func (b *Backend) Diff(want *firewall.State, seen firewall.Observation,
	now time.Time) (firewall.Plan, error) {
	o, ok := seen.(observation)
	if !ok {
		return firewall.Plan{}, fmt.Errorf("xt: a %T is not an observation of this backend", seen)
	}
	plan := firewall.Plan{Backend: b.Name()}
	wanted := newRuleset()
	wanted.readAt = now
	if want == nil {
		d := compare(wanted, o.ruleset)
		plan.Changes, plan.Program = d.changes(), work{o.ruleset, steps(d, o.ruleset)}
		return plan, nil
	}
	if err := errors.Join(limitErrors(*want, o.host, now)...); err != nil {
		return firewall.Plan{}, err
	}
	use := slotsInUse(o.ruleset, want.Services)
	wanted = compile(*want, now, use, o.host)
	for k := range wanted.tables {
		if why, blocked := o.blocked[k]; blocked {
			return firewall.Plan{}, fmt.Errorf("%s can't be used: %s", k, why)
		}
	}
	d := compare(wanted, o.ruleset)
	plan.Changes = d.changes()
	// What people see is the difference in place; packets may need some sets under a new name.
	if moved := torn(d); len(moved) > 0 {
		for s := range moved {
			use[s] = !use[s]
		}
		wanted = compile(*want, now, use, o.host)
		d = compare(wanted, o.ruleset)
	}
	plan.Program = work{o.ruleset, steps(d, o.ruleset)}
	return plan, nil
}

// work is a plan as Apply needs it.
type work struct {
	before *ruleset
	steps  []step
}

// Apply implements firewall.Backend. A step that fails is answered by taking back what was done:
// whatever the kernel then holds of ours is compared with what it held before, and the difference
// applied.
func (b *Backend) Apply(ctx context.Context, plan firewall.Plan) error {
	w, ok := plan.Program.(work)
	if !ok {
		return fmt.Errorf("xt: a plan of backend %q can't be applied here", plan.Backend)
	}
	for i, s := range w.steps {
		if err := ctx.Err(); err != nil && i == 0 {
			return err
		}
		err := b.kernel.run(ctx, s)
		if err == nil {
			continue
		}
		err = fmt.Errorf("%s: %w", s.what, err)
		if s.tidy {
			return err
		}
		if err := b.takeBack(w, err); !errors.Is(err, errNotTakenBack) && s.program != nil &&
			s.table == security &&
			noKernelSupport(err) {
			b.noSecurity[s.program.family] = true
			return firewall.ErrConflict // not the kernel that the plan was made for
		}
		return err
	}
	return nil
}

var errNotTakenBack = errors.New("what was done until then could not be taken back")

// takeBackTime bounds taking back, which goes on when the caller's context has ended.
const takeBackTime = 2 * time.Minute

// takeBack returns the cause, and what went wrong besides.
func (b *Backend) takeBack(w work, cause error) error {
	ctx, stop := context.WithTimeout(context.Background(), takeBackTime)
	defer stop()
	now, err := b.kernel.read(ctx)
	if err != nil {
		return fmt.Errorf("%w; %w: %w", cause, errNotTakenBack, err)
	}
	for _, s := range steps(compare(w.before, now), now) {
		if err := b.kernel.run(ctx, s); err != nil && !s.tidy {
			return fmt.Errorf("%w; %w: %s: %w", cause, errNotTakenBack, s.what, err)
		}
	}
	return cause
}

// observation is a ruleset with what firewall.Observation asks of it.
type observation struct {
	*ruleset
	host host
}

// Present implements firewall.Observation.
func (o observation) Present() bool { return len(o.tables)+len(o.sets) > 0 }

// Foreign implements firewall.Observation. Empty chains that bear our name by accident can be taken
// over without losing anything of anybody's.
func (o observation) Foreign() string {
	marked := false
	for _, k := range keys(o.ruleset, newRuleset()) {
		t := o.tables[k]
		if t.marked {
			marked = true
			continue
		}
		for _, name := range sortedKeys(t.chains) {
			if len(t.chains[name].rules) > 0 {
				return fmt.Sprintf("chain %s of %s", name, k)
			}
		}
	}
	for _, name := range sortedKeys(o.sets) {
		if !marked && o.sets[name].kind == 0 {
			return "ipset " + name
		}
	}
	return ""
}

// Traffic implements firewall.Observation: the last rule of a service's chain of allowed packets
// counts, and the first of the refused ones. Table security lets in what another table has counted,
// and refuses what none has.
func (o observation) Traffic(service string) (firewall.Traffic, bool) {
	t := firewall.Traffic{
		Allowed: map[address.Family]firewall.Counter{},
		Refused: map[address.Family]firewall.Counter{},
	}
	counted := false
	type side = map[address.Family]firewall.Counter
	add := func(to side, k tableKey, chain string, at func([]rule) rule) {
		c := o.tables[k].chains[chain]
		if c == nil || len(c.rules) == 0 {
			return
		}
		n, more := to[k.family], at(c.rules).counter
		to[k.family] = firewall.Counter{
			Packets: n.Packets + more.Packets,
			Bytes:   n.Bytes + more.Bytes,
		}
		counted = true
	}
	first := func(rules []rule) rule { return rules[0] }
	last := func(rules []rule) rule { return rules[len(rules)-1] }
	for k := range o.tables {
		if chain, ofNobody := refusalsOfNobody[service]; ofNobody {
			add(t.Refused, k, chain, first)
			continue
		}
		if k.name != security {
			add(t.Allowed, k, allowChain(service), last)
		}
		add(t.Refused, k, refuseChain(service), first)
	}
	return t, counted
}

// refusalsOfNobody are the chains of what is refused in no service's name.
var refusalsOfNobody = map[string]string{
	firewall.UnlistedTraffic: chainName(pipeline.Named(pipeline.UnlistedRefuse), false),
	firewall.SpoofedTraffic:  chainName(pipeline.Named(pipeline.Spoofed), false),
	firewall.DirectTraffic:   chainName(pipeline.Named(pipeline.DirectRefuse), false),
}

// Notes implements firewall.Observation.
func (o observation) Notes() []string {
	notes := []string{fmt.Sprintf("written with %s", program{o.host.variant, address.IPv4})}
	if other := otherVariant(o.host.variant); o.used[other] && o.used[o.host.variant] {
		notes = append(notes, fmt.Sprintf("both iptables-nft and iptables-legacy hold rules of "+
			"others, and both are in force: a packet must pass both; portgrave writes with %s, which "+
			"the command iptables stands for", program{o.host.variant, address.IPv4}))
	}
	for _, f := range o.host.families {
		if !o.host.security[f] {
			notes = append(
				notes,
				fmt.Sprintf("%s: the kernel has no table security, so under refuse: "+
					"reject a rule that others put before ours in table filter can let a refused packet in", f),
			)
		}
	}
	return notes
}
