package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/lease"
)

// closeLease ends leases before their time: one by its ID, or those of a port.
func closeLease(inv *invocation) error {
	if !inv.cli.Args().Present() {
		return usagef("close needs the ID of a lease, or a port: see portgrave leases")
	}
	inv.useBackendInForce()
	r, store, done, err := inv.exclusive(false)
	if err != nil {
		return err
	}
	defer done()
	leases := inv.leases()
	running, _, err := leases.List()
	if err != nil {
		return err
	}
	closing, err := lease.Find(running, inv.cli.Args().First())
	if err != nil {
		return err
	}
	last, err := inForceForLeases(store)
	if err != nil {
		return err
	}
	staying := slices.DeleteFunc(running, func(l lease.Lease) bool {
		return slices.ContainsFunc(closing, func(c lease.Lease) bool { return c.ID == l.ID })
	})
	enforced, err := lease.Apply(last.State, staying, leases.Clock().Wall)
	if err != nil {
		return err
	}
	if !inv.cli.Bool("force") {
		if err := refuseLockOut(inv, r, enforced); err != nil {
			return err
		}
	}
	// The record first: should the rest fail, the next apply closes it, and nothing opens it again.
	var names []string
	for _, l := range closing {
		if err := leases.Remove(l.ID); errors.Is(err, lease.ErrUncertain) {
			inv.screen.warnf("%v", err)
		} else if err != nil {
			return err
		}
		names = append(names, l.ID)
	}
	out, g, err := enforceLeases(inv, r, store, last, enforced, "close lease "+strings.Join(names, ", "), inv.cli.String("reason"))
	var unrecorded recordError
	if err != nil && !errors.As(err, &unrecorded) {
		return fmt.Errorf("the lease is closed in the records, but the kernel may hold it until it ends: run portgrave apply: %w", err)
	}
	if err != nil {
		return err
	}
	if inv.screen.json {
		return inv.screen.object(map[string]any{"closed": closing, "generation": g.Number})
	}
	for _, x := range out.Cut {
		inv.screen.printf("Ended: %s from %s to port %d, which is no longer allowed.\n", x.Protocol, x.Client, x.Dialled.Port())
	}
	for _, l := range closing {
		inv.screen.printf("%s: lease %s, %s.\n", inv.screen.paint(green, "Closed"), l.ID, opening(l))
	}
	return nil
}
