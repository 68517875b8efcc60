package main

import (
	"strconv"
)

// listHistory prints the recorded generations, the newest first.
func listHistory(inv *invocation) error {
	ops, done, err := inv.operations()
	if err != nil {
		return err
	}
	defer done()
	result, err := ops.History(inv.ctx)
	if err != nil {
		return err
	}
	if inv.screen.json {
		if err := inv.screen.object(result); err != nil {
			return err
		}
		return reported(inv.screen, result.Error)
	}
	if len(result.Generations) == 0 && result.Error == "" {
		inv.screen.printf("Nothing has been applied yet.\n")
		return nil
	}
	columns := []column{{"GENERATION", 0}, {"TIME", 0}, {"BY", 9}, {"SUMMARY", 14}, {"REASON", 12}}
	var rows [][]cell
	for _, e := range result.Generations {
		summary := e.Summary
		if e.TornDown {
			summary = "teardown"
		}
		if !e.Confirmed {
			summary += ", not confirmed"
		}
		rows = append(
			rows,
			[]cell{
				{text: strconv.Itoa(e.Generation)},
				{text: moment(e.Time)},
				{text: byWords(e.User, e.From)},
				{text: summary},
				{text: dash(printable(e.Reason))},
			},
		)
	}
	inv.screen.listed(columns, rows)
	return reported(inv.screen, result.Error)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
