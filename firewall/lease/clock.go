package lease

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// Reading is what the system's clocks say at one moment: the wall clock, which people and time servers set, and how long the
// system has been running, which nobody sets.
type Reading struct {
	Wall time.Time
	// BootID tells one start of the system from another; "" if that can't be known: then the wall clock is all there is.
	BootID string
	// Uptime counts suspended time too.
	Uptime time.Duration
}

// SystemClock reads the clocks of this host (proc(5): uptime, sys/kernel/random/boot_id).
func SystemClock() Reading {
	r := Reading{Wall: time.Now()}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	uptime, uerr := os.ReadFile("/proc/uptime")
	if err != nil || uerr != nil {
		return r
	}
	seconds, _, _ := strings.Cut(string(uptime), " ")
	// In hundredths of seconds: fine enough, as nothing below a minute matters here.
	if n, err := strconv.ParseFloat(seconds, 64); err == nil {
		r.BootID, r.Uptime = strings.TrimSpace(string(id)), time.Duration(n*float64(time.Second))
	}
	return r
}

// booted is when the system started, by its wall clock as it is now: if somebody sets that clock, this moves.
func (r Reading) booted() time.Time { return r.Wall.Add(-r.Uptime) }

// origin is what is kept beside a lease to know later whether the wall clock has been set back.
type origin struct {
	BootID string    `json:"boot_id"`
	Booted time.Time `json:"booted"`
}

func originOf(r Reading) origin { return origin{r.BootID, r.booted().UTC().Truncate(time.Second)} }

// atClock is a lease by the wall clock as it is now. If that was set back since the lease was opened, in the same start of the system, its
// times move back as far, and what was granted for two hours is over after two hours. Whole minutes count, so that the
// small corrections of time servers change nothing; a lease may run that much longer. Set forward, nothing moves: the
// lease ends at the time that was promised. After a reboot nothing is left to compare with.
func (l Lease) atClock(o origin, now Reading) Lease {
	if o.BootID == "" || o.BootID != now.BootID {
		return l
	}
	if shift := now.booted().Sub(o.Booted).Truncate(slack); shift < 0 {
		l.Opened, l.Until = l.Opened.Add(shift), l.Until.Add(shift)
	}
	return l
}
