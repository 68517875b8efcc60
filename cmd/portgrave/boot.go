package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/control"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/lease"
	"github.com/portgrave/portgrave/policy"
)

// boot puts in force what was last confirmed, before there is a network. It succeeds if the host is guarded as far as its policy wants that.
func boot(inv *invocation) error {
	if s, err := inv.daemonStatus(); err != nil || s != nil {
		return errors.Join(err, errors.New("the daemon runs and keeps the rules, so there is nothing to boot"))
	}
	if _, err := resolveBackend("auto"); errors.Is(err, firewall.ErrPermission) {
		return err
	}
	clock := lease.SystemClock()
	if last, err := inv.history().Last(); err == nil && !last.Confirmed && !last.Overdue(clock.Wall, clock.BootID) {
		return fmt.Errorf("generation %d waits to be confirmed: run portgrave confirm, or rollback", last.Number)
	}
	inv.screen.progress = nil // the journal has no use for it
	local, done := inv.local()
	defer done()
	local.LockWait = bootLockWait
	log := daemonLog(inv)
	result := local.Boot(inv.ctx, control.BootRequest{
		Policy: func(context.Context) (*control.Policy, error) {
			p, c, err := inv.compiled(inv.config, true)
			if err != nil {
				return nil, err
			}
			return &control.Policy{Origin: p.Origin, State: c.State, FailedTests: failedTests(c.RunTests(time.Now()))}, nil
		},
		Outline: func() policy.Outline { return policy.ReadOutline(policy.Options{Path: inv.config}) },
	})
	if err := control.KeepBooted(inv.runDir, result); err != nil {
		result.Warnings = append(result.Warnings, err.Error())
	}
	for _, w := range result.Fallbacks {
		log.Warn("falling back", "reason", w)
	}
	for _, w := range result.Warnings {
		log.Warn(w)
	}
	if inv.screen.json {
		if err := inv.screen.object(result); err != nil {
			return err
		}
	} else if result.Error == "" {
		inv.screen.printf("%s.\n", booted(result))
	}
	return reported(inv.screen, result.Error)
}

// bootLockWait is how long a boot waits for another process that holds the state directory. It must not wait long: the network waits for it.
const bootLockWait = 5 * time.Second

// booted is what a boot did, in words.
func booted(b control.Booted) string {
	what := map[string]string{
		control.LoadedGeneration: fmt.Sprintf("generation %d is in force", b.Generation),
		control.LoadedPolicy:     "the policy was compiled and is in force",
		control.LoadedClosed:     "nobody is let in",
		control.LoadedOpen:       "nothing is in force, and every port is open",
		control.LoadedNothing:    "nothing is in force",
	}[b.Loaded]
	if b.Backend != "" {
		what += fmt.Sprintf(", through %s, after %.2f s", b.Backend, b.Seconds)
	}
	return strings.ToUpper(what[:1]) + what[1:]
}
