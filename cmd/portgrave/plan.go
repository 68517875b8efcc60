package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/nft"
)

type planResult struct {
	InSync  bool              `json:"in_sync"`
	Backend string            `json:"backend"`
	Changes []firewall.Change `json:"changes"`
	Author  *firewall.Author  `json:"author"`
}

// plan shows the difference between the policy and the live kernel, or between two generations.
func plan(inv *invocation) error {
	if inv.cli.IsSet("from") {
		return planBetween(inv)
	}
	r, closeAll, err := inv.firewall()
	if err != nil {
		return err
	}
	defer closeAll()
	if inv.cli.IsSet("to") {
		return usagef("plan --to needs --from: the live kernel is compared with the policy only")
	}
	_, c, err := inv.compiled(inv.config, false)
	if err != nil {
		return err
	}
	want, err := inv.withLeases(c.State)
	if err != nil {
		return err
	}
	p, seen, err := r.Plan(inv.ctx, &want)
	if err != nil {
		return err
	}
	if what := seen.Foreign(); what != "" && !p.InSync() {
		inv.screen.warnf("%s exists but was not written by portgrave; apply would refuse to replace it without --force", what)
	}
	return reportPlan(inv, p, "In sync: the kernel holds the policy.")
}

// planBetween compares a generation with another one, or with the policy, without looking at the kernel.
func planBetween(inv *invocation) error {
	from, err := generationState(inv.history(), inv.cli.String("from"))
	if err != nil {
		return err
	}
	var to *firewall.State
	if inv.cli.IsSet("to") {
		if to, err = generationState(inv.history(), inv.cli.String("to")); err != nil {
			return err
		}
	} else {
		_, c, err := inv.compiled(inv.config, false)
		if err != nil {
			return err
		}
		to = &c.State
	}
	p := firewall.Plan{Backend: "nftables", Changes: nft.Between(from, to, time.Now())}
	return reportPlan(inv, p, "No difference.")
}

// reportPlan prints a plan in either form, and ends with exit code 2 unless it is empty.
func reportPlan(inv *invocation, p firewall.Plan, inSync string) error {
	if inv.screen.json {
		if err := inv.screen.object(planResult{p.InSync(), p.Backend, orEmpty(p.Changes), nil}); err != nil {
			return err
		}
	} else if p.InSync() {
		inv.screen.printf("%s\n", inv.screen.paint(green, inSync))
	} else {
		printChanges(inv.screen, p.Changes, inv.cli.Bool("all"))
		inv.screen.printf("%s\n", plural(p.Count(), "change"))
	}
	if !p.InSync() {
		return errReport
	}
	return nil
}

// maxShown is how many changes of one service people are shown unless they want all.
const maxShown = 12

// printChanges groups changes by service: "+ 10.0.0.0/8".
func printChanges(s *screen, changes []firewall.Change, all bool) {
	var order []string
	byService := map[string][]firewall.Change{}
	for _, c := range changes {
		if _, seen := byService[c.Service]; !seen {
			order = append(order, c.Service)
		}
		byService[c.Service] = append(byService[c.Service], c)
	}
	for _, service := range order {
		// Who may reach what comes first; how the kernel is told comes after.
		slices.SortStableFunc(byService[service], func(a, b firewall.Change) int { return cmp.Compare(rank(a), rank(b)) })
		title := service
		if title == "" {
			title = "(all services)"
		}
		s.printf("%s\n", title)
		list := byService[service]
		hidden := 0
		if !all && len(list) > maxShown {
			for _, c := range list[maxShown-2:] {
				hidden += c.Count
			}
			list = list[:maxShown-2]
		}
		for _, c := range list {
			s.printf("  %s\n", changeLine(s, c))
		}
		if hidden > 0 {
			s.printf("  … and %d more (--all lists them)\n", hidden)
		}
	}
}

func rank(c firewall.Change) int {
	if c.Object == firewall.ObjectElement || c.Object == firewall.ObjectTable {
		return 0
	}
	return 1
}

func changeLine(s *screen, c firewall.Change) string {
	sign, colour := "+", green
	switch c.Action {
	case firewall.Remove:
		sign, colour = "-", red
	case firewall.Replace:
		sign, colour = "~", yellow
	}
	return s.paint(colour, fmt.Sprintf("%s %-7s %-4s %s", sign, c.Object, c.Family, c.Detail))
}
