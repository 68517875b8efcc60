package bootclock

import (
	"testing"
	"time"
)

func TestSystemClocksRun(t *testing.T) {
	a := System()
	time.Sleep(20 * time.Millisecond)
	b := System()
	if len(a.BootID) != 36 || a.BootID != b.BootID || b.Uptime-a.Uptime < 20*time.Millisecond {
		t.Errorf("read %+v, and then %+v", a, b)
	}
	if shift := b.Booted().Sub(a.Booted()); shift.Abs() > 5*time.Second {
		t.Errorf("the system started at %v, and then at %v", a.Booted(), b.Booted())
	}
}

// Setting the wall clock doesn't move a deadline until the next reboot.
func TestDeadline(t *testing.T) {
	noon := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	at := func(boot string, wall, uptime time.Duration) Reading {
		return Reading{Wall: noon.Add(wall), BootID: boot, Uptime: time.Hour + uptime}
	}
	for name, tt := range map[string]struct {
		set, now Reading
		left     time.Duration
	}{
		"clock not set":       {at("a", 0, 0), at("a", 20*time.Second, 20*time.Second), 40 * time.Second},
		"over":                {at("a", 0, 0), at("a", time.Minute, time.Minute), 0},
		"set back an hour":    {at("a", 0, 0), at("a", -time.Hour, 61*time.Second), -time.Second},
		"set forward":         {at("a", 0, 0), at("a", 9*time.Hour, 20*time.Second), 40 * time.Second},
		"after a reboot":      {at("a", 0, 0), at("b", 20*time.Second, -time.Hour), 40 * time.Second},
		"no boot ID":          {at("", 0, 0), at("", 2*time.Minute, 0), -time.Minute},
		"boot ID known later": {at("", 0, 0), at("b", 2*time.Minute, 0), -time.Minute},
	} {
		if left := tt.set.After(time.Minute).Left(tt.now); left != tt.left {
			t.Errorf("%s: %v are left, want %v", name, left, tt.left)
		}
	}
}
