package usage

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/host/bootclock"
)

var start = time.Date(2027, 1, 1, 12, 0, 0, 0, time.UTC)

// at is a moment of one boot.
func at(d time.Duration) bootclock.Reading {
	return bootclock.Reading{Wall: start.Add(d), BootID: "boot", Uptime: time.Hour + d}
}

func counts(allowed, refused uint64) map[string]Counts {
	return map[string]Counts{"web": {allowed, refused}}
}

func TestRates(t *testing.T) {
	b := &Book{}
	for _, x := range []struct {
		at               time.Duration
		allowed, refused uint64
		known            bool
		since            time.Duration
		perMinute        [2]float64
	}{
		{0, 100, 5, false, 0, [2]float64{}},
		{time.Second, 101, 5, false, 0, [2]float64{}},           // too soon for a rate
		{30 * time.Second, 130, 5, true, 0, [2]float64{60, 0}},  // since the first look
		{2 * time.Minute, 220, 7, true, 0, [2]float64{60, 1}},   // the same
		{2*time.Minute + 1, 220, 7, true, 0, [2]float64{60, 1}}, // looks in a row agree
		{4 * time.Minute, 230, 7, true, 2 * time.Minute, [2]float64{5, 0}},
		{20 * time.Minute, 230, 7, true, 4 * time.Minute, [2]float64{0, 0}},
	} {
		got, known := b.Look(at(x.at), counts(x.allowed, x.refused))["web"]
		if known != x.known {
			t.Fatalf("%s: known is %v", x.at, known)
		}
		if !known {
			continue
		}
		near := func(a, b float64) bool { return a-b < .01 && b-a < .01 }
		if !near(got.AllowedPerMinute, x.perMinute[0]) ||
			!near(got.RefusedPerMinute, x.perMinute[1]) || !got.Since.Equal(start.Add(x.since)) {
			t.Errorf("%s: %+v", x.at, got)
		}
	}
	got := b.Look(at(21*time.Minute), counts(230, 8))["web"]
	if w := got.LastAllowed; w == nil || !w.After.Equal(start.Add(2*time.Minute+1)) ||
		!w.Before.Equal(start.Add(4*time.Minute)) {
		t.Errorf("last allowed %+v", w)
	}
	if w := got.LastRefused; w == nil || !w.Before.Equal(start.Add(21*time.Minute)) {
		t.Errorf("last refused %+v", w)
	}
}

// What was counted before the first look may be of any time.
func TestUnknown(t *testing.T) {
	b := &Book{}
	b.Look(at(0), counts(100, 5))
	if got := b.Look(at(time.Minute), counts(100, 5))["web"]; got.LastAllowed != nil {
		t.Errorf("last allowed %+v", got.LastAllowed)
	}
	more := counts(100, 5)
	more["new"] = Counts{3, 0}
	if got, known := b.Look(at(2*time.Minute), more)["new"]; known {
		t.Errorf("a service seen for the first time has %+v", got)
	}
}

// A service that was removed and added again counts from 0, and has no rate from before.
func TestAddedAgain(t *testing.T) {
	b := &Book{}
	both := map[string]Counts{"web": {1, 1}, "db": {1000, 1000}}
	b.Look(at(0), both)
	b.Look(at(2*time.Minute), both) // Base and Next know it
	b.Look(at(2*time.Minute+10*time.Second), counts(2, 1))
	for _, after := range []time.Duration{140 * time.Second, 4 * time.Minute} {
		again := map[string]Counts{"web": {3, 1}, "db": {1, 0}}
		if got, known := b.Look(at(after), again)["db"]; known {
			t.Fatalf("%s: %+v", after, got)
		}
	}
	if b.Look(at(9*time.Minute), map[string]Counts{"web": {3, 1}, "db": {9, 0}})["db"].
		AllowedPerMinute <= 0 {
		t.Error("the service that was added again has no rate")
	}
}

// A book that an older version kept may know of more than is counted now.
func TestNeverBelowZero(t *testing.T) {
	b := &Book{
		Base: &look{start, "boot", time.Hour, map[string]Counts{"web": {50, 50}}},
		Last: &look{start, "boot", time.Hour, map[string]Counts{}},
	}
	if got := b.Look(at(time.Minute), counts(1, 1)); len(got) != 0 {
		t.Errorf("usage %+v", got)
	}
}

// Counters that began anew, another boot, a clock that runs backwards: no rate.
func TestForgets(t *testing.T) {
	for name, x := range map[string]struct {
		now   bootclock.Reading
		is    uint64
		known bool
	}{
		"control":   {at(time.Minute), 100, true},
		"fell":      {at(time.Minute), 99, false},
		"boot":      {bootclock.Reading{Wall: start, BootID: "other", Uptime: 2 * time.Hour}, 200, false},
		"backwards": {at(-time.Minute), 200, false},
	} {
		b := &Book{}
		b.Look(at(0), counts(100, 0))
		if got, known := b.Look(x.now, counts(x.is, 0))["web"]; known != x.known {
			t.Errorf("%s: %+v, %v", name, got, known)
		}
	}
}

func TestKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "usage.json")
	b := Read(path)
	b.Look(at(0), counts(100, 0))
	if err := b.Write(path); err != nil {
		t.Fatal(err)
	}
	if got, known := Read(path).Look(at(time.Minute), counts(160, 0))["web"]; !known ||
		got.AllowedPerMinute != 60 || got.LastAllowed == nil {
		t.Errorf("%+v", got)
	}
}
