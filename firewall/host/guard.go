package host

import (
	"errors"
	"io/fs"
	"time"

	"github.com/portgrave/portgrave/firewall/host/bootclock"
	"github.com/portgrave/portgrave/firewall/host/history"
	"golang.org/x/sys/unix"
)

// Guard waits beside an unconfirmed generation, detached from the command that applied it, and
// takes it back when its time is up. Two of them run and look after each other, so that neither the
// end of the session nor killing one of them keeps a generation in force that nobody has confirmed.
type Guard struct {
	History *history.Store
	// TakeBack is that of Operations, wherever these are done now.
	TakeBack func() (done bool, err error)
	// Partner starts another guard that looks after this one, and returns a pidfd of it.
	Partner func() (pidfd int, err error)
	Say     func(format string, args ...any)
}

// guardPause is how often a guard looks whether its generation was confirmed.
const guardPause = time.Second

// Run returns when the generation is confirmed, or another one is in force. partner is a pidfd of
// the other guard; below 0 there is none yet.
func (g Guard) Run(generation, partner int) error {
	head, err := g.History.HeadOf(generation)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // something else is in force by now
	}
	unreadable := err != nil // what can't be read can't be confirmed either
	for {
		if waits, err := g.History.Waits(generation); err == nil && !waits {
			return nil
		}
		if partner < 0 {
			if partner, err = g.Partner(); err != nil {
				g.Say("nobody looks after the guard of generation %d: %v", generation, err)
			}
		}
		if unreadable || head.Overdue(bootclock.System()) {
			done, err := g.TakeBack()
			if err == nil && done {
				g.Say("generation %d was not confirmed in time and has been taken back", generation)
			}
			if err != nil {
				g.Say("generation %d was not confirmed in time and can't be taken back yet: %v",
					generation, err)
			}
		}
		partner = awaitPartner(partner)
	}
}

// awaitPartner waits a moment, and returns −1 at once when the partner dies.
func awaitPartner(partner int) int {
	if partner < 0 {
		time.Sleep(guardPause)
		return partner
	}
	fds := []unix.PollFd{{Fd: int32(partner), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, int(guardPause.Milliseconds())); err == nil && n > 0 {
		_ = unix.Close(partner)
		return -1
	}
	return partner
}

// AwaitTrial waits until the generation on trial, if there is one, is confirmed, and takes it back
// when its time is up.
func AwaitTrial(applied *history.Store, takeBack func() (done bool, err error)) error {
	for {
		g, err := applied.Head()
		if err != nil || g.Confirmed { // nothing is in force, or that for good
			return nil
		}
		now := bootclock.System()
		if g.Overdue(now) {
			if _, err := takeBack(); err != nil {
				return err
			}
		}
		time.Sleep(max(guardPause/10, min(g.Left(now), guardPause)))
	}
}

// Overdue is the generation in force, if it should have been confirmed by now.
func Overdue(applied *history.Store) (g history.Record, is bool) {
	g, err := applied.Head()
	return g, err == nil && g.Overdue(bootclock.System())
}
