package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/host/lease"
)

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
	which, err := leaseWord(inv, ops, inv.cli.Args().First())
	if err != nil {
		return err
	}
	result, err := ops.Close(
		inv.ctx,
		host.CloseRequest{Caller: inv.caller(), Backend: inv.backend, Lease: which,
			Reason: inv.cli.String("reason"), Force: inv.cli.Bool("force"),
			DryRun: inv.dryRun()},
	)
	if err != nil {
		return err
	}
	inv.warn(result.Warnings)
	if inv.screen.json {
		return inv.screen.object(result)
	}
	printCuts(inv.screen, result.Cut)
	if result.DryRun {
		for _, l := range result.Closed {
			inv.screen.printf("Would close lease %s, %s.\n", l.ID, l.Opens())
		}
		staying(inv.screen, result.Staying)
		inv.screen.printf("%s\n", nothingDone)
		return nil
	}
	for _, l := range result.Closed {
		inv.screen.printf("%s: lease %s, %s.\n", inv.screen.paint(green, "Closed"), l.ID, l.Opens())
	}
	staying(inv.screen, result.Staying)
	return nil
}

// staying names leases that still open a port that was named.
func staying(s *screen, leases []lease.Lease) {
	for _, l := range leases {
		s.sentence(fmt.Sprintf("Lease %s stays, as it also opens other ports: %s. "+
			"Close it by its ID", l.ID, l.Opens()))
	}
}

// leaseWord is a word for leases as the operation reads it: an ID stays, and a port, or the name of
// one, becomes its numbers. A name that is the ID of an open lease is that lease.
func leaseWord(inv *invocation, ops host.Operations, word string) (string, error) {
	open, err := ops.Leases(inv.ctx)
	if err != nil {
		return "", err
	}
	isThis := func(l lease.Lease) bool { return l.ID == strings.ToLower(word) }
	if slices.ContainsFunc(open.Leases, isThis) {
		return word, nil
	}
	ports, err := inv.reader().Ports(word)
	if err == nil {
		return portWords(ports), nil
	}
	_, _, notID := lease.Find(nil, word)
	if _, unknown := inv.readNames(); unknown != nil && errors.Is(notID, lease.ErrNoName) {
		// Not %w: the mistakes of the policy would be reported in place of the word.
		return "", usagef("%v", err)
	}
	return word, nil // close says what is wrong with it
}
