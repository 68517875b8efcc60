package lease

import (
	"time"

	"github.com/portgrave/portgrave/firewall/host/bootclock"
)

// Reading is what the system's clocks say at one moment.
type Reading = bootclock.Reading

// origin is what is kept beside a lease to know later whether the wall clock has been set back.
type origin struct {
	BootID string    `json:"boot_id"`
	Booted time.Time `json:"booted"`
}

func originOf(r Reading) origin { return origin{r.BootID, r.Booted().UTC().Truncate(time.Second)} }

// atClock is a lease by the wall clock as it is now. If that was set back since the lease was
// opened, in the same start of the system, its times move back as far, and what was granted for two
// hours is over after two hours. Whole minutes count, so that the small corrections of time servers
// change nothing; a lease may run that much longer. Set forward, nothing moves: the lease ends at
// the time that was promised. After a reboot nothing is left to compare with.
func (l Lease) atClock(o origin, now Reading) Lease {
	if o.BootID == "" || o.BootID != now.BootID {
		return l
	}
	if shift := now.Booted().Sub(o.Booted).Truncate(slack); shift < 0 {
		l.Opened, l.Until = l.Opened.Add(shift), l.Until.Add(shift)
	}
	return l
}
