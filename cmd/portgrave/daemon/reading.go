package daemon

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/policy"
	"github.com/portgrave/portgrave/systemd/notify"
)

// hangup and asked are the causes of a reading that somebody has asked for, and that systemd hears
// of; started is the cause of the first one.
const (
	started = "start"
	hangup  = "SIGHUP"
	asked   = "reload"
)

// reading is a policy as it was read.
type reading struct {
	cause   string
	waiting []chan<- error // who wants to know what came of it
	found
	writing *unfinished
	// kept is the policy that was in force when the reading began, with its networks as they are
	// now; nil if that is unknown, or does not matter.
	kept     *found
	keptName string
	// number is the generation that was in force when the reading began.
	number int
}

// found is what a policy was found to say.
type found struct {
	p   *policy.Policy
	c   *policy.Compiled
	err error
}

// text is what it was read from.
func (f *found) text() []byte {
	if f == nil || f.p == nil {
		return nil
	}
	return f.p.Text()
}

// byCommand reports whether somebody has asked for a reading, and so for the policy as it is now.
func byCommand(cause string) bool { return cause == hangup || cause == asked }

// beginReading reads the policy beside the loop: networks may be slow, and repairs must not wait
// for them. If a reading is under way, another one follows it.
func (d *Daemon) beginReading(ctx context.Context, cause string) {
	if d.readingNow {
		if !byCommand(d.readAgain) {
			d.readAgain = cause
		}
		return
	}
	d.readingNow, d.readAt = true, time.Now()
	r := reading{cause: cause, waiting: d.waiting, number: d.number()}
	d.waiting = nil
	r.writing = &unfinished{}
	how := ReadOptions{
		Parsed:     func(p *policy.Policy) { d.files.add(d.Folders(p)) },
		Unfinished: r.writing.add,
	}
	// Other readings don't wait for who still writes a file: they are repeated when the writer has
	// finished, and other changes need not wait for it.
	if cause == hangup || cause == asked || cause == started && d.inForce == nil {
		how.Patience = policy.WriterPatience
	}
	if !byCommand(cause) {
		r.keptName = d.policyName()
	}
	go func() {
		d.files.add(d.Folders(nil)) // first, so that no change falls in between
		r.p, r.c, r.err = d.Read(ctx, how)
		r.kept = d.readKept(ctx, r.keptName, r.found, how)
		select {
		case d.reads <- r:
		case <-ctx.Done():
		}
	}()
}

// readKept is the policy in force, by the name of its text. It is not read again if the one on disk
// says the same.
func (d *Daemon) readKept(ctx context.Context, name string, onDisk found, how ReadOptions) *found {
	if name == "" || d.ReadText == nil {
		return nil
	}
	if text := onDisk.text(); text != nil && history.PolicyName(text) == name {
		return &onDisk
	}
	text, err := d.Store.Policy(name)
	if err != nil {
		d.Log.Warn(
			"networks can't be followed: it is unknown what the policy in force said",
			"error",
			err,
		)
		return nil
	}
	var k found
	k.p, k.c, k.err = d.ReadText(ctx, text, how)
	return &k
}

