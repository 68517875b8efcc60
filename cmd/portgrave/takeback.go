package main

import (
	"fmt"
	"os"
	"time"

	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/host/bootclock"
	"github.com/portgrave/portgrave/systemd/manager"
)

// takeBackOverdue takes back the generation in force if it should have been confirmed by now. A
// failure is reported, and stops nobody: the verb has its own work, and the next command tries
// again.
func (inv *invocation) takeBackOverdue(ops host.Operations) {
	g, overdue := host.Overdue(inv.history())
	if !overdue {
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
	if _, overdue := host.Overdue(inv.history()); !overdue {
		return
	}
	if _, done, err := inv.operations(); err == nil {
		done()
	}
}

// takeBack is what the timer starts that leaveTimer leaves. If it fails, systemd tries again.
func takeBack(inv *invocation) error {
	return host.AwaitTrial(inv.history(), inv.takeBackNow)
}

// timerMargin is how long after the end of a trial the timer comes: both guards are to come first.
const timerMargin = 2 * time.Second

// leaveTimer has systemd take back what is about to be applied on trial, should everything that we
// start be gone by then: logind may end all processes of a login. It returns what takes the timer
// away again.
func (inv *invocation) leaveTimer(trial time.Duration) (remove func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	uptime := bootclock.System().Uptime.Milliseconds()
	return manager.Later(inv.ctx, manager.Task{
		Unit:        fmt.Sprintf("portgrave-takeback-%d-%d", uptime, os.Getpid()),
		Description: "portgrave: take back what nobody has confirmed",
		After:       trial + timerMargin,
		Environment: inv.environment(),
		Command:     []string{self, "takeback"},
	})
}
