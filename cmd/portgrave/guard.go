package main

import (
	"fmt"
	"log/syslog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/portgrave/portgrave/firewall/host"
	"golang.org/x/sys/unix"
)

// guard is what startGuard starts: "guard GENERATION PARTNER", where PARTNER is the process of the
// other guard; 0: there is none yet.
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
	g := host.Guard{
		History:  inv.history(),
		TakeBack: inv.takeBackNow,
		Partner:  func() (int, error) { return startGuard(inv, number, os.Getpid()) },
		Say: func(format string, args ...any) {
			if logErr == nil { // without a syslog there is nobody to tell
				_ = log.Warning(fmt.Sprintf(format, args...))
			}
		},
	}
	return g.Run(number, partner)
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

// environment has what is started find the same host.
func (inv *invocation) environment() []string {
	return []string{
		"PORTGRAVE_STATE_DIR=" + absolute(inv.stateDir),
		"PORTGRAVE_RUN_DIR=" + absolute(inv.runDir),
	}
}

// startGuard starts a guard in a session of its own, without a terminal, and returns a descriptor
// of the process.
func startGuard(inv *invocation, generation, partner int) (pidfd int, err error) {
	self, err := os.Executable()
	if err != nil {
		return -1, err
	}
	cmd := exec.Command(self, "guard", strconv.Itoa(generation), strconv.Itoa(partner))
	cmd.Env = append(os.Environ(), inv.environment()...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd}
	pidfd = -1
	if err := cmd.Start(); err != nil {
		return -1, err
	}
	// Reaped here, since the descriptor of a zombie is never readable in time.
	go func() { _ = cmd.Wait() }()
	return pidfd, nil
}
