package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// watchClock tells when somebody sets the wall clock. The kernel ends a source after a span of
// time, counted by a clock that nobody sets; what the policy says is a time of day. A host that
// starts in the past, for want of a battery, or that was suspended, would go on letting in whom it
// should not let in any more.
//
// A timer that can't be had is no reason to end: the next resync finds what has expired.
func watchClock(ctx context.Context, log *slog.Logger) <-chan struct{} {
	set := make(chan struct{}, 1)
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		log.Warn("settings of the clock are not heard of", "error", err)
		return nil
	}
	timer := os.NewFile(uintptr(fd), "timerfd")
	context.AfterFunc(ctx, func() { _ = timer.Close() })
	go func() {
		buffer := make([]byte, 8)
		for {
			// timerfd_create(2): a timer far off, of which all that matters is that it is cancelled
			// when the clock is set.
			farOff := unix.ItimerSpec{
				Value: unix.NsecToTimespec(time.Now().AddDate(1, 0, 0).UnixNano()),
			}
			const flags = unix.TFD_TIMER_ABSTIME | unix.TFD_TIMER_CANCEL_ON_SET
			err := unix.TimerfdSettime(fd, flags, &farOff, nil)
			if err != nil && !errors.Is(err, unix.ECANCELED) {
				return
			}
			if _, err := timer.Read(buffer); err != nil && !errors.Is(err, unix.ECANCELED) {
				return
			}
			select {
			case set <- struct{}{}:
			default: // the loop has yet to answer the one before
			}
		}
	}()
	return set
}
