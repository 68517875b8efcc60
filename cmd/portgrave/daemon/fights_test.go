package daemon

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var midnight = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

// TestFights: an administrator's script is no fight, a program that answers each repair is, and
// peace ends it.
func TestFights(t *testing.T) {
	f := newFights()
	now := midnight
	for i := range fightRepairs {
		now = now.Add(10 * time.Millisecond)
		f.full.spent(now, 5*time.Millisecond)
		if f.repaired(now, time.Millisecond, nil) || f.full.wait(now) != 0 {
			t.Fatalf("repair %d is a fight, or the next one waits %s", i+1, f.full.wait(now))
		}
	}
	if !f.next().IsZero() {
		t.Error("there is something to look at")
	}
	now = now.Add(80 * time.Millisecond)
	if !f.repaired(now, 80*time.Millisecond, nil) {
		t.Fatal("one more is no fight")
	}
	if f.repaired(now, 0, nil) {
		t.Error("it began twice")
	}
	if got := f.now.MissingSeconds; got != 0.092 {
		t.Errorf("rules were missing for %v s", got)
	}
	if s := f.now.MissingShare; s < 0.4 || s > 0.5 {
		t.Errorf("which is a share of %v", s)
	}
	for range 13 {
		if next := f.next(); next != now.Add(fightWindow) && next != f.reported.Add(fightReport) {
			t.Fatalf("it is looked at %s", next)
		}
		now = now.Add(fightWindow / 2)
		f.repaired(now, 0, nil)
	}
	if x, over := f.look(now); over || x.Repairs != fightRepairs+15 {
		t.Errorf("it is over (%v) after %+v", over, x)
	}
	end := f.next()
	x, over := f.look(end)
	if !over || x.Until != now || f.now != nil || !f.next().IsZero() {
		t.Errorf("it is over (%v): %+v", over, x)
	}
	if f.repaired(end.Add(time.Second), 0, nil) {
		t.Error("after peace one change is a fight")
	}
}

// TestLateRepairsAreAFight: few repairs that use up their share are one, too.
func TestLateRepairsAreAFight(t *testing.T) {
	f := newFights()
	for i := range fightLate + 1 {
		now := midnight.Add(time.Duration(i) * time.Second)
		f.full.spent(now, time.Second)
		if began := f.repaired(now, 0, nil); began != (i == fightLate) {
			t.Errorf("repair %d begins a fight: %v", i+1, began)
		}
	}
}

// TestShare: whatever repairs cost, those that wait for their share don't get more of it.
func TestShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := account{part: halfShare, most: fullCredit}
		now, used := midnight, time.Duration(0)
		for range rapid.IntRange(1, 50).Draw(t, "repairs") {
			now = now.Add(
				time.Duration(rapid.IntRange(0, 3000).Draw(t, "pause")) * time.Millisecond,
			)
			now = now.Add(f.wait(now))
			if f.wait(now) != 0 {
				t.Fatal("it waits once more")
			}
			if limit := fullCredit + now.Sub(midnight)/halfShare; used > limit {
				t.Fatalf("%s used after %s", used, now.Sub(midnight))
			}
			cost := time.Duration(rapid.IntRange(0, 2000).Draw(t, "cost")) * time.Millisecond
			used += cost
			f.spent(now, cost)
		}
	})
}

// TestPauseBetweenRepairs: without a share a repair waits for the pause since the one before, which
// grows, within bounds, once such repairs have taken more than may be forced.
func TestPauseBetweenRepairs(t *testing.T) {
	now := time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)
	for cost, want := range map[time.Duration]time.Duration{
		briefCredit:                          shortestPause,
		forcedCredit:                         shortestPause,
		forcedCredit + 150*time.Millisecond:  150*forcedShare*time.Millisecond + time.Millisecond,
		forcedCredit + 1000*time.Millisecond: longestPause,
	} {
		f := newFights()
		f.began = now
		if wait := f.wait(now); wait != 0 {
			t.Errorf("with a share a repair waits %s", wait)
		}
		f.spent(now, time.Minute, false)
		f.spent(now, cost, true)
		f.brief.spent(now, time.Minute)
		if wait := f.wait(now); wait != want {
			t.Errorf("after repairs that cost %s the next waits %s, want %s", cost, wait, want)
		}
		first := f.waitAgain(now, true)
		if first > want || cost <= forcedCredit && first > time.Millisecond {
			t.Errorf(
				"after a first failure, and repairs that cost %s, the next waits %s",
				cost,
				first,
			)
		}
		if again := f.waitAgain(now, false); again != want {
			t.Errorf("after more failures the next waits %s, want %s", again, want)
		}
		if wait := f.wait(now.Add(time.Minute)); wait != 0 {
			t.Errorf("after the pause a repair waits %s", wait)
		}
	}
}
