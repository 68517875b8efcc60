package daemon

import (
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// notify tells systemd (sd_notify(3)); without one it does nothing.
func notify(state string) { _, _ = daemon.SdNotify(false, state) }

// reloading is what Type=notify-reload wants to hear: when, by the monotonic clock.
func reloading() string {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", t.Nano()/1000)
}

// newWatchdog ticks twice as often as systemd wants to hear that the loop is alive; never, if it does not want to.
func newWatchdog() *time.Ticker {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every == 0 {
		t := time.NewTicker(time.Hour)
		t.Stop()
		return t
	}
	return time.NewTicker(every / 2)
}
