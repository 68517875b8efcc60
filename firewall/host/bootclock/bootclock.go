// Package bootclock reads the two clocks that deadlines use: the wall clock, which people and time
// servers can set, and the boot clock, which can't be set.
//
// Until the next reboot the boot clock decides when a deadline has passed. A reboot resets the boot
// clock, so the wall clock decides afterwards.
package bootclock

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Reading is the time on both clocks.
type Reading struct {
	Wall time.Time
	// BootID identifies the boot; "" if it is unknown, and then only the wall clock counts.
	BootID string
	// Uptime is the boot clock, which includes suspended time.
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

// Booted returns when the system started. The result moves when the wall clock is set.
func (r Reading) Booted() time.Time { return r.Wall.Add(-r.Uptime) }

// Deadline is a moment on both clocks. BootID identifies the boot in which it was set.
type Deadline struct {
	Wall   time.Time
	BootID string
	Uptime time.Duration
}

// After returns the deadline wait after r.
func (r Reading) After(wait time.Duration) Deadline {
	return Deadline{Wall: r.Wall.Add(wait), BootID: r.BootID, Uptime: r.Uptime + wait}
}

// Left returns how long until the deadline; zero or less once it has passed. In the boot that set
// the deadline it uses the boot clock, otherwise the wall clock.
func (d Deadline) Left(now Reading) time.Duration {
	if d.BootID != "" && d.BootID == now.BootID && d.Uptime > 0 {
		return d.Uptime - now.Uptime
	}
	return d.Wall.Sub(now.Wall)
}
