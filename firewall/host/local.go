package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/connections"
	"github.com/portgrave/portgrave/firewall/host/bootclock"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/firewall/host/lease"
	"github.com/portgrave/portgrave/firewall/host/usage"
	"github.com/portgrave/portgrave/firewall/policydiff"
)

// Local does the operations in this process.
//
// Goals: one run at a time changes the rules; what is done is recorded, and what can't be recorded
// is not done; a failure leaves the rules of before; nothing that nobody confirms stays.
//
// One goroutine uses it at a time. Writing operations hold the lock of the state directory, which
// keeps other processes out.
type Local struct {
	StateDir string
	// Backends opens a backend by name ("auto", "nftables", "iptables"), with the others in which
	// something of ours may stand from before; thorough: wherever they work. Whoever gives it
	// closes what it opened.
	Backends func(ctx context.Context, name string, thorough bool) (*firewall.Reconciler, error)
	// MaxLease is the policy's bound on leases.
	MaxLease func() (time.Duration, error)
	// StartGuard starts what takes a generation back unless it is confirmed, and outlives this
	// process.
	StartGuard func(generation int) error
	// Lists has digests of what the networks of a policy hold now, by its text (Policy.Lists), as
	// far as they can be read at once; nil where nobody reads them.
	Lists func(ctx context.Context, text []byte) map[string]string
	// Written reads how a policy's text writes its services; lists is what networks hold that are
	// loaded from elsewhere, as far as it is known. nil, as what it may return: then services are
	// told in prefixes.
	Written func(text []byte, lists map[string]address.Set) *policydiff.Written
	// Author is who bent the rules and was not undone yet, if that is known; nil where nobody
	// watches.
	Author func() *firewall.Author
	// Known is a generation if it need not be read from the history, because who keeps it in force
	// knows it; nil where nobody does.
	Known func(generation int) *history.Generation
	// Mend writes anew what is damaged in the history and in the memory of who keeps it; nil where
	// nobody does.
	Mend func(*history.Store)
	// Recorded receives the generation that is in force from now on, so that it need not be read;
	// nil where nobody keeps it.
	Recorded func(history.Generation)
	// Tracking looks at the kernel's connection tracking, and Untracked names the rules that end
	// it; nil where nobody asks.
	Tracking  func(context.Context) (connections.Tracking, error)
	Untracked func(context.Context) ([]string, error)
	Now       func() time.Time
	// Clock is what deadlines run on; nil is the system's, with Now for its wall clock.
	Clock func() bootclock.Reading
	// digested is the policy's digest of the generation that Firewall was last asked about.
	digested digested
	// named is how the policy that Firewall was last asked about writes its services.
	named namedPolicy
	// UsageFile keeps what the counters were at earlier looks; "" keeps them in memory.
	UsageFile string
	book      *usage.Book
	// LockWait is how long an operation waits for another process to finish.
	LockWait time.Duration
}

var _ Operations = (*Local)(nil)

// store opens the history for writing.
func (l *Local) store() (*history.Store, error) { return history.Open(l.StateDir) }

// view opens the history for reading.
func (l *Local) view() *history.Store { return history.View(l.StateDir) }

// append records a generation under the next number, which it gets.
func (l *Local) append(store *history.Store, g history.Generation) (history.Generation, error) {
	g, err := appendTo(store, g)
	if err == nil {
		l.tell(g)
	}
	return g, err
}

// Clocks reads the clocks that deadlines run on.
func (l *Local) Clocks() bootclock.Reading {
	if l.Clock != nil {
		return l.Clock()
	}
	r := bootclock.System()
	r.Wall = l.Now()
	return r
}

// keepPolicy keeps the text of a policy and returns its name for the history; "" if it has none.
func (l *Local) keepPolicy(store *history.Store, p *Policy) (string, error) {
	if len(p.Text) == 0 {
		return "", nil
	}
	return store.KeepPolicy(p.Text)
}

// samePolicy records that a generation is what the policy of that name means, too: it changes no
// rule, but from now on that policy's networks are followed, but for those that stay set aside.
func (l *Local) samePolicy(
	store *history.Store,
	g history.Record,
	q ApplyRequest,
	name string,
) (history.Record, error) {
	if !maps.Equal(g.SetAside, q.SetAside) {
		g.SetAside = q.SetAside
		if err := store.SetAside(g.Number, g.SetAside); err != nil {
			return g, err
		}
	}
	if name == "" || name == g.Policy {
		return g, nil
	}
	g.Policy = name
	return g, store.SetPolicy(g.Number, name)
}

