package main

import (
	"context"
	"log/slog"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/nft"
)

// backends opens backends for operations in this process, and closes them at the end.
type backends struct {
	log    *slog.Logger
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

// lookAhead prepares for a comparison with the kernel, unless a daemon makes it.
func (inv *invocation) lookAhead() {
	if inv.opened != nil {
		inv.opened.lookAhead(inv.ctx, inv.backend)
	}
}

// lookAhead opens a backend that will be asked for, and reads the kernel's rules while the policy is read: both take time if there are very many sources.
// nftables remembers what it has read as long as nobody changes it; iptables does not, so nothing is read of it. A failure shows when the
// backend is asked for.
func (b *backends) lookAhead(ctx context.Context, name string) {
	a := &ahead{name: name, done: make(chan struct{})}
	b.ahead = a
	go func() {
		defer close(a.done)
		r, closeAll, err := openReconciler(ctx, name, false, b.log)
		if err != nil {
			return
		}
		a.reconciler, a.close = r, closeAll
		if _, native := r.Backend.(*nft.Backend); native {
			_, _ = r.Backend.Observe(ctx)
		}
	}()
}

func (b *backends) open(ctx context.Context, name string, thorough bool) (*firewall.Reconciler, error) {
	if r := b.taken(name); r != nil && !thorough {
		return r, nil
	}
	r, closeAll, err := openReconciler(ctx, name, thorough, b.log)
	if err == nil {
		b.closes = append(b.closes, closeAll)
	}
	return r, err
}

// taken is what was opened ahead, for the first who asks for it; nil if nothing was.
func (b *backends) taken(name string) *firewall.Reconciler {
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

func (b *backends) close() {
	b.taken("")
	for _, f := range b.closes {
		f()
	}
}