// finishReading makes a generation of what is to be followed and says something else than what is
// in force. What can't be used changes nothing.
func (d *Daemon) finishReading(ctx context.Context, r reading) {
	d.readingNow, d.readOnce = false, true
	now, waits, err := d.follow(ctx, r)
	d.onDisk, d.onDiskName = r.p, history.PolicyName(r.text())
	if now.p != nil {
		d.hold(now.p, waits)
	}
	d.writing = r.writing
	d.files.watch(append(d.Folders(r.p), d.Folders(d.policy)...))
	d.status.policyRead(d.readAt, r.p, now.c, err)
	d.refused = err != nil
	if host.NotRecorded(err) {
		d.readingAgain.since(firstReading, err)
	} else {
		d.readingAgain = retry{}
	}
	beingWritten := len(r.writing.files) > 0
	if beingWritten {
		d.Log.Info(
			"files are still being written; until they are whole, what they held before counts",
			"cause",
			r.cause,
			"files",
			r.writing.files,
		)
	}
	if err != nil && !(beingWritten && r.err != nil) {
		d.Log.Error(
			"the policy can't be used; the rules in force stay",
			"cause",
			r.cause,
			"error",
			err,
		)
	}
	d.enforce(ctx, r.cause, nil)
	if r.c != nil || r.kept != nil {
		r.found, r.kept, now = found{}, nil, found{}
		debug.FreeOSMemory() // reading a million sources takes some times what they take afterwards
	}
	if byCommand(r.cause) {
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

// hold has the settings of a policy hold, which is in force.
func (d *Daemon) hold(p *policy.Policy, waits bool) {
	d.policy = p
	err := d.scrape.serve(p.Daemon.Metrics, d.metrics)
	if err != nil {
		d.Log.Error(err.Error())
	}
	d.status.metrics(p.Daemon.Metrics, err)
	d.status.followed(waits, p.Daemon.Follow)
}

// holdApplied has the settings hold of a policy that an operation has put in force, and watches the
// files of its networks. What those hold was compiled by the process that asked for the operation;
// reading a million sources again would tell nothing new.
func (d *Daemon) holdApplied() {
	name := d.policyName()
	if d.onDisk != nil && d.onDiskName == name {
		d.hold(d.onDisk, false)
		return
	}
	if name == "" {
		return // it came without a text
	}
	text, err := d.Store.Policy(name)
	var p *policy.Policy
	if err == nil {
		p, err = policy.ReadText(text)
	}
	if err != nil {
		d.Log.Warn("the settings of the policy in force are not known", "error", err)
		return
	}
	d.hold(p, true)
	d.files.watch(append(d.Folders(d.onDisk), d.Folders(p)...))
}

// policyName is the name of the policy in force; "" if it is unknown.
func (d *Daemon) policyName() string {
	if d.inForce == nil {
		return ""
	}
	return d.inForce.Policy
}

// errTornDown refuses a reload after a teardown.
var errTornDown = fmt.Errorf(
	"%w: run portgrave apply to put the policy in force again",
	history.ErrTornDown,
)

// follow puts in force what was read, as far as it is to be followed, and returns the policy that
// is in force then, whether the one on disk waits for somebody to apply it, and why the one on disk
// can't be used.
//
//	on disk               (*)      follow: networks       follow: none
//	as in force           applied  networks applied       waits
//	edited, but no rule   applied  its settings hold      its settings hold
//	edited                applied  waits, networks apply  waits
//
//	(*) nothing is in force yet, somebody asked for it, or follow: all
//
// Nothing is followed after a teardown, while a generation is on trial, and while the one in force
// can't be read but its rules stand. With follow: all, what
// was not edited since something else was put in force, as by a rollback, waits as well. Lists that
// are set aside wait until their content changes.
func (d *Daemon) follow(ctx context.Context, r reading) (now found, waits bool, err error) {
	// A damaged history must not keep a good policy out: with it, a new generation stands before
	// the damaged one. But nobody has asked for what is on disk while rules are in force.
	damage := d.reload()
	if damage != nil && !errors.Is(damage, history.ErrDamaged) {
		return r.found, false, damage
	}
	switch {
	case damage != nil && d.inForce == nil && !byCommand(r.cause) && d.rulesStand(ctx):
		return r.found, r.err == nil, r.err
	case d.tornDown && byCommand(r.cause):
		return r.found, true, cmp.Or(r.err, errTornDown)
	case d.tornDown:
		return r.found, r.err == nil, r.err
	case d.onTrial() && !byCommand(r.cause):
		d.postponed = true
		return r.found, false, r.err
	case !byCommand(r.cause) && d.overtaken(r):
		d.readAgain = cmp.Or(d.readAgain, r.cause)
		return found{}, false, nil
	}
	sameText := r.p != nil && r.kept != nil && bytes.Equal(r.text(), r.kept.text())
	if d.inForce != nil && !byCommand(r.cause) {
		d.releaseLists(ctx, r.kept)
	}
	switch {
	case d.inForce == nil || byCommand(r.cause) ||
		d.followsAll(r) && !d.left(r) && r.err == nil && !(sameText && len(d.inForce.SetAside) > 0):
		if r.err != nil {
			return r.found, false, r.err
		}
		if err := d.adopt(ctx, r.cause, r.p, r.c, true); err != nil {
			return r.found, false, err
		}
		d.considered = history.PolicyName(r.text())
		return r.found, false, nil
	case r.err == nil && d.holds(r.c.State):
		d.same(ctx, r.p)
		d.considered = history.PolicyName(r.text())
		return r.found, false, nil
	}
	if r.kept == nil || r.kept.p == nil { // it is unknown what to follow
		return r.found, r.err == nil, r.err
	}
	now = d.asFollowed(*r.kept)
	waits = r.err == nil && (!sameText || len(d.inForce.SetAside) > 0)
	if now.p.Daemon.Follow == policy.FollowNone {
		return now, r.err == nil, r.err
	}
	err = now.err
	if err == nil {
		err = d.adopt(ctx, r.cause, now.p, now.c, false)
	}
	return now, waits, cmp.Or(r.err, err)
}

// rulesStand reports whether there are rules of ours in the kernel, or none on purpose, though the
// generation that they belong to can't be read. The policy on disk is better than no rules, and
// better than what the boot fell back on because it could not read that generation either.
func (d *Daemon) rulesStand(ctx context.Context) bool {
	if _, err := d.Store.Head(); errors.Is(err, history.ErrTornDown) {
		return true
	}
	if newest, err := d.Store.Newest(); err == nil && host.FellBackFrom(d.RunDir, newest) {
		return false
	}
	seen, err := d.Reconciler.Backend.Observe(ctx)
	return err != nil || seen.Present()
}

// overtaken reports whether an operation was faster than a reading, so that it does not tell what
// is to be followed.
func (d *Daemon) overtaken(r reading) bool {
	return r.keptName != d.policyName() ||
		d.inForce != nil && len(d.inForce.SetAside) > 0 && r.number != d.number()
}

// onTrial reports whether the generation in force waits to be confirmed.
func (d *Daemon) onTrial() bool { return d.inForce != nil && !d.inForce.Confirmed }

// followsAll reports whether an edited policy is put in force by itself. The policy in force
// decides; where that is unknown, the one on disk.
func (d *Daemon) followsAll(r reading) bool {
	decides := r.p
	if r.kept != nil && r.kept.p != nil {
		decides = r.kept.p
	}
	return decides != nil && decides.Daemon.Follow == policy.FollowAll
}

// left reports whether the policy on disk was considered before, and something else is in force
// since, or a rollback went back from it, which a daemon that was started since can't know
// otherwise.
func (d *Daemon) left(r reading) bool {
	name := history.PolicyName(r.text())
	return r.p != nil && name != d.policyName() &&
		(name == d.considered || d.inForce != nil && name == d.inForce.LeftPolicy)
}

// same notes that the policy on disk means what is in force: its networks are followed from now on.
func (d *Daemon) same(ctx context.Context, p *policy.Policy) {
	name, err := d.Local.SamePolicy(ctx, d.inForce.Number, d.inForce.Policy, p.Text())
	if err != nil {
		d.Log.Warn("which policy is in force can't be recorded", "error", err)
		return
	}
	d.inForce.Policy = name
}

// policyChanged reports whether somebody has recorded another policy for the generation in force.
func (d *Daemon) policyChanged() bool {
	if d.inForce == nil {
		return false
	}
	head, err := d.Store.HeadOf(d.inForce.Number)
	if err != nil || head.Policy == d.inForce.Policy {
		return false
	}
	d.inForce.Policy = head.Policy
	return true
}

// errNeverConfirmed refuses a policy that a trial has ended with.
var errNeverConfirmed = errors.New("it was taken back because nobody confirmed it: " +
	"run portgrave apply to put it in force all the same")

// adopt makes a generation of a policy. own: it is the one on disk, which may be what nobody has
// confirmed.
func (d *Daemon) adopt(
	ctx context.Context,
	cause string,
	p *policy.Policy,
	c *policy.Compiled,
	own bool,
) error {
	if failed := c.FailedTests(time.Now()); len(failed) > 0 {
		t := failed[0]
		return fmt.Errorf(
			"it fails its own test: from %s to %s: expected %s, got %s",
			t.From,
			t.To,
			t.Expect,
			t.Got,
		)
	}
	if d.holds(c.State) {
		if byCommand(cause) && len(d.inForce.SetAside) > 0 {
			d.setAside(ctx, nil)
		}
		d.same(ctx, p)
		return nil
	}
	if own {
		name := history.PolicyName(p.Text())
		if refused, err := d.Store.NeverConfirmed(name, c.State); err != nil || refused {
			return errors.Join(err, errNeverConfirmed)
		}
	}
	var aside map[string]string
	var left string
	if !own {
		aside, left = d.inForce.SetAside, d.inForce.LeftPolicy
	}
	done, err := d.Local.Apply(
		ctx,
		host.ApplyRequest{
			Caller:      host.Caller{User: "portgrave"},
			Backend:     d.Reconciler.Backend.Name(),
			Reason:      cause,
			HostChanged: cause == servicesChanged,
			SetAside:    aside,
			LeftPolicy:  left,
			Policy: &host.Policy{
				Origin: p.Origin,
				Text:   p.Text(),
				State:  c.State,
				Lists:  c.Lists,
			},
		},
	)
	if err != nil {
		return err
	}
	d.Log.Info(
		"policy applied",
		"generation",
		done.Generation,
		"cause",
		cause,
		"changes",
		len(done.Changes),
		"ended_connections",
		len(done.Cut),
	)
	for _, w := range done.Warnings {
		d.Log.Warn(w)
	}
	return d.reload()
}

// refresh fires when a network that lives elsewhere wants to be loaded again.
func (d *Daemon) refresh() <-chan time.Time {
	if d.policy == nil || d.policy.Refresh() == 0 {
		return nil
	}
	return time.After(time.Until(d.readAt.Add(d.policy.Refresh())))
}
