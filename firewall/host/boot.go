package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host/history"
)

// BootRequest is what a boot falls back on if the history can't tell what to enforce.
type BootRequest struct {
	// Policy compiles the policy with what is on this host alone.
	Policy func(context.Context) (*Policy, error)
	// Outline is what can be made out of a policy that can't be compiled.
	Outline func() firewall.Outline
}

// What a boot has loaded.
const (
	LoadedGeneration = "generation" // the last confirmed one: as it should be
	LoadedPolicy     = "policy"     // compiled anew
	LoadedClosed     = "closed"     // nobody is let in
	LoadedOpen       = "open"       // nothing, since the policy says boot: open
	LoadedTornDown   = "torn-down"  // nothing, since the rules were removed, until the next apply
	LoadedNothing    = "nothing"    // there was nothing to put in force, or Error says why not
)

// Booted is what a boot has done. It is kept until the next one, for status.
type Booted struct {
	BootID  string    `json:"boot_id"`
	Time    time.Time `json:"time"`
	Seconds float64   `json:"seconds"` // that it took
	Loaded  string    `json:"loaded"`  // one of those above
	// Generation that was loaded; 0: none.
	Generation int `json:"generation"`
	// Newest is the number of the newest generation there was, readable or not; 0: none.
	Newest  int    `json:"newest"`
	Backend string `json:"backend"`
	// Fallbacks say why it was nothing better, in the order in which it was tried.
	Fallbacks []string `json:"fallbacks"`
	Warnings  []string `json:"warnings"`
	// Error: the host is unprotected, and why; "" otherwise.
	Error string `json:"error"`
}

// Boot puts in force what was last confirmed, from the state directory alone; if that can't be
// read, the policy; if that can't be used either, nobody is let in, or everybody if the policy says
// boot: open. Leases that run are in force again. What nobody has confirmed is not. After a
// teardown nothing is put in force.
//
// It is done at every start of the system, before there is a network, by a process of its own. It
// needs no writable disk. While a generation that was applied since that start waits to be
// confirmed, it does nothing but say so: an error.
func (l *Local) Boot(ctx context.Context, q BootRequest) (Booted, error) {
	clock := l.Clocks()
	if last, err := l.view().Last(); err == nil && !last.Confirmed && !last.Overdue(clock) {
		return Booted{}, fmt.Errorf(
			"generation %d waits to be confirmed: run portgrave confirm, or rollback",
			last.Number,
		)
	}
	b := boot{
		Local:  l,
		began:  l.Now(),
		report: Booted{BootID: clock.BootID, Fallbacks: []string{}, Warnings: []string{}},
	}
	store, unlock, err := l.exclusive(ctx)
	if err != nil {
		b.warn("what is done can't be recorded: %v", err)
		store, unlock = l.view(), func() {}
	}
	defer unlock()
	b.history = store
	b.report.Newest, _ = store.Newest() // load tells what can't be read
	b.floor()
	b.load(ctx, q)
	if b.reconciler != nil && b.onTrial != nil {
		if _, err := l.takeBack(ctx, b.reconciler, store); err != nil {
			b.warn(
				"the history can't be told that an unconfirmed generation was not loaded: %v",
				err,
			)
		}
	}
	b.report.Time, b.report.Seconds = l.Now().UTC(), l.Now().Sub(b.began).Seconds()
	return b.report, nil
}

// boot is a Boot under way.
type boot struct {
	*Local
	began    time.Time
	history  *history.Store
	earliest time.Time
	report   Booted
	// onTrial is the generation that nobody has confirmed before the system was started anew; nil
	// if there is none.
	onTrial *history.Generation
	// reconciler is what put something in force.
	reconciler *firewall.Reconciler
}

func (b *boot) warn(format string, args ...any) {
	b.report.Warnings = append(b.report.Warnings, fmt.Sprintf(format, args...))
}

func (b *boot) fallback(format string, args ...any) {
	b.report.Fallbacks = append(b.report.Fallbacks, fmt.Sprintf(format, args...))
}

// floor finds out what time it is at least: a host without a battery starts in the past, where what
// has expired would be allowed again.
func (b *boot) floor() {
	records, _ := b.history.List() // load tells what is damaged
	for _, r := range records {
		if r.Time.After(b.earliest) {
			b.earliest = r.Time
		}
	}
}

// now is the time as far as it can be known.
func (b *boot) now() time.Time {
	if now := b.Now(); now.After(b.earliest) {
		return now
	}
	return b.earliest
}

