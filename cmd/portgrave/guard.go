package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/syslog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/portgrave/portgrave/firewall/host/bootclock"
	"golang.org/x/sys/unix"
)

// guard waits beside an unconfirmed generation, detached from whoever applied it, and takes it back
// when its time is up. Two of them run and look after each other, so that neither the end of the
// session nor killing one of them keeps a generation in force that nobody has confirmed.
func guard(inv *invocation) error {
	number, err := strconv.Atoi(inv.cli.Args().Get(0))
	if err != nil {
		return usagef("guard needs the number of a generation")
	}
	partner := -1
	if pid, err := strconv.Atoi(inv.cli.Args().Get(1)); err == nil {
		if partner, err = unix.PidfdOpen(pid, 0); err != nil {
			partner = -1 // gone already
		}
	}
	log, logErr := syslog.New(syslog.LOG_DAEMON|syslog.LOG_WARNING, "portgrave")
	say := func(format string, args ...any) {
		if logErr == nil { // without a syslog there is nobody to tell
			_ = log.Warning(fmt.Sprintf(format, args...))
		}
	}
	g, err := inv.history().HeadOf(number)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // something else is in force by now
	}
	unreadable := err != nil // what can't be read can't be confirmed either
	for {
		if waits, err := inv.history().Waits(number); err == nil && !waits {
			return nil // confirmed, or something else is in force
		}
		if partner < 0 {
			if partner, err = startGuard(inv, number, os.Getpid()); err != nil {
				say("nobody looks after the guard of generation %d: %v", number, err)
			}
		}
		if unreadable || g.Overdue(bootclock.System()) {
			done, err := inv.takeBackNow()
			if err == nil && done {
				say("generation %d was not confirmed in time and has been taken back", number)
			}
			if err != nil {
				say("generation %d was not confirmed in time and can't be taken back yet: %v", number, err)
			}
		}
		partner = awaitPartner(partner)
	}
}

// guardPause is how often a guard looks whether its generation was confirmed.
const guardPause = time.Second

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

func (inv *invocation) takeBackNow() (bool, error) {
	ops, done, err := inv.connect()
	if err != nil {
		return false, err
	}
	defer done()
	result, err := ops.TakeBack(inv.ctx)
	return result.Done, err
}

// absolute is where a path leads from here; the guard stands elsewhere.
func absolute(path string) string {
	if whole, err := filepath.Abs(path); err == nil {
		return whole
	}
	return path
}

// startGuard starts a guard in a session of its own, without a terminal, and returns a descriptor
// of the process.
func startGuard(inv *invocation, generation, partner int) (pidfd int, err error) {
	self, err := os.Executable()
	if err != nil {
		return -1, err
	}
	cmd := exec.Command(self, "guard", strconv.Itoa(generation), strconv.Itoa(partner))
	cmd.Env = append(
		os.Environ(),
		"PORTGRAVE_STATE_DIR="+absolute(inv.stateDir),
		"PORTGRAVE_RUN_DIR="+absolute(inv.runDir),
	)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd}
	pidfd = -1
	if err := cmd.Start(); err != nil {
		return -1, err
	}
	go func() { _ = cmd.Wait() }() // so that it does not stay as a zombie, whose descriptor is never readable in time
	return pidfd, nil
}
