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
	return reportDrift(inv, d)
}

// reportDrift prints what others have changed in the kernel, object by object, in either form.
func reportDrift(inv *invocation, d host.Difference) error {
	inv.warn(d.Warnings)
	s := inv.screen
	switch {
	case s.json:
		if err := s.object(d); err != nil {
			return err
		}
	case !d.Applied && d.InSync:
		s.printf("%s\n", s.paint(
			green, "Nothing has been applied, and nothing of portgrave is in the kernel."))
	case d.InSync:
		s.printf("%s\n", s.paint(green, "No drift: the kernel holds what was applied last."))
	default:
		printChanges(s, d.Changes, inv.cli.Bool("all"))
		s.printf("%s\n", plural(d.Count(), "change"))
		if d.Author != nil {
			s.printf("by %s\n", authorWords(d.Author))
		}
	}
	if !d.InSync {
		return errReport
	}
	return nil
}
