package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/portgrave/portgrave/firewall/lease"
	"github.com/portgrave/portgrave/policy"
)

// openLease opens a port to a source for a time.
func openLease(inv *invocation) error {
	request, err := leaseRequest(inv)
	if err != nil {
		return usageError{err}
	}
	p, err := policy.Read(policy.Options{Path: inv.config})
	if err != nil {
		return err
	}
	inv.useBackendInForce()
	r, store, done, err := inv.exclusive(false)
	if err != nil {
		return err
	}
	defer done()
	last, err := inForceForLeases(store)
	if err != nil {
		return err
	}
	l, err := request.Grant(last.State, p.Daemon.MaxLease, r.Now())
	if err != nil {
		return usageError{err}
	}
	// Recorded first: whatever dies from here on, nothing is open of which nobody knows who opened it and why.
	if l, err = inv.leases().Add(l); err != nil {
		return err
	}
	enforced, err := inv.withLeases(last.State)
	if err != nil {
		return errors.Join(err, inv.leases().Remove(l.ID))
	}
	_, g, err := enforceLeases(inv, r, store, last, enforced, fmt.Sprintf("open %s: lease %s", opening(l), l.ID), l.Reason)
	var unrecorded recordError
	if err != nil && !errors.As(err, &unrecorded) {
		return errors.Join(err, inv.leases().Remove(l.ID))
	}
	if err != nil {
		return err
	}
	if inv.screen.json {
		return inv.screen.object(map[string]any{"lease": l, "generation": g.Number, "changed": !enforced.Equal(last.InForce())})
	}
	if enforced.Equal(last.InForce()) {
		inv.screen.printf("The policy, or another lease, allows that as long already; the lease changes nothing.\n")
	}
	inv.screen.printf("%s: %s until %s. Lease %s; to end it before: portgrave close %s\n", inv.screen.paint(green, "Open"), opening(l),
		l.Until.Local().Format(time.DateTime), l.ID, l.ID)
	return nil
}

func leaseRequest(inv *invocation) (lease.Request, error) {
	if !inv.cli.Args().Present() {
		return lease.Request{}, errors.New("open needs a port: portgrave open 9090 --from 203.0.113.7 --for 2h")
	}
	for _, name := range []string{"from", "for"} {
		if !inv.cli.IsSet(name) {
			return lease.Request{}, fmt.Errorf("open needs --%s: portgrave open 9090 --from 203.0.113.7 --for 2h", name)
		}
	}
	ports, portsErr := lease.ParsePorts(inv.cli.Args().First())
	sources, sourcesErr := lease.ParseSources(inv.cli.StringSlice("from")...)
	length, lengthErr := lease.ParseDuration(inv.cli.String("for"))
	user, from := inv.who()
	return lease.Request{Ports: ports, Sources: sources, For: length, User: user, From: from, Reason: inv.cli.String("reason"), Force: inv.cli.Bool("force")},
		errors.Join(portsErr, sourcesErr, lengthErr)
}
