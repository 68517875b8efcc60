package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host/lease"
)

// listLeases prints the leases that are not over, those that end first at the front; of a port, or
// the name of one, those that open it.
func listLeases(inv *invocation) error {
	var ports []firewall.PortRange
	if inv.cli.Args().Present() {
		var err error
		if ports, err = inv.reader().Ports(inv.cli.Args().First()); err != nil {
			return usagef("%w", err)
		}
	}
	ops, done, err := inv.operations()
	if err != nil {
		return err
	}
	defer done()
	result, err := ops.Leases(inv.ctx)
	if err != nil {
		return err
	}
	none := "No lease is open.\n"
	if len(ports) > 0 {
		none = "No lease opens " + inv.cli.Args().First() + ".\n"
		result.Leases = slices.DeleteFunc(result.Leases, func(l lease.Lease) bool {
			return !slices.ContainsFunc(l.Ports, func(r firewall.PortRange) bool {
				return slices.ContainsFunc(ports, r.Overlaps)
			})
		})
	}
	switch {
	case inv.screen.json:
		if err := inv.screen.object(result); err != nil {
			return err
		}
	case len(result.Leases) == 0 && result.Error == "":
		inv.screen.printf("%s", none)
	default:
		printLeases(inv.screen, result.Leases, time.Now())
	}
	return reported(inv.screen, result.Error)
}

// leaseWords is a lease in a line, with who opened it and why.
func leaseWords(l lease.Lease) string {
	by := l.User
	if l.From != "" {
		by += " from " + l.From
	}
	words := fmt.Sprintf(
		"Lease %s: %s until %s, by %s",
		l.ID,
		l.Opens(),
		untilWords(l.Until),
		dash(by),
	)
	if l.Reason != "" {
		words += ": " + l.Reason
	}
	return words
}

// printLeases is the table of leases and status.
func printLeases(s *screen, leases []lease.Lease, now time.Time) {
	rows := [][]string{{"LEASE", "OPENS", "UNTIL", "LEFT", "USER", "FROM", "REASON"}}
	for _, l := range leases {
		left := l.Until.Sub(now).Round(time.Second).String()
		if !l.Running(now) {
			left = "waits: the clock is before its opening"
		}
		rows = append(
			rows,
			[]string{
				l.ID,
				l.Opens(),
				moment(l.Until),
				strings.TrimSuffix(left, "0s"),
				dash(l.User),
				dash(l.From),
				dash(l.Reason),
			},
		)
	}
	s.table(rows)
}