// SamePolicy keeps the text of a policy that means what a generation is, whose policy had a name
// before, and returns the name of the text.
func (l *Local) SamePolicy(
	ctx context.Context,
	generation int,
	before string,
	text []byte,
) (string, error) {
	if name := history.PolicyName(text); name == before {
		return name, nil
	}
	store, unlock, err := l.exclusive(ctx)
	if err != nil {
		return before, err
	}
	defer unlock()
	name, err := store.KeepPolicy(text)
	if err != nil {
		return before, err
	}
	return name, store.SetPolicy(generation, name)
}

// SetAside records what is left of what a generation has set aside.
func (l *Local) SetAside(ctx context.Context, generation int, left map[string]string) error {
	store, unlock, err := l.exclusive(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return store.SetAside(generation, left)
}

// through is a reconciler for the backend of an earlier generation; r if that is its own.
func (l *Local) through(
	ctx context.Context,
	r *firewall.Reconciler,
	backend string,
) (*firewall.Reconciler, error) {
	if backend == "" || backend == r.Backend.Name() {
		return r, nil
	}
	return l.Backends(ctx, backend, true)
}

func (l *Local) leases() *lease.Store { return lease.At(l.StateDir) }

// exclusive opens the history and keeps other processes out until unlock is called.
func (l *Local) exclusive(ctx context.Context) (store *history.Store, unlock func(), err error) {
	if store, err = l.store(); err != nil {
		return nil, nil, err
	}
	unlock, err = store.Lock(ctx, l.LockWait)
	if err == nil && l.Known != nil {
		if newest, err := store.Newest(); err == nil {
			store.Remember(l.Known(newest))
		}
	}
	if err == nil && l.Mend != nil {
		l.Mend(store)
	}
	return store, unlock, err
}

// begin opens what an operation needs that changes the rules, and keeps other processes out until
// unlock is called. It fails before the kernel is touched if what will be done could not be
// recorded.
func (l *Local) begin(
	ctx context.Context,
	backend string,
	thorough bool,
) (r *firewall.Reconciler, store *history.Store, unlock func(), err error) {
	if r, err = l.Backends(ctx, backend, thorough); err != nil {
		return nil, nil, nil, err
	}
	store, unlock, err = l.exclusive(ctx)
	return r, store, unlock, err
}

func (l *Local) inForce(backend string) string { return BackendInForce(l.view(), backend) }

// withLeases merges the leases that run into the State of a policy: what is to be enforced. If it
// is unknown which leases there are, nothing may be enforced as if there were none.
func (l *Local) withLeases(
	s firewall.State,
) (enforced firewall.State, warnings []string, err error) {
	return l.withLeasesAt(s, nil)
}

// withLeasesAt is withLeases by another clock than the system's; nil is that one.
func (l *Local) withLeasesAt(
	s firewall.State,
	now func() time.Time,
) (enforced firewall.State, warnings []string, err error) {
	store := l.leases()
	if now != nil {
		system := store.Clock
		store.Clock = func() lease.Reading {
			r := system()
			r.Wall = now()
			return r
		}
	}
	running, damaged, err := store.List()
	if perr := permission(err); perr != nil {
		return s, nil, perr
	}
	if err != nil {
		return s, nil, err
	}
	for _, d := range damaged {
		warnings = append(warnings, d.Error())
	}
	for _, x := range running {
		if err := lease.Check(s, x); err != nil {
			warnings = append(warnings, fmt.Sprintf("lease %s opens nothing on %v", x.ID, err))
		}
	}
	enforced, err = lease.Apply(s, running, store.Clock().Wall)
	return enforced, warnings, err
}

// permission is an error about files that only root may read, as one that tells what to do; nil if
// it is another one.
func permission(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %w", firewall.ErrPermission, err)
	}
	return nil
}

// enforcing is a generation g with the policy of another one, enforced with the leases of now.
func enforcing(g, policy history.Generation, enforced firewall.State) history.Generation {
	g.Origin, g.Policy, g.State = policy.Origin, policy.Policy, policy.State
	g.Lists, g.SetAside, g.LeftPolicy = policy.Lists, policy.SetAside, policy.LeftPolicy
	g.Leased = leased(policy.State, enforced)
	return g
}

// compiledFrom is a generation g with the policy of a request, whose text is kept under a name.
func compiledFrom(
	g history.Generation, q ApplyRequest, text string, leased *firewall.State,
) history.Generation {
	g.Origin, g.Policy, g.State, g.Leased = q.Policy.Origin, text, q.Policy.State, leased
	g.Lists, g.SetAside, g.LeftPolicy = q.Policy.Lists, q.SetAside, q.LeftPolicy
	return g
}

// leased is what a generation keeps of the State that was enforced: nothing, if leases changed
// nothing.
func leased(policy, enforced firewall.State) *firewall.State {
	if enforced.Equal(policy) {
		return nil
	}
	return &enforced
}
