package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/cmd/portgrave/daemon"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/coexist"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/host/bootclock"
	"github.com/portgrave/portgrave/policy"
)

// boot puts in force what was last confirmed, before there is a network. It succeeds if the host is
// guarded as far as its policy wants that.
func boot(inv *invocation) error {
	s, err := inv.daemonStatus()
	if err != nil {
		return fmt.Errorf("%w: it may keep the rules, so nothing was changed", err)
	}
	if s != nil { // the unit was started once more: no reason to call it failed
		if inv.screen.json {
			last := host.LastBooted(inv.runDir, bootclock.System().BootID)
			if last == nil { // the daemon was started without a boot
				last = &host.Booted{Loaded: host.LoadedNothing}
			}
			return inv.screen.object(last)
		}
		inv.screen.printf("%s.\n", keptByDaemon(s))
		return nil
	}
	if _, err := host.ResolveBackend("auto"); errors.Is(err, firewall.ErrPermission) {
		return err
	}
	inv.screen.progress = nil // the journal has no use for it
	local, done := inv.local()
	defer done()
	local.LockWait = bootLockWait
	log := daemonLog(inv)
	result, err := local.Boot(inv.ctx, host.BootRequest{
		Policy: func(context.Context) (*host.Policy, error) {
			p, c, err := inv.compiled(inv.config, true)
			if err != nil {
				return nil, err
			}
			return api.PolicyOf(p, c, time.Now())
		},
		Outline: func() firewall.Outline {
			return policy.ReadOutline(policy.Options{Path: inv.config})
		},
	})
	if err != nil {
		return err
	}
	for _, s := range coexist.HostFiles().Find() {
		result.Warnings = append(result.Warnings, s.String())
	}
	if err := host.KeepBooted(inv.runDir, result); err != nil {
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

// keptByDaemon is why a boot does nothing beside a daemon.
func keptByDaemon(s *daemon.Status) string {
	switch {
	case s.Error != "":
		return "Nothing was changed, since the daemon runs; it can't enforce the rules: " + s.Error
	case s.Generation == 0:
		return "The daemon runs, and nothing is in force until portgrave apply: there is nothing to do"
	}
	return "The daemon runs and keeps the rules: there is nothing to do"
}

// bootLockWait is how long a boot waits for another process that holds the state directory. It must
// not wait long: the network waits for it.
const bootLockWait = 5 * time.Second

// booted is what a boot did, in words.
func booted(b host.Booted) string {
	what := map[string]string{
		host.LoadedGeneration: fmt.Sprintf("generation %d is in force", b.Generation),
		host.LoadedPolicy:     "the policy was compiled and is in force",
		host.LoadedClosed:     "nobody is let in",
		host.LoadedOpen:       "nothing is in force, and every port is open",
		host.LoadedTornDown:   "nothing was put in force, since portgrave teardown had removed the rules",
		host.LoadedNothing:    "nothing was put in force",
	}[b.Loaded]
	if b.Backend != "" {
		what += fmt.Sprintf(", through %s, after %.2f s", b.Backend, b.Seconds)
	}
	return strings.ToUpper(what[:1]) + what[1:]
}
