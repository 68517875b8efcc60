package daemon

import (
	"context"
	"time"
)

// Causes of looking at the kernel without a notification.
const (
	polling   = "poll"
	resyncing = "resync"
)

// authorTimeout bounds how long a repair waits for the notification of what it undid. The kernel's
// audit of legacy iptables comes last, 100 ms after the change.
const authorTimeout = 250 * time.Millisecond

// heardSince returns the notification of the change that a look at the kernel found and undid
// before the notification was read, or nil if none comes: ipset sends none. It ends as soon as it
// hears of a later change, which is to be undone. All that is heard here is answered afterwards,
// since more may have changed. In a fight the author is known, and nothing waits.
func (d *Daemon) heardSince(ctx context.Context, repaired time.Time) *Commit {
	if d.commits == nil || d.fights.now != nil {
		return nil
	}
	timeout := time.NewTimer(authorTimeout)
	defer timeout.Stop()
	for {
		select {
		case c, open := <-d.commits:
			if !open { // the loop finds out too, and ends
				return nil
			}
			d.early = append(d.early, c)
			switch {
			case !c.Ours && !c.Lost:
			case c.At.Before(repaired):
				return &c
			default:
				return nil
			}
		case <-timeout.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}
