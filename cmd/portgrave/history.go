package main

import (
	"strconv"
	"time"

	"github.com/portgrave/portgrave/firewall/history"
)

// entry is a generation without its State.
type entry struct {
	Generation int       `json:"generation"`
	Time       time.Time `json:"time"`
	User       string    `json:"user"`
	From       string    `json:"from"`
	Reason     string    `json:"reason"`
	Backend    string    `json:"backend"`
	Origin     string    `json:"origin"`
	Summary    string    `json:"summary"`
	Confirmed  bool      `json:"confirmed"`
	ConfirmBy  time.Time `json:"confirm_by,omitzero"` // when an unconfirmed one is, or was, taken back
	TornDown   bool      `json:"torn_down"`
	Services   int       `json:"services"`
}

// listHistory prints the recorded generations, the newest first.
func listHistory(inv *invocation) error {
	all, err := inv.history().List()
	entries := []entry{}
	for i := len(all) - 1; i >= 0; i-- {
		entries = append(entries, entryOf(all[i]))
	}
	if inv.screen.json {
		o := map[string]any{"generations": entries}
		if err != nil {
			o["error"] = err.Error()
		}
		if oerr := inv.screen.object(o); oerr != nil || err == nil {
			return oerr
		}
		return invalidReported{err}
	}
	if len(entries) == 0 && err == nil {
		inv.screen.printf("Nothing has been applied yet.\n")
		return nil
	}
	rows := [][]string{{"GENERATION", "TIME", "USER", "FROM", "SUMMARY", "REASON"}}
	for _, e := range entries {
		summary := e.Summary
		if e.TornDown {
			summary = "teardown"
		}
		if !e.Confirmed {
			summary += ", not confirmed"
		}
		rows = append(rows, []string{strconv.Itoa(e.Generation), e.Time.Local().Format(time.DateTime), e.User, dash(e.From), summary, dash(e.Reason)})
	}
	inv.screen.table(rows)
	return err
}

func entryOf(g history.Generation) entry {
	return entry{g.Number, g.Time, g.User, g.From, g.Reason, g.Backend, g.Origin, g.Summary, g.Confirmed, g.ConfirmBy, g.TornDown, len(g.State.Services)}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
