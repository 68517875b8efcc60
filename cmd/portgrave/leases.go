package main

import (
	"errors"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall/lease"
)

// listLeases prints the leases that are not over, those that end first at the front.
func listLeases(inv *invocation) error {
	store := inv.leases()
	running, damaged, err := store.List()
	if err != nil {
		return err
	}
	err = errors.Join(damaged...)
	if inv.screen.json {
		o := map[string]any{"leases": orEmpty(running)}
		if err != nil {
			o["error"] = err.Error()
		}
		if oerr := inv.screen.object(o); oerr != nil || err == nil {
			return oerr
		}
		return invalidReported{err}
	}
	if len(running) == 0 && err == nil {
		inv.screen.printf("No lease is open.\n")
		return nil
	}
	printLeases(inv.screen, running, store.Clock().Wall)
	return err
}

// printLeases is the table of leases and status.
func printLeases(s *screen, leases []lease.Lease, now time.Time) {
	rows := [][]string{{"LEASE", "OPENS", "UNTIL", "LEFT", "USER", "FROM", "REASON"}}
	for _, l := range leases {
		left := l.Until.Sub(now).Round(time.Second).String()
		if !l.Running(now) {
			left = "waits: the clock is before its opening"
		}
		rows = append(rows, []string{l.ID, opening(l), l.Until.Local().Format(time.DateTime), strings.TrimSuffix(left, "0s"), dash(l.User), dash(l.From), dash(l.Reason)})
	}
	s.table(rows)
}
