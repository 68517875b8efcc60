package main

import (
	"context"

	"github.com/portgrave/portgrave/cmd/portgrave/daemon"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/nft"
	"github.com/portgrave/portgrave/firewall/watch"
)

// openCommits listens to what others commit to nf_tables, if that is where our rules are, and keeps them from committing to our
// table if it can; both are nil for a backend that tells nobody of changes.
func openCommits(r *firewall.Reconciler) (daemon.Commits, func(context.Context, bool) (firewall.Protection, error), func(), error) {
	b, ok := r.Backend.(*nft.Backend)
	if !ok {
		return nil, nil, func() {}, nil
	}
	w, err := watch.New()
	if err != nil {
		return nil, nil, nil, err
	}
	heed := w.Ignore(b.PortID())
	protect := func(ctx context.Context, on bool) (firewall.Protection, error) {
		if on {
			return b.Protect(ctx)
		}
		port := b.PortID()
		err := b.Unprotect()
		if b.PortID() != port { // it has another socket now
			heed()
			heed = w.Ignore(b.PortID())
		}
		return firewall.Protection{}, err
	}
	return commits{w}, protect, func() { _ = w.Close() }, nil
}

// commits is a watch as the daemon wants it.
type commits struct{ watch *watch.Watcher }

// Next implements daemon.Commits.
func (c commits) Next(ctx context.Context) (daemon.Commit, error) {
	e, err := c.watch.Next(ctx)
	if err != nil {
		return daemon.Commit{}, err
	}
	out := daemon.Commit{At: e.At, Ours: e.Ours, Hooks: e.Hooks, Lost: e.Lost, Summary: e.Summary}
	if e.Author != (firewall.Author{}) {
		author := e.Author
		author.LoginUser = e.LoginUser
		out.Author = &author
	}
	return out, nil
}
