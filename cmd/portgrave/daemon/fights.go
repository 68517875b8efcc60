package daemon

import (
	"fmt"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// Bounds on repairing. An administrator's script changes our rules now and then; another program
// that wants them otherwise does so whenever they are repaired. Repairing against that without a
// bound would take the processor from both, and pausing would leave the host open.
//
// So repairs have a share of one processor, a tenth: half of it for the full lists, the other half
// for what can't wait for them. While the first is used up, a small table replaces missing rules,
// at once or, when the second is used up too, after a pause. The pause is what a second allows, so
// against a program that undoes every repair at once small tables take more than their half, but no
// more than one part in forcedShare on the average; the whole stays within a quarter.
const (
	// halfShare: each half is one part in so many of one processor.
	halfShare = 20
	// fullCredit and briefCredit are the processor time that each saves up in peace: a burst of
	// changes is repaired at once.
	fullCredit  = 500 * time.Millisecond
	briefCredit = 125 * time.Millisecond
	// smallWithin is how long missing rules may wait for a share. With what writing the small table
	// takes, a second is not over.
	smallWithin = 650 * time.Millisecond
	// shortestPause is between the beginnings of two repairs for which no share is left, whatever
	// they are for: a commit, a poll, another try.
	shortestPause = 600 * time.Millisecond
	// forcedShare is what such repairs may take on the average, one part in so many of one
	// processor, and forcedCredit what they save up. Beyond that the pause grows, to longestPause
	// at most: the host is open meanwhile. Through the programs of iptables a repair costs up to
	// 0.1 s.
	forcedShare  = 5
	forcedCredit = 250 * time.Millisecond
	longestPause = 1500 * time.Millisecond

	fightWindow  = 10 * time.Second
	fightRepairs = 12 // more in a window are a fight; so are fightLate when the share is used up
	fightLate    = 5
	fightReport  = time.Minute // how often a fight that goes on is reported
)

// account is one of processor time.
type account struct {
	part   int           // one part in so many of one processor is earned
	most   time.Duration // that is saved up
	credit time.Duration // negative: overdrawn
	earned time.Time     // until when the share is in credit
}

// earn adds the share of the time that has gone by.
func (h *account) earn(now time.Time) {
	if h.earned.IsZero() {
		h.credit = h.most
	} else if gone := now.Sub(h.earned); gone > 0 {
		h.credit = min(h.most, h.credit+gone/time.Duration(h.part))
	}
	h.earned = now
}

// spent takes what a repair cost.
func (h *account) spent(now time.Time, cost time.Duration) {
	h.earn(now)
	h.credit -= cost
}

// wait is how long a repair must wait for its share; 0: not at all.
func (h *account) wait(now time.Time) time.Duration {
	h.earn(now)
	if h.credit > 0 {
		return 0
	}
	return -h.credit*time.Duration(h.part) + time.Millisecond
}

// fights keeps repairs to their share, and notices that another program keeps undoing them.
type fights struct {
	full, brief account
	forced      account   // of brief repairs, too
	began       time.Time // when the last repair did
	recent      []undone  // in the window

	now      *Fight // nil: there is none
	reported time.Time
}

func newFights() fights {
	return fights{
		full:   account{part: halfShare, most: fullCredit},
		brief:  account{part: halfShare, most: briefCredit},
		forced: account{part: forcedShare, most: forcedCredit},
	}
}

// spent takes what a repair cost.
func (f *fights) spent(now time.Time, cost time.Duration, brief bool) {
	if !brief {
		f.full.spent(now, cost)
		return
	}
	f.brief.spent(now, cost)
	f.forced.spent(now, cost)
}

// pause is how long after the beginning of the last repair the next may begin for which no share is
// left.
func (f *fights) pause(now time.Time) time.Duration {
	until := now.Add(f.forced.wait(now))
	return min(max(shortestPause, until.Sub(f.began)), longestPause)
}

// wait is how long the next repair must wait: for its share or, if that takes longer, for the
// pause.
func (f *fights) wait(now time.Time) time.Duration {
	forced := f.began.Add(f.pause(now)).Sub(now)
	return max(0, min(f.full.wait(now), f.brief.wait(now), forced))
}

// waitAgain is wait after an attempt that failed. The first time only the average counts: most
// often the other program was halfway through, such as between the two families.
func (f *fights) waitAgain(now time.Time, first bool) time.Duration {
	wait := f.wait(now)
	if first {
		wait = min(wait, f.forced.wait(now))
	}
	return wait
}

// undone is one repair: when it was done, and how long rules had been missing.
type undone struct {
	at      time.Time
	missing time.Duration
}

// Fight is another program undoing the rules again and again.
type Fight struct {
	Since   time.Time        `json:"since"`
	Until   time.Time        `json:"until,omitzero"` // zero: it goes on
	Author  *firewall.Author `json:"author"`         // of what was repaired last; null if unknown
	Repairs int              `json:"repairs"`
	// MissingSeconds is how long rules were missing meanwhile, and MissingShare which part of the
	// time that was. What is found by polling counts from when the rules were last seen.
	MissingSeconds float64 `json:"missing_seconds"`
	MissingShare   float64 `json:"missing_share"`

	missing time.Duration
}

func (f Fight) String() string {
	return fmt.Sprintf(
		"%d repairs in %s, and rules were missing %.1f %% of the time",
		f.Repairs,
		f.length(time.Now()).Round(time.Second),
		100*f.MissingShare,
	)
}

func (f Fight) length(now time.Time) time.Duration {
	if !f.Until.IsZero() {
		now = f.Until
	}
	return now.Sub(f.Since)
}

// repaired counts a repair, and reports whether it is the one by which a fight shows.
func (f *fights) repaired(now time.Time, missing time.Duration, by *firewall.Author) (began bool) {
	kept := f.recent[:0]
	for _, r := range f.recent {
		if now.Sub(r.at) < fightWindow {
			kept = append(kept, r)
		}
	}
	f.recent = append(kept, undone{now, missing})
	late := f.full.wait(now) > 0
	if f.now == nil && (len(f.recent) > fightRepairs || late && len(f.recent) > fightLate) {
		f.now = &Fight{Since: f.recent[0].at.Add(-f.recent[0].missing).UTC()}
		for _, r := range f.recent[:len(f.recent)-1] {
			f.now.Repairs++
			f.now.missing += r.missing
		}
		f.reported, began = now, true
	}
	if f.now != nil {
		f.now.Repairs++
		f.now.missing += missing
		f.now.Author = by
		f.now.measure(now)
	}
	return began
}

func (f *Fight) measure(now time.Time) {
	f.MissingSeconds = f.missing.Seconds()
	if length := f.length(now); length > 0 {
		f.MissingShare = min(1, f.missing.Seconds()/length.Seconds())
	}
}

// next is when to look whether a fight is over, or to report that it goes on; zero: there is none.
func (f *fights) next() time.Time {
	if f.now == nil {
		return time.Time{}
	}
	end := f.recent[len(f.recent)-1].at.Add(fightWindow)
	if again := f.reported.Add(fightReport); again.Before(end) {
		return again
	}
	return end
}

// look returns the fight as it is at a moment, and forgets it if it is over: nobody has undone a
// repair for a window.
func (f *fights) look(now time.Time) (x Fight, over bool) {
	last := f.recent[len(f.recent)-1].at
	if over = now.Sub(last) >= fightWindow; over {
		f.now.Until = last.UTC()
	}
	f.now.measure(now)
	x = *f.now
	if f.reported = now; over {
		f.now = nil
	}
	return x, over
}

// processorTime is what the daemon has used until now, or the calling thread alone, with the
// programs that it ran.
func processorTime(who int) time.Duration {
	var sum time.Duration
	for _, who := range []int{who, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil {
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return sum
}

// reportFight tells of a fight.
func (d *Daemon) reportFight(what string, f Fight) {
	d.record(
		Event{
			At:      time.Now(),
			Kind:    "fight",
			Author:  f.Author,
			Summary: what + " (" + f.String() + ")",
		},
	)
	d.Log.Error(
		what,
		"repairs",
		f.Repairs,
		"rules_missing_seconds",
		f.MissingSeconds,
		"rules_missing_share",
		f.MissingShare,
		"author",
		f.Author.String(),
	)
}

// fightDue fires when a fight may be over, or is to be reported again.
func (d *Daemon) fightDue() <-chan time.Time {
	if at := d.fights.next(); !at.IsZero() {
		return time.After(time.Until(at))
	}
	return nil
}

// lookAtFight reports how a fight goes on.
func (d *Daemon) lookAtFight() {
	f, over := d.fights.look(time.Now())
	d.status.fight(f)
	if over {
		d.reportFight("the other program has not undone the rules any more", f)
	} else {
		d.reportFight("another program still keeps undoing the rules: stop that program", f)
	}
}
