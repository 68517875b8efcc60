package main

import "github.com/portgrave/portgrave/firewall/host"

// confirm says that the generation in force works, so that it is not taken back.
func confirm(inv *invocation) error {
	ops, done, err := inv.operations()
	if err != nil {
		return err
	}
	defer done()
	q := host.ConfirmRequest{Caller: inv.caller(), DryRun: inv.dryRun()}
	result, err := ops.Confirm(inv.ctx, q)
	if err != nil {
		return err
	}
	if inv.screen.json {
		return inv.screen.object(result)
	}
	if !result.Changed {
		inv.screen.printf(
			"Nothing to confirm: generation %d is in force for good.\n",
			result.Generation,
		)
		return nil
	}
	if result.DryRun {
		inv.screen.printf("Would confirm generation %d. %s\n", result.Generation, nothingDone)
		return nil
	}
	inv.screen.printf(
		"%s: generation %d stays in force.\n",
		inv.screen.paint(green, "Confirmed"),
		result.Generation,
	)
	return nil
}
