package main

import (
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host"
)

// teardown removes every rule of ours.
func teardown(inv *invocation) error {
	ops, done, err := inv.operations()
	if err != nil {
		return err
	}
	defer done()
	q := host.TeardownRequest{
		Caller:  inv.caller(),
		Backend: inv.backend,
		Force:   inv.cli.Bool("force"),
	}
	result, err := during(
		inv.screen,
		"tearing down",
		func() (host.TornDown, error) { return ops.Teardown(inv.ctx, q) },
	)
	if err != nil {
		return err
	}
	if inv.screen.json {
		return inv.screen.object(result)
	}
	if !result.Changed {
		inv.screen.printf(
			"Nothing to remove: nothing of portgrave is in the kernel. Nothing is enforced, not even at boot, until the next portgrave apply.\n",
		)
		return nil
	}
	var what []firewall.Change
	for _, c := range result.Changes {
		if c.Object == firewall.ObjectTable {
			what = append(what, c)
		}
	}
	printChanges(inv.screen, what, true)
	inv.screen.printf(
		"Removed. No port is guarded by portgrave any more, not even at boot, until the next portgrave apply.\n",
	)
	return nil
}
