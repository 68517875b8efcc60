package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/portgrave/portgrave/policy"
	"github.com/portgrave/portgrave/systemd/notify"
)

// resyncEvery is how often everything is compared although nothing told of a change.
const resyncEvery = 10 * time.Minute

// loop is the daemon. Each case does one thing to its end; nothing waits for a client.
func (d *Daemon) loop(ctx context.Context) error {
	d.commits = d.watchCommits(ctx)
	var err error
	if d.files, err = watchFiles(ctx, d.Log); err != nil {
		return err
	}
	reload, stopSignals := reloadSignal()
	defer stopSignals()
	watchdog := notify.Watchdog()
	clock := watchClock(ctx, d.Log)
	defer watchdog.Stop()
	resync := time.NewTicker(resyncEvery)
	defer resync.Stop()
	poll := time.NewTicker(policy.DefaultPoll)
	defer poll.Stop()

	virtual := d.watchVirtual(ctx)

	d.enforce(ctx, "start", nil)
	d.endLeases(ctx)
	d.beginReading(ctx, started)
	if d.inForce == nil { // nothing to enforce yet: not ready before there is
		select {
		case r := <-d.reads:
			d.finishReading(ctx, r)
		case <-ctx.Done():
			return nil
		}
	}
	d.lookAtUsage(ctx)
	notify.Ready(d.status.line())
	d.Log.Info("ready", "backend", d.Reconciler.Backend.Name(), "generation", d.number())
	for {
		if errors.Is(d.last, ErrOtherBackend) {
			return d.last
		}
		if d.postponed && !d.onTrial() {
			d.postponed = false
			d.beginReading(ctx, "a trial has ended")
		}
		d.checkVirtual(ctx)
		if early := d.early; len(early) > 0 {
			d.early = nil
			d.committed(ctx, early)
		}
		if !d.Polled {
			poll.Stop()
		} else if every := d.pollEvery(); every != d.polling {
			d.polling = every
			poll.Reset(every)
		}
		select {
		case <-ctx.Done():
			notify.Stopping()
			if d.inForce == nil {
				d.Log.Info("ending; there are no rules")
			} else {
				d.Log.Info("ending; the rules stay in force")
			}
			return nil
		case c, open := <-d.commits:
			if !open && ctx.Err() != nil {
				continue // the end has come, by the other way
			}
			if !open {
				return errors.New("the kernel's notifications have ended")
			}
			d.committed(ctx, append([]Commit{c}, waiting(d.commits)...))
		case <-d.files.changed:
			d.beginReading(ctx, "the policy's files changed")
		case list, open := <-virtual:
			if !open { // the end has come
				virtual = nil
				continue
			}
			d.virtual, d.virtualKnown, d.virtualIn, d.virtualAgain = list, true, 0, time.Time{}
		case <-d.virtualDue(): // checkVirtual looks again
		case <-d.writing.due():
			d.writing = nil
			d.beginReading(ctx, "files should be whole by now")
		case <-d.readingAgain.due(0):
			d.readingAgain.at = time.Time{}
			d.beginReading(ctx, "the history could not be written before")
		case <-d.refresh():
			d.beginReading(ctx, "networks are due")
		case <-reload:
			notify.Reloading()
			d.beginReading(ctx, hangup)
		case outcome := <-d.reloads:
			notify.Reloading()
			d.waiting = append(d.waiting, outcome)
			d.beginReading(ctx, asked)
		case r := <-d.reads:
			d.finishReading(ctx, r)
		case <-d.dueBack():
			d.enforce(ctx, "a generation was not confirmed", d.owed)
		case <-d.repairDue():
			d.repairOwed(ctx)
		case <-d.fightDue():
			d.lookAtFight()
		case <-d.again.due(d.fights.waitAgain(time.Now(), d.again.first())):
			d.enforceWithin(ctx, "another try", d.unanswered)
		case <-resync.C:
			d.enforce(ctx, resyncing, d.owed)
			d.lookAtUsage(ctx)
			// What was refused may fit by now: there may be room on the disk again.
			if d.refused || d.writing != nil && len(d.writing.files) > 0 {
				d.beginReading(ctx, "resync")
			}
		case <-clock:
			d.enforce(ctx, "the clock was set", d.owed)
			d.endLeases(ctx)
		case <-poll.C:
			d.pollOwed = true
		case <-d.pollDue():
			d.enforceWithin(ctx, polling, d.owed)
		case f := <-d.requests:
			// A repair comes first, however many ask.
			if first := waiting(d.commits); len(first) > 0 {
				d.committed(ctx, first)
			}
			f(context.WithoutCancel(ctx))
		case <-d.leases.over():
			d.endLeases(ctx)
		case <-watchdog.C:
			notify.Alive()
		}
	}
}

// pollEvery is how often a backend without notifications is looked at: more often while somebody
// changes the rules there.
func (d *Daemon) pollEvery() time.Duration {
	if !d.lastRepair.IsZero() && time.Since(d.lastRepair) < fightWindow {
		return shortestPause
	}
	if d.policy != nil && d.policy.Daemon.Poll > 0 {
		return d.policy.Daemon.Poll
	}
	return policy.DefaultPoll
}

// pollDue fires when the kernel is to be looked at, and what is found may be repaired.
func (d *Daemon) pollDue() <-chan time.Time {
	if !d.pollOwed {
		return nil
	}
	return time.After(d.fights.wait(time.Now()))
}

// dueBack fires when the generation in force must have been confirmed.
func (d *Daemon) dueBack() <-chan time.Time {
	if d.inForce == nil || d.inForce.Confirmed {
		return nil
	}
	// Not again and again where that fails.
	return time.After(
		max(time.Until(d.triedBack.Add(time.Second)), d.inForce.Left(d.Local.Clocks())),
	)
}
