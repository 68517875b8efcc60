package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/control"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/history"
	"github.com/portgrave/portgrave/policy"
	"github.com/portgrave/portgrave/systemd/notify"
)

// hangup and asked are the causes of a reading that somebody has asked for, and that systemd hears of; started is the cause of the first one.
const (
	started = "start"
	hangup  = "SIGHUP"
	asked   = "reload"
)

// reloadPatience is how long a reading waits for who still writes a file, if somebody has asked for it or nothing is in force yet. Others don't wait:
// they are repeated when the writer has finished, and other changes need not wait for him.
const reloadPatience = 15 * time.Second

// reading is a policy as it was read.
type reading struct {
	cause   string
	waiting []chan<- error // who wants to know what came of it
	p       *policy.Policy
	c       *policy.Compiled
	err     error
	writing *unfinished
}

// beginReading reads the policy beside the loop: networks may be slow, and repairs must not wait for them. If a reading is
// under way, another one follows it.
func (d *Daemon) beginReading(ctx context.Context, cause string) {
	if d.readingNow {
		if d.readAgain != hangup && d.readAgain != asked {
			d.readAgain = cause
		}
		return
	}
	d.readingNow, d.readAt = true, time.Now()
	waiting := d.waiting
	d.waiting = nil
	writing := &unfinished{}
	how := ReadOptions{Parsed: func(p *policy.Policy) { d.files.add(d.Folders(p)) }, Unfinished: writing.add}
	if cause == hangup || cause == asked || cause == started && d.inForce == nil {
		how.Patience = reloadPatience
	}
	go func() {
		d.files.add(d.Folders(nil)) // first, so that no change falls in between
		p, c, err := d.Read(ctx, how)
		select {
		case d.reads <- reading{cause, waiting, p, c, err, writing}:
		case <-ctx.Done():
		}
	}()
}

// finishReading makes a generation of a policy that says something else than what is in force. One that can't be used
// changes nothing.
func (d *Daemon) finishReading(ctx context.Context, r reading) {
	d.readingNow, d.readOnce = false, true
	if r.p != nil {
		d.policy = r.p
		err := d.scrape.serve(r.p.Daemon.Metrics, d.metrics)
		if err != nil {
			d.Log.Error(err.Error())
		}
		d.status.metrics(r.p.Daemon.Metrics, err)
	}
	d.files.watch(d.Folders(r.p))
	d.writing = r.writing
	err := r.err
	if err == nil {
		err = d.adopt(ctx, r.cause, r.p, r.c)
	}
	d.status.policyRead(d.readAt, r.p, r.c, err)
	d.refused = err != nil
	beingWritten := len(r.writing.files) > 0
	if beingWritten {
		d.Log.Info("files are still being written; until they are whole, what they held before counts", "cause", r.cause, "files", r.writing.files)
	}
	if err != nil && !(beingWritten && r.err != nil) {
		d.Log.Error("the policy can't be used; the rules in force stay", "cause", r.cause, "error", err)
	}
	d.enforce(ctx, r.cause, nil)
	if r.c != nil {
		r.c = nil
		debug.FreeOSMemory() // reading a million sources takes some times what they take afterwards
	}
	if r.cause == hangup || r.cause == asked {
		notify.Ready(d.status.line())
	} else {
		notify.Status(d.status.line())
	}
	for _, outcome := range r.waiting {
		outcome <- errors.Join(err, d.last) // each has room for one
	}
	if cause := d.readAgain; cause != "" {
		d.readAgain = ""
		d.beginReading(ctx, cause)
	}
}

func (d *Daemon) adopt(ctx context.Context, cause string, p *policy.Policy, c *policy.Compiled) error {
	for _, t := range c.RunTests(time.Now()) {
		if !t.OK {
			return fmt.Errorf("it fails its own test: from %s to %s: expected %s, got %s", t.From, t.To, t.Expect, t.Got)
		}
	}
	// A damaged history must not keep a good policy out: with it, a new generation stands before the damaged one.
	if err := d.reload(); err != nil && !errors.Is(err, history.ErrDamaged) {
		return err
	}
	if d.inForce != nil && d.inForce.State.Equal(c.State) {
		return nil
	}
	if refused, err := d.takenBack(c.State); err != nil || refused {
		return errors.Join(err, errors.New("it was taken back because nobody confirmed it: run portgrave apply to put it in force all the same"))
	}
	done, err := d.Local.Apply(ctx, control.ApplyRequest{Caller: control.Caller{User: "portgrave"}, Backend: d.Reconciler.Backend.Name(), Reason: cause,
		Policy: &control.Policy{Origin: p.Origin, State: c.State}})
	if err != nil {
		return err
	}
	d.Log.Info("policy applied", "generation", done.Generation, "cause", cause, "changes", len(done.Changes), "ended_connections", len(done.Cut))
	for _, w := range done.Warnings {
		d.Log.Warn(w)
	}
	return d.reload()
}

// takenBack reports whether a State was the last one that nobody confirmed.
func (d *Daemon) takenBack(s firewall.State) (bool, error) {
	newest, err := d.Store.Newest()
	for n := newest; err == nil && n > max(0, newest-2); n-- { // it stands right before the generation that replaced it
		var head history.Record
		if head, err = d.Store.HeadOf(n); err != nil || head.Confirmed {
			continue
		}
		var g *history.Generation
		if g, err = d.Store.Load(n); err == nil {
			return g.State.Equal(s), nil
		}
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, history.ErrDamaged) {
		err = nil
	}
	return false, err
}

// refresh fires when a network that lives elsewhere wants to be loaded again.
func (d *Daemon) refresh() <-chan time.Time {
	if d.policy == nil || d.policy.Refresh() == 0 {
		return nil
	}
	return time.After(time.Until(d.readAt.Add(d.policy.Refresh())))
}
