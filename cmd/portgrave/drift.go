package main

import (
	"github.com/portgrave/portgrave/firewall/host"
)

// drift compares the live kernel with what was applied last.
func drift(inv *invocation) error {
	if inv.cli.Bool("watch") && inv.cli.Bool("log") {
		return usagef(
			"--log is about what has happened, and --watch about what happens: leave one out",
		)
	}
	if inv.cli.Bool("watch") {
		return watchEvents(inv, "")
	}
	if inv.cli.Bool("log") {
		return driftLog(inv)
	}
	ops, done, err := inv.operations()
	if err != nil {
		return err
	}
	defer done()
	d, err := during(inv.screen, "comparing with the kernel", func() (host.Difference, error) {
		return ops.Drift(inv.ctx, host.FirewallRequest{Backend: inv.backend})
	})
	if err != nil {
		return err
	}
	inSync := "No drift: the kernel holds what was applied last."
	if !d.Applied {
		inSync = "Nothing has been applied, and nothing of portgrave is in the kernel."
	}
	return reportPlan(inv, d, inSync)
}
