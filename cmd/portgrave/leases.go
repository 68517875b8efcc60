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
	words := fmt.Sprintf(
		"Lease %s: %s until %s, by %s",
		l.ID,
		l.Opens(),
		untilWords(l.Until),
		byWords(l.User, l.From),
	)
	if l.Reason != "" {
		words += ": " + l.Reason
	}
	return words
}

// timeLeft is a time to go, to the minute, or to the second near its end.
func timeLeft(d time.Duration) string {
	if d < 10*time.Minute {
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Truncate(time.Minute).String(), "0s")
}

// byWords is who did something, and from where: "root from 203.0.113.7".
func byWords(user, from string) string {
	if from != "" {
		return dash(printable(user)) + " from " + from
	}
	return dash(printable(user))
}

// printLeases is the table of leases and status.
func printLeases(s *screen, leases []lease.Lease, now time.Time) {
	columns := []column{{"LEASE", 0}, {"OPENS", 12}, {"UNTIL", 0}, {"LEFT", 7}, {"BY", 4},
		{"REASON", 8}}
	var rows [][]cell
	for _, l := range leases {
		left := timeLeft(l.Until.Sub(now))
		if !l.Running(now) {
			left = "waits: the clock is before its opening"
		}
		rows = append(
			rows,
			[]cell{
				{text: l.ID},
				{text: l.Opens()},
				{text: moment(l.Until)},
				{text: left},
				{text: byWords(l.User, l.From)},
				{text: dash(printable(l.Reason))},
			},
		)
	}
	s.listed(columns, rows)
}
