package main

import "github.com/portgrave/portgrave/firewall/host"

// closeLease ends leases before their time: one by its ID, or those of a port.
func closeLease(inv *invocation) error {
	if !inv.cli.Args().Present() {
		return usagef("the lease is missing: write its ID, or a port; portgrave leases lists them")
	}
	if err := host.CheckReason(inv.cli.String("reason")); err != nil {
		return err
	}
	ops, done, err := inv.operations()
	if err != nil {
		return err
	}
	defer done()
	result, err := ops.Close(
		inv.ctx,
		host.CloseRequest{Caller: inv.caller(), Backend: inv.backend, Lease: inv.cli.Args().First(),
			Reason: inv.cli.String("reason"), Force: inv.cli.Bool("force")},
	)
	if err != nil {
		return err
	}
	inv.warn(result.Warnings)
	if inv.screen.json {
		return inv.screen.object(result)
	}
	printCuts(inv.screen, result.Cut)
	for _, l := range result.Closed {
		inv.screen.printf("%s: lease %s, %s.\n", inv.screen.paint(green, "Closed"), l.ID, l.Opens())
	}
	return nil
}
