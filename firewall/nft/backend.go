package nft

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Backend is firewall.Backend over nf_tables. It serves one goroutine at a time and stays in the
// network namespace that it was opened in.
type Backend struct {
	kernel kernel
	close  func() error
	portID uint32
	// flags is what the tables that we make get: none, unless Protect was asked for.
	flags uint32
	// canPersist: the kernel knows owned tables that outlive their owner.
	canPersist bool
	now        func() time.Time
	limits     limits
	memory

	// Bulk, unless nil, is called before a plan of very many elements is applied. What it returns
	// is called afterwards with the generation that the last transaction made, 0 if one failed. It
	// is for who listens to nf_tables, which makes such a plan several times slower (package
	// watch).
	Bulk func() (done func(generation uint32))
}

// counterObject is NFT_OBJECT_COUNTER.
const counterObject = unix.NFT_OBJECT_COUNTER

var _ firewall.Backend = (*Backend)(nil)

// New opens nf_tables of the current network namespace. The error wraps firewall.ErrPermission
// without CAP_NET_ADMIN and firewall.ErrUnsupported on a kernel without nf_tables.
func New() (*Backend, error) {
	k, err := openKernel()
	if err != nil {
		return nil, err
	}
	s := k.socket
	port, err := s.Port()
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return &Backend{
		kernel:     k,
		close:      s.Close,
		portID:     port,
		canPersist: k.canPersist(),
		now:        time.Now,
	}, nil
}

// Available is the error that New would return.
func Available() error {
	k, err := openKernel()
	if err != nil {
		return err
	}
	return k.socket.Close()
}

// openKernel opens a socket that nf_tables answers on.
func openKernel() (*netlinkKernel, error) {
	s, err := openSocket()
	if err != nil {
		return nil, netlink.Unsupported("nf_tables", err)
	}
	k := &netlinkKernel{
		Ruleset: s.Ruleset(context.Background()),
		socket:  s,
		now:     time.Now,
		sleep:   time.Sleep,
	}
	if _, err := k.Generation(); err != nil {
		return nil, errors.Join(netlink.Unsupported("nf_tables", err), s.Close())
	}
	return k, nil
}

// Close closes the netlink socket. The rules stay.
func (b *Backend) Close() error { return b.close() }

// Name implements firewall.Backend.
func (b *Backend) Name() string { return "nftables" }

// Observe implements firewall.Backend.
func (b *Backend) Observe(ctx context.Context) (firewall.Observation, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r, err := b.look()
	if err != nil {
		return nil, fmt.Errorf("table inet %s: %w", tableName, err)
	}
	return observation{r}, nil
}

// Counters implements firewall.Counting.
func (b *Backend) Counters(ctx context.Context) (func(string) (firewall.Traffic, bool), error) {
	r, err := b.settled(ctx, b.kernel.counters)
	if err != nil {
		return nil, err
	}
	return observation{r}.Traffic, nil
}

