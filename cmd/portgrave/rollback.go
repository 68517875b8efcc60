package main

import "github.com/portgrave/portgrave/firewall/host"

// rollback puts the State of an earlier generation in force again.
func rollback(inv *invocation) error {
	q := host.RollbackRequest{
		Caller:  inv.caller(),
		Backend: inv.backend,
		Reason:  inv.cli.String("reason"),
		Force:   inv.cli.Bool("force"),
		DryRun:  inv.dryRun(),
	}
	if wanted := inv.cli.Args().First(); wanted != "" {
		var ok bool
		if q.Generation, ok = generationNumber(wanted); !ok {
			return usagef("%q is not a generation number: write portgrave rollback 3; "+
				"portgrave history lists them", wanted)
		}
		if q.Generation == 0 {
			return usagef("generation 0 is a host without rules: use portgrave teardown")
		}
	}
	if err := host.CheckReason(q.Reason); err != nil {
		return err
	}
	ops, done, err := inv.operations()
	if err != nil {
		return err
	}
	defer done()
	result, err := during(
		inv.screen,
		"rolling back",
		func() (host.Applied, error) { return ops.Rollback(inv.ctx, q) },
	)
	if err != nil {
		return err
	}
	return reportApply(inv, result)
}