// load puts the best in force that can be had.
func (b *boot) load(ctx context.Context, q BootRequest) {
	last, err := b.history.LastConfirmed()
	if newest, err := b.history.Last(); err == nil && !newest.Confirmed {
		b.onTrial = newest
	}
	switch {
	case err == nil:
		if b.enforce(
			ctx,
			fmt.Sprintf("generation %d", last.Number),
			last.Backend,
			last.State,
			true,
		) {
			b.report.Loaded, b.report.Generation = LoadedGeneration, last.Number
			return
		}
	case errors.Is(err, history.ErrTornDown):
		b.report.Loaded = LoadedTornDown
		return
	case errors.Is(err, history.ErrNone) && b.onTrial != nil:
		b.fallback(
			"generation %d was not confirmed, and nothing was in force before it",
			b.onTrial.Number,
		)
		b.report.Loaded = LoadedNothing
		return
	default:
		b.fallback("%v", err)
	}
	p, err := q.Policy(ctx)
	switch {
	case err != nil:
		b.fallback("the policy can't be used: %v", err)
	case len(p.FailedTests) > 0:
		b.fallback("the policy fails %s of its own", Plural(len(p.FailedTests), "test"))
	case b.onTrial != nil && b.onTrial.State.Equal(p.State):
		b.fallback("the policy is generation %d, which was not confirmed", b.onTrial.Number)
	case b.enforce(ctx, "the policy", "auto", p.State, true):
		b.report.Loaded = LoadedPolicy
		return
	}
	b.close(ctx, q.Outline())
}

// close lets nobody in to what should have been guarded, as far as that can be made out.
func (b *boot) close(ctx context.Context, o firewall.Outline) {
	if o.Open {
		b.fallback("the policy says boot: open")
		b.report.Loaded = LoadedOpen
		return
	}
	unlisted, ports, known := o.Unlisted, o.Ports, o.Complete
	if !o.Complete {
		b.fallback("it can't be made out which ports the policy lists")
		for _, s := range b.remembered() {
			known = true
			if s.Unlisted == firewall.UnlistedDeny {
				unlisted = firewall.UnlistedDeny
			}
			for _, svc := range s.Services {
				ports = append(ports, svc.Ports...)
			}
		}
	}
	if !known {
		b.fallback("nor does the history tell; so every port is closed")
		unlisted = firewall.UnlistedDeny
	}
	state, err := firewall.Closed(unlisted, ports)
	if err == nil && b.enforce(ctx, "a closed firewall", "auto", state, false) {
		b.report.Loaded = LoadedClosed
		return
	}
	b.report.Loaded = LoadedNothing
	b.report.Error = "no rules could be put in force: this host is not protected"
	if err != nil {
		b.report.Error += ": " + err.Error()
	}
}

// remembered is the newest generation that can be read, confirmed or not: what it opens does not
// count, but the ports it names do.
func (b *boot) remembered() []firewall.State {
	records, _ := b.history.List()
	for _, r := range slices.Backward(records) {
		if g, err := b.history.Load(r.Number); err == nil && !r.TornDown {
			return []firewall.State{g.State}
		}
	}
	return nil
}

// enforce puts a State in force through the backend it is for or, failing that, the other one.
// Better there than not at all.
func (b *boot) enforce(
	ctx context.Context,
	what, backend string,
	state firewall.State,
	leases bool,
) bool {
	if leases {
		state = b.leased(state)
	}
	if isAuto(backend) {
		backend = "nftables"
	}
	other := map[string]string{"nftables": "iptables", "iptables": "nftables"}[backend]
	for _, name := range []string{backend, other} {
		r, err := b.Backends(ctx, name, false)
		if err == nil {
			at := *r
			at.Now = b.now
			// A foreign object with our name can't stay where our rules belong: only a table of
			// that name was ever confirmed.
			if _, err = at.Apply(ctx, &state, true); err == nil {
				b.report.Backend, b.reconciler = r.Backend.Name(), &at
				return true
			}
		}
		b.fallback("%s can't be put in force through %s: %v", what, name, err)
	}
	return false
}

// leased merges the leases that run. They only open, so that without them nothing is left open.
func (b *boot) leased(s firewall.State) firewall.State {
	enforced, warnings, err := b.withLeasesAt(s, b.now)
	b.report.Warnings = append(b.report.Warnings, warnings...)
	if err != nil {
		b.warn("no lease is in force: %v", err)
		return s
	}
	return enforced
}