// settled is what read returns of one generation.
func (b *Backend) settled(
	ctx context.Context, read func() (*ruleset, error),
) (r *ruleset, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	_, err = netlink.OneGeneration(b.kernel, readAttempts, func(uint32) (err error) {
		r, err = read()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("table inet %s: %w", tableName, err)
	}
	return r, nil
}

// PortID is the netlink port of the backend's commits, which tells them from those of others.
func (b *Backend) PortID() uint32 { return b.portID }

// Diff implements firewall.Backend. It is pure.
func (b *Backend) Diff(want *firewall.State, seen firewall.Observation,
	now time.Time) (firewall.Plan, error) {
	o, ok := seen.(observation)
	if !ok {
		return firewall.Plan{}, fmt.Errorf("nft: a %T is not an observation of this backend", seen)
	}
	plan := firewall.Plan{Backend: b.Name()}
	if want == nil {
		d := compare(newRuleset(), o.ruleset)
		p := assemble(d, newRuleset(), o.ruleset)
		p.leftover = o.leftover.removal()
		plan.Changes, plan.Program = d.changes(newRuleset(), o.ruleset), p
		return plan, nil
	}
	use := layoutInUse(o.ruleset, want.Services)
	use.limits = b.limits
	wanted := b.compile(*want, now, use)
	d := compare(wanted, o.ruleset)
	plan.Changes = d.changes(wanted, o.ruleset)
	// What people see is the difference in place; the kernel may need some sets under a new name.
	moved, full := torn(d), outgrown(d, wanted, o.ruleset, use)
	if len(moved)+len(full) > 0 && !d.rebuild {
		for service := range moved {
			use.second[service] = !use.second[service]
		}
		for _, p := range full {
			use.parts[p] = placement{wanted.large[p].at.form, !use.parts[p].second}
		}
		wanted = b.compile(*want, now, use)
		d = compare(wanted, o.ruleset)
	}
	p := steps(d, wanted, o.ruleset)
	p.leftover = o.leftover.removal()
	plan.Program = p
	return plan, nil
}

func (b *Backend) compile(want firewall.State, now time.Time, use layout) *ruleset {
	r := b.memory.compile(want, now, use)
	r.flags = b.flags
	return r
}

// Between words the difference between two States, from which nothing is read or written; nil is a
// host without rules of ours. It is pure.
func Between(from, to *firewall.State, now time.Time) []firewall.Change {
	have, want := newRuleset(), newRuleset()
	if from != nil {
		have = compile(*from, now, layout{})
	}
	if to != nil {
		want = compile(*to, now, layoutInUse(have, to.Services))
	}
	return compare(want, have).changes(want, have)
}

// Apply implements firewall.Backend.
func (b *Backend) Apply(ctx context.Context, plan firewall.Plan) error {
	p, ok := plan.Program.(program)
	if !ok {
		return fmt.Errorf("nft: a plan of backend %q can't be applied here", plan.Backend)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	seen := b.seen
	b.forget()
	t := transactions{kernel: b.kernel, program: p, generation: p.base}
	done := func(uint32) {}
	if b.Bulk != nil && p.elements() >= bulkThreshold {
		done = b.Bulk()
	}
	if err := t.run(); err != nil {
		done(0)
		return err
	}
	done(t.generation)
	b.expect(p, seen, t.generation)
	return nil
}

// bulkThreshold is the plan size above which pausing the listener pays off: each element costs it
// some 10 µs.
const bulkThreshold = 10_000

// observation is a ruleset with what firewall.Observation asks of it.
type observation struct{ *ruleset }

// Present implements firewall.Observation.
func (o observation) Present() bool { return o.present || o.leftover != nil }

// Foreign implements firewall.Observation. An empty table that bears our name by accident can be
// taken over without losing anything of anybody's.
func (o observation) Foreign() string {
	if !o.present || o.mark == tableMark ||
		len(o.chains)+len(o.sets)+len(o.counters)+len(o.foreignObjects) == 0 {
		return ""
	}
	return "table inet " + tableName
}

// Traffic implements firewall.Observation.
func (o observation) Traffic(service string) (firewall.Traffic, bool) {
	chain, ofNobody := map[string]string{
		firewall.UnlistedTraffic: unlistedChain,
		firewall.SpoofedTraffic:  spoofedChain,
		firewall.DirectTraffic:   directChain,
	}[service]
	if !ofNobody {
		chain = serviceChain(service)
	}
	t := firewall.Traffic{
		Allowed: map[address.Family]firewall.Counter{},
		Refused: map[address.Family]firewall.Counter{},
	}
	found := false
	for _, f := range address.Families {
		if c, ok := o.counters[counterName(chain, "allowed", f)]; ok {
			t.Allowed[f], found = c, true
		}
		if c, ok := o.counters[counterName(chain, "refused", f)]; ok {
			t.Refused[f], found = c, true
		}
	}
	return t, found
}

// Notes implements firewall.Observation.
func (o observation) Notes() []string {
	if o.flags&(tablePersist|tableOwner) != tablePersist {
		return nil
	}
	return []string{
		"table inet " + tableName + " has the flag persist and no owner: nft before 1.1 can't print " +
			"it so that it loads again; the daemon makes it anew if its policy lets it, and so do " +
			"portgrave teardown and apply",
	}
}
