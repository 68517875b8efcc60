package main

import "github.com/portgrave/portgrave/firewall/host"

// rollback puts the State of an earlier generation in force again.
func rollback(inv *invocation) error {
	q := host.RollbackRequest{Caller: inv.caller(), Backend: inv.backend, Reason: inv.cli.String("reason"), Force: inv.cli.Bool("force")}
	if wanted := inv.cli.Args().First(); wanted != "" {
		var err error
		if q.Generation, err = generationNumber(wanted); err == nil && q.Generation == 0 {
			err = usagef("generation 0 is a host without rules: use portgrave teardown")
		}
		if err != nil {
			return err
		}
	}
	ops, done, err := inv.operations()
	if err != nil {
		return err
	}
	defer done()
	result, err := during(inv.screen, "rolling back", func() (host.Applied, error) { return ops.Rollback(inv.ctx, q) })
	if err != nil {
		return err
	}
	return reportApply(inv, result)
}
