package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/host/bootclock"
	"golang.org/x/sys/unix"
)

// takeBackOverdue takes back the generation in force if it should have been confirmed by now. A
// failure is reported, and stops nobody: the verb has its own work, and the next command tries
// again.
func (inv *invocation) takeBackOverdue(ops host.Operations) {
	g, err := inv.history().Head()
	if err != nil || !g.Overdue(bootclock.System()) {
		return
	}
	switch back, err := ops.TakeBack(inv.ctx); {
	case err != nil:
		inv.screen.warnf("generation %d was not confirmed in time, and can't be taken back yet: %v",
			g.Number, err)
	case back.Done:
		inv.screen.warnf("generation %d was not confirmed in time, and has been taken back",
			g.Number)
	}
}

// settle does so for verbs that look at the kernel by themselves. With a daemon there is nothing to
// do.
func (inv *invocation) settle() {
	if g, err := inv.history().Head(); err != nil || !g.Overdue(bootclock.System()) {
		return
	}
	if _, done, err := inv.operations(); err == nil {
		done()
	}
}

// takeBack waits until the generation on trial, if there is one, is confirmed or has been taken
// back. It is what the timer starts that leaveTimer leaves; it ends well when nothing waits any
// more.
func takeBack(inv *invocation) error {
	for {
		g, err := inv.history().Head()
		if err != nil || g.Confirmed { // nothing is in force, or that for good
			return nil
		}
		now := bootclock.System()
		if g.Overdue(now) {
			if _, err := inv.takeBackNow(); err != nil {
				return err // systemd tries again
			}
		}
		time.Sleep(max(guardPause/10, min(g.Left(now), guardPause)))
	}
}

// timerMargin is how long after the end of a trial the timer comes: both guards are to come first.
const timerMargin = 2 * time.Second

// leaveTimer has systemd take back what is about to be applied on trial, should everything that we
// start be gone by then: logind may end all processes of a login. It returns what takes the timer
// away again. Where systemd does not run this host, there is nothing to do.
func (inv *invocation) leaveTimer(trial time.Duration) (remove func(), err error) {
	if os.Geteuid() != 0 || !systemdIsHere() {
		return func() {}, nil
	}
	program, err := exec.LookPath("systemd-run")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	uptime := bootclock.System().Uptime.Milliseconds()
	unit := fmt.Sprintf("portgrave-takeback-%d-%d", uptime, os.Getpid())
	words := timerWords(unit, self, absolute(inv.stateDir), absolute(inv.runDir), trial)
	out, err := exec.CommandContext(inv.ctx, program, words...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("systemd-run: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return func() { _ = exec.Command("systemctl", "--quiet", "stop", unit+".timer").Run() }, nil
}

// timerWords are the words for systemd-run. What it starts is tried again until nothing is left to
// take back.
func timerWords(unit, self, stateDir, runDir string, trial time.Duration) []string {
	after := strconv.FormatInt(int64((trial + timerMargin).Seconds()), 10)
	return []string{
		"--quiet", "--collect", "--unit=" + unit,
		"--description=portgrave: take back what nobody has confirmed",
		"--on-active=" + after + "s", "--timer-property=AccuracySec=100ms",
		"--property=Restart=on-failure", "--property=RestartSec=2s",
		"--property=StartLimitIntervalSec=0",
		"--setenv=PORTGRAVE_STATE_DIR=" + stateDir, "--setenv=PORTGRAVE_RUN_DIR=" + runDir,
		"--", self, "takeback",
	}
}

// systemdIsHere reports whether systemd runs the very host that this process sees: what it starts
// must find the same network and files. In another network namespace, or below another root, it
// would change another host's rules.
func systemdIsHere() bool {
	if _, err := os.Stat("/run/systemd/system"); err != nil { // sd_booted(3)
		return false
	}
	same := func(a, b string) bool {
		var x, y unix.Stat_t
		err := errors.Join(unix.Stat(a, &x), unix.Stat(b, &y))
		return err == nil && x.Dev == y.Dev && x.Ino == y.Ino
	}
	for _, space := range []string{"net", "mnt", "pid"} {
		if !same("/proc/1/ns/"+space, "/proc/self/ns/"+space) {
			return false
		}
	}
	return same("/proc/1/root/", "/")
}
