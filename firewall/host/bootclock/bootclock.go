// Package bootclock reads the two clocks that deadlines run on: the wall clock, which people and
// time servers set, and the boot clock, which nobody sets.
//
// Within one start of the system the boot clock decides when a deadline has passed. A reboot begins
// it anew, so afterwards only the wall clock can tell.
package bootclock

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Reading is what both clocks say at one moment.
type Reading struct {
	Wall time.Time
	// BootID tells one start of the system from another; "" if it can't be known: then the wall
	// clock is all there is.
	BootID string
	// Uptime is the boot clock. It counts suspended time too.
	Uptime time.Duration
}

// System reads the clocks of this host: clock_gettime(2), and proc(5) for the boot ID.
func System() Reading {
	r := Reading{Wall: time.Now()}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	var uptime unix.Timespec
	if err != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &uptime) != nil {
		return r
	}
	r.BootID, r.Uptime = strings.TrimSpace(string(id)), time.Duration(uptime.Nano())
	return r
}

// Booted is when the system started, by its wall clock as it is now: setting that clock moves it.
func (r Reading) Booted() time.Time { return r.Wall.Add(-r.Uptime) }

// Deadline is a moment by both clocks, as it was set in one start of the system.
type Deadline struct {
	Wall   time.Time
	BootID string
	Uptime time.Duration
}

// After is the deadline some time after a reading.
func (r Reading) After(wait time.Duration) Deadline {
	return Deadline{Wall: r.Wall.Add(wait), BootID: r.BootID, Uptime: r.Uptime + wait}
}

// Left is how long a deadline is away; zero or less once it has passed. In the start of the system
// in which it was set, the boot clock alone decides; in another one, the wall clock.
func (d Deadline) Left(now Reading) time.Duration {
	if d.BootID != "" && d.BootID == now.BootID && d.Uptime > 0 {
		return d.Uptime - now.Uptime
	}
	return d.Wall.Sub(now.Wall)
}
