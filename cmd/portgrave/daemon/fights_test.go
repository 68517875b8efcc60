package daemon

import (
	"testing"
	"time"
)

func TestFights(t *testing.T) {
	var f fights
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	// An administrator's script: a burst of changes, each repaired at once.
	for i := range fightRepairs {
		if p := f.repaired(now.Add(time.Duration(i) * 10 * time.Millisecond)); p != 0 {
			t.Fatalf("repair %d waits %s", i+1, p)
		}
	}
	// A program that answers each repair: pauses double, up to a limit.
	at := now.Add(time.Second)
	want := firstPause
	for range 10 {
		p := f.repaired(at)
		if p != want {
			t.Fatalf("pause %s, want %s", p, want)
		}
		at = at.Add(p) // undone again the moment the pause is over
		want = min(2*want, longestPause)
	}
	// Peace, and then one change: repaired at once.
	if p := f.repaired(at.Add(longestPause + fightWindow + time.Second)); p != 0 {
		t.Fatalf("after peace a repair waits %s", p)
	}
}
