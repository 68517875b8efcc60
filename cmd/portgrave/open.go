package main

import (
	"errors"
	"fmt"

	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/host/lease"
)

// openLease opens a port to a source for a time.
func openLease(inv *invocation) error {
	const example = "portgrave open 9090 --from 203.0.113.7 --for 2h"
	if !inv.cli.Args().Present() {
		return usagef("the port is missing: write %s", example)
	}
	for _, name := range []string{"from", "for"} {
		if !inv.cli.IsSet(name) {
			return usagef("--%s is missing: write %s", name, example)
		}
	}
	if err := host.CheckReason(inv.cli.String("reason")); err != nil {
		return err
	}
	ports, portsErr := inv.reader().Ports(inv.cli.Args().First())
	sources, sourcesErr := inv.reader().Sources(inv.cli.StringSlice("from")...)
	_, lengthErr := lease.ParseDuration(inv.cli.String("for"))
	if err := errors.Join(portsErr, sourcesErr, lengthErr); err != nil {
		return usagef("%w", err)
	}
	ops, done, err := inv.operations()
	if err != nil {
		return err
	}
	defer done()
	result, err := ops.Open(
		inv.ctx,
		host.OpenRequest{
			Caller:  inv.caller(),
			Backend: inv.backend,
			Port:    portWords(ports),
			Sources: sources.Strings(),
			For: inv.cli.String(
				"for",
			),
			Reason: inv.cli.String("reason"),
			Force:  inv.cli.Bool("force"),
			DryRun: inv.dryRun(),
		},
	)
	if err != nil {
		return err
	}
	inv.warn(result.Warnings)
	if inv.screen.json {
		return inv.screen.object(result)
	}
	if !result.Changed {
		inv.screen.sentence("The policy, or another lease, allows that as long already; the lease " +
			"changes nothing.")
	}
	l := result.Lease
	if result.DryRun {
		inv.screen.sentence(fmt.Sprintf("Would open %s until %s. %s", l.Opens(), moment(l.Until),
			nothingDone))
		return nil
	}
	const text = "%s: %s until %s. Lease %s; to end it before: portgrave close %s"
	inv.screen.sentence(fmt.Sprintf(text,
		inv.screen.paint(green, "Open"), l.Opens(), moment(l.Until), l.ID, l.ID))
	return nil
}
