package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/connections"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/firewall/nft"
	"github.com/portgrave/portgrave/firewall/xt"
)

// BackendInForce is the backend that auto means to who keeps, or asks about, what was applied: the
// one it was applied with.
func BackendInForce(applied *history.Store, name string) string {
	if !isAuto(name) {
		return name
	}
	if last, err := applied.Head(); err == nil && last.Backend != "" {
		return last.Backend
	}
	return "auto"
}

func isAuto(backend string) bool { return backend == "" || backend == "auto" }

// checkBackend refuses what is not a backend: a request over the socket may say anything.
func checkBackend(name string) error {
	if isAuto(name) || name == "nftables" || name == "iptables" {
		return nil
	}
	return Usagef("%q is not a backend: write auto, nftables or iptables", name)
}

// Backends opens backends for a Local, as its field Backends has it, and closes them at the end.
type Backends struct {
	Log    *slog.Logger // hears the reconcilers' complaints
	closes []func()
	ahead  *ahead
}

// ahead is a backend that is being opened, and the kernel's rules read through it.
type ahead struct {
	name string
	done chan struct{}
	// What comes of it, once done is closed.
	reconciler *firewall.Reconciler
	close      func()
}

// LookAhead opens a backend that will be asked for, and reads the kernel's rules while the caller
// reads the policy: both take time if there are very many sources. nftables remembers what it has
// read as long as nobody changes it; iptables does not, so nothing is read of it. A failure shows
// when the backend is asked for.
func (b *Backends) LookAhead(ctx context.Context, name string) {
	a := &ahead{name: name, done: make(chan struct{})}
	b.ahead = a
	go func() {
		defer close(a.done)
		r, closeAll, err := OpenReconciler(ctx, name, false, b.Log)
		if err != nil {
			return
		}
		a.reconciler, a.close = r, closeAll
		if _, native := r.Backend.(*nft.Backend); native {
			_, _ = r.Backend.Observe(ctx)
		}
	}()
}

// Open is a Local's Backends.
func (b *Backends) Open(
	ctx context.Context,
	name string,
	thorough bool,
) (*firewall.Reconciler, error) {
	if r := b.taken(name); r != nil && !thorough {
		return r, nil
	}
	r, closeAll, err := OpenReconciler(ctx, name, thorough, b.Log)
	if err == nil {
		b.closes = append(b.closes, closeAll)
	}
	return r, err
}

// taken is what was opened ahead, for the first who asks for it; nil if nothing was.
func (b *Backends) taken(name string) *firewall.Reconciler {
	a := b.ahead
	if a == nil {
		return nil
	}
	b.ahead = nil
	<-a.done
	if a.reconciler == nil {
		return nil
	}
	b.closes = append(b.closes, a.close)
	if a.name != name {
		return nil
	}
	return a.reconciler
}

// Close closes what was opened.
func (b *Backends) Close() {
	b.taken("")
	for _, f := range b.closes {
		f()
	}
}

// ResolveBackend is the backend that a name stands for on this kernel. The error says why nftables
// can't be used, if it is not for the kernel's sake.
func ResolveBackend(name string) (string, error) {
	if !isAuto(name) {
		return name, checkBackend(name)
	}
	err := nft.Available()
	if errors.Is(err, firewall.ErrUnsupported) {
		return "iptables", nil
	}
	return "nftables", err
}

// OpenReconciler opens a backend with all that a Reconciler needs; it complains to log.
func OpenReconciler(
	ctx context.Context,
	name string,
	thorough bool,
	log *slog.Logger,
) (*firewall.Reconciler, func(), error) {
	b, others, closeAll, err := openBackend(ctx, name, thorough)
	if err != nil {
		return nil, nil, err
	}
	running, err := connections.New()
	if err != nil {
		closeAll()
		return nil, nil, err
	}
	return &firewall.Reconciler{
		Backend:     b,
		Others:      others,
		Connections: running,
		Now:         time.Now,
		Log:         log,
	}, closeAll, nil
}

// openBackend opens the backend that --backend names, and the others in which something of ours may
// stand from before; thorough: those that work here, whether or not it is likely.
func openBackend(
	ctx context.Context,
	name string,
	thorough bool,
) (b firewall.Backend, others []firewall.Backend, closeAll func(), err error) {
	if err := checkBackend(name); err != nil {
		return nil, nil, nil, err
	}
	native, nftErr := nft.New()
	closeAll = func() {
		if native != nil {
			_ = native.Close()
		}
	}
	if name == "nftables" ||
		isAuto(name) && !errors.Is(nftErr, firewall.ErrUnsupported) {
		if nftErr != nil {
			return nil, nil, nil, nftErr
		}
		// Reading iptables takes a handful of processes, so it is done only where something of ours
		// may be.
		if traces, err := xt.Traces(); err != nil || !traces && !thorough {
			return native, nil, closeAll, err
		}
		if x, err := xt.New(ctx, ""); err == nil {
			others = append(others, x)
		} else if !errors.Is(err, firewall.ErrUnsupported) {
			closeAll()
			return nil, nil, nil, err
		}
		return native, others, closeAll, nil
	}
	x, err := xt.New(ctx, "")
	if err != nil {
		closeAll()
		if isAuto(name) {
			err = fmt.Errorf("neither backend works here: nftables: %w; iptables: %w", nftErr, err)
		}
		return nil, nil, nil, err
	}
	if nftErr == nil {
		others = append(others, native)
	}
	return x, others, closeAll, nil
}

// BackendsBeside opens backends for a daemon whose own is r: its own as it stands, since the rules
// may be that socket's alone; another one only to move the rules to it.
func BackendsBeside(
	r *firewall.Reconciler,
	log *slog.Logger,
) func(context.Context, string, bool) (*firewall.Reconciler, error) {
	return func(ctx context.Context, name string, thorough bool) (*firewall.Reconciler, error) {
		resolved, err := ResolveBackend(name)
		if err != nil {
			return nil, err
		}
		own := resolved == r.Backend.Name()
		if own && !thorough {
			return r, nil
		}
		other, closeAll, err := OpenReconciler(ctx, name, thorough, log)
		if err != nil {
			return nil, err
		}
		if own {
			defer closeAll()
			both := *r
			both.Others = other.Others
			return &both, nil
		}
		// What it opened besides stays open: the daemon ends when the rules have moved.
		other.Others = []firewall.Backend{r.Backend}
		return other, nil
	}
}
