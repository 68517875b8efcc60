package daemon

import "time"

// Bounds on repairing: an administrator's script changes our rules now and then, another program that wants them otherwise does
// so whenever they are repaired. Repairing against that without pause would take the processor from both.
const (
	fightWindow  = 10 * time.Second
	fightRepairs = 20 // in a window, before pauses begin
	firstPause   = time.Second
	longestPause = time.Minute
)

// fights notices that another program keeps undoing repairs, and says how long to pause.
type fights struct {
	recent []time.Time // repairs in the window
	last   time.Time
	pause  time.Duration
}

// repaired counts a repair and returns for how long the next one must wait; 0: not at all. Pauses double until
// nobody has undone a repair for a window after one.
func (f *fights) repaired(now time.Time) time.Duration {
	if now.Sub(f.last) > f.pause+fightWindow {
		f.pause = 0
	}
	f.last = now
	kept := f.recent[:0]
	for _, t := range f.recent {
		if now.Sub(t) < fightWindow {
			kept = append(kept, t)
		}
	}
	f.recent = append(kept, now)
	if len(f.recent) <= fightRepairs && f.pause == 0 {
		return 0
	}
	f.pause = min(max(firstPause, 2*f.pause), longestPause)
	return f.pause
}
