package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/nft"
	"github.com/portgrave/portgrave/firewall/watch"
)

// Commits reports what others commit to nf_tables. firewall/watch is the real one.
type Commits interface {
	// Next blocks until something was committed by somebody else, or ctx ends.
	Next(ctx context.Context) (Commit, error)
}

// Commit is one transaction of somebody else, or of several if notifications were lost.
type Commit struct {
	At      time.Time
	Ours    bool // it touched our table
	Hooks   bool // it added or removed a base chain of another table
	Lost    bool // notifications were lost: anything may have changed
	Summary string
	Author  *firewall.Author // nil if unknown
}

// Notifications are what the kernel tells of others' changes where our rules are.
type Notifications struct {
	Commits Commits            // nil: nothing
	Polled  bool               // some changes are told to nobody
	Protect firewall.Protector // nil: the backend can't
	Close   func()
}

// Listen listens to what others change where the rules of a backend are, and can keep
// them from that if the backend can.
func Listen(
	ctx context.Context,
	r *firewall.Reconciler,
	log *slog.Logger,
) (Notifications, error) {
	b, native := r.Backend.(*nft.Backend)
	if !native {
		return iptablesNotifications(ctx, log), nil
	}
	w, err := watch.New(watch.Portgrave)
	if err != nil {
		return Notifications{}, err
	}
	w.Ignore(b.PortID())
	b.Bulk = func() func(uint32) {
		if err := w.Pause(); err != nil {
			log.Warn(
				"the kernel is listened to while very many sources are loaded, "+
					"which takes it longer",
				"error",
				err,
			)
		}
		// if it fails, the watch ends, and with it the daemon
		return func(generation uint32) { _ = w.Resume(generation) }
	}
	return Notifications{Commits: adapter{w}, Protect: b, Close: func() { _ = w.Close() }}, nil
}

// iptablesNotifications listens wherever something can be heard: iptables-nft changes nf_tables,
// which sends notifications; legacy iptables is in the kernel's audit, if that is switched on. Of
// ipset nobody is told.
func iptablesNotifications(ctx context.Context, log *slog.Logger) Notifications {
	n := Notifications{Polled: true, Close: func() {}}
	var sources []source
	if w, err := watch.New(watch.IPTables); err == nil {
		sources = append(sources, w)
	} else {
		log.Info("changes through iptables-nft are found by polling", "reason", err)
	}
	if a, err := watch.OpenAudit(); err == nil {
		sources = append(sources, a)
	} else {
		log.Info("changes through legacy iptables are found by polling, without their author",
			"reason", err)
	}
	if len(sources) > 0 {
		n.Commits = merge(ctx, sources)
		n.Close = func() {
			for _, s := range sources {
				_ = s.Close()
			}
		}
	}
	return n
}

// source is something that tells of changes.
type source interface {
	Next(ctx context.Context) (watch.Event, error)
	Close() error
}

// adapter is a source as the loop wants it.
type adapter struct{ source source }

// Next implements Commits.
func (c adapter) Next(ctx context.Context) (Commit, error) {
	e, err := c.source.Next(ctx)
	if err != nil {
		return Commit{}, err
	}
	out := Commit{At: e.At, Ours: e.Ours, Hooks: e.Hooks, Lost: e.Lost, Summary: e.Summary}
	if e.Author != (firewall.Author{}) {
		author := e.Author
		author.LoginUser = e.LoginUser
		out.Author = &author
	}
	return out, nil
}

// merged is several sources as one.
type merged struct {
	heard  chan Commit
	failed chan error
}

func merge(ctx context.Context, sources []source) merged {
	m := merged{make(chan Commit), make(chan error, len(sources))}
	for _, s := range sources {
		go func() {
			for {
				c, err := adapter{s}.Next(ctx)
				if err != nil {
					m.failed <- fmt.Errorf("%T: %w", s, err)
					return
				}
				select {
				case m.heard <- c:
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	return m
}

// Next implements Commits.
func (m merged) Next(ctx context.Context) (Commit, error) {
	select {
	case c := <-m.heard:
		return c, nil
	case err := <-m.failed:
		return Commit{}, err
	case <-ctx.Done():
		return Commit{}, ctx.Err()
	}
}

// watchCommits passes notifications on to the loop. The author was read when the notification came.
func (d *Daemon) watchCommits(ctx context.Context) <-chan Commit {
	if d.Commits == nil {
		return nil
	}
	out := make(chan Commit, 64)
	go func() {
		defer close(out)
		for {
			c, err := d.Commits.Next(ctx)
			if err != nil {
				if ctx.Err() == nil {
					d.Log.Error("the kernel's notifications can't be read", "error", err)
				}
				return
			}
			select {
			case out <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// waiting are the commits that have come meanwhile: one look at the kernel answers them all.
func waiting(commits <-chan Commit) (more []Commit) {
	for {
		select {
		case c, open := <-commits:
			if !open {
				return more
			}
			more = append(more, c)
		default:
			return more
		}
	}
}
