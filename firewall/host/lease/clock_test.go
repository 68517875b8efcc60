package lease

import (
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"pgregory.net/rapid"
)

func TestClock(t *testing.T) {
	at := func(boot string, wall, uptime time.Duration) Reading {
		return Reading{Wall: noon.Add(wall), BootID: boot, Uptime: 1000*time.Hour + uptime}
	}
	for name, tt := range map[string]struct {
		now     Reading
		left    time.Duration // until its end, by the clock as it is now
		running bool
	}{
		"nobody sets it":                 {at("boot-1", time.Hour, time.Hour), time.Hour, true},
		"over":                           {at("boot-1", 2*time.Hour, 2*time.Hour), 0, false},
		"a time server's step back":      {at("boot-1", time.Hour-20*time.Second, time.Hour), time.Hour + 20*time.Second, true},
		"set back":                       {at("boot-1", -5*time.Hour, time.Hour), time.Hour, true},
		"set back, and over":             {at("boot-1", -5*time.Hour, 2*time.Hour), 0, false},
		"set back to the beginning":      {at("boot-1", -490_000*time.Hour, time.Hour), time.Hour, true},
		"set forward":                    {at("boot-1", 90*time.Minute, time.Hour), 30 * time.Minute, true},
		"set forward, beyond its end":    {at("boot-1", 3*time.Hour, time.Hour), -time.Hour, false},
		"after a reboot":                 {at("boot-2", time.Hour, 0), time.Hour, true},
		"after a reboot, over":           {at("boot-2", 2*time.Hour, 0), 0, false},
		"after a reboot, set back":       {at("boot-2", -time.Hour, 0), 3 * time.Hour, false},
		"after a reboot, a little early": {at("boot-2", -time.Second, 0), 2*time.Hour + time.Second, true},
		"no boot ID":                     {at("", time.Hour, 0), time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			now := atNoon()
			s := storeAt(t, now)
			add(t, s, leaseOf("203.0.113.7/32", tcp(80, 80)))
			*now = tt.now
			leases := list(t, s)
			if len(leases) == 0 {
				if tt.left > 0 {
					t.Fatal("not listed")
				}
				return
			}
			l := leases[0]
			if left := l.Until.Sub(now.Wall); left != tt.left || l.Length() != 2*time.Hour ||
				l.Running(now.Wall) != tt.running {
				t.Errorf(
					"%v left of %v, running %v; want %v, %v",
					left,
					l.Length(),
					l.Running(now.Wall),
					tt.left,
					tt.running,
				)
			}
		})
	}
}

// TestNoClockMakesALeaseLonger: however the wall clock is set, in one start of the system a lease
// opens nothing after its length (and slack) has really passed, and an expiring source never lasts
// longer than is left of it.
func TestNoClockMakesALeaseLonger(t *testing.T) {
	policy := stateOf(t, firewall.Service{Name: "web", Ports: []firewall.PortRange{tcp(80, 80)}})
	rapid.Check(t, func(rt *rapid.T) {
		now := atNoon()
		s := At(t.TempDir())
		s.Clock = func() Reading { return *now }
		length := time.Duration(rapid.IntRange(1, 300).Draw(rt, "minutes")) * time.Minute
		l := leaseOf("203.0.113.7/32", tcp(80, 80))
		l.Until = l.Opened.Add(length)
		add(t, s, l)
		var passed time.Duration
		for range rapid.IntRange(1, 8).Draw(rt, "steps") {
			d := time.Duration(
				rapid.IntRange(0, 100_000).Draw(rt, "passes"),
			) * 100 * time.Millisecond
			pass(now, d)
			passed += d
			now.Wall = now.Wall.Add(
				time.Duration(rapid.IntRange(-20_000, 10_000).Draw(rt, "set")) * time.Second,
			)
			for _, svc := range applied(t, policy, now.Wall, list(t, s)...).Services {
				for _, e := range svc.Expiring {
					if ends := passed + e.Until.Sub(now.Wall); ends > length+slack {
						rt.Fatalf(
							"%v after opening it ends %v after opening, granted %v",
							passed,
							ends,
							length,
						)
					}
				}
			}
		}
	})
}
