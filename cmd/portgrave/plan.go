package main

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host"
)

// plan shows the difference between the policy and the live kernel, or between two generations.
func plan(inv *invocation) error {
	q := host.PlanRequest{Backend: inv.backend}
	for name, to := range map[string]**int{"from": &q.From, "to": &q.To} {
		if inv.cli.IsSet(name) {
			n, err := inv.generationOf(name)
			if err != nil {
				return err
			}
			*to = &n
		}
	}
	ops, done, err := inv.operations()
	if err != nil {
		return err
	}
	defer done()
	if q.From == nil {
		inv.lookAhead()
	}
	if q.From == nil || q.To == nil {
		if q.Policy, err = inv.compiledPolicy(ops); err != nil {
			return err
		}
	}
	d, err := during(
		inv.screen,
		"comparing with the kernel",
		func() (host.Difference, error) { return ops.Plan(inv.ctx, q) },
	)
	if err != nil {
		return err
	}
	if q.From != nil {
		return reportPlan(inv, d, "No difference.")
	}
	return reportPlan(inv, d, "In sync: the kernel holds the policy.")
}

// reportPlan prints a difference in either form, and ends with exit code 2 unless it is empty.
func reportPlan(inv *invocation, d host.Difference, inSync string) error {
	inv.warn(d.Warnings)
	switch {
	case inv.screen.json:
		if err := inv.screen.object(d); err != nil {
			return err
		}
	case d.InSync:
		inv.screen.printf("%s\n", inv.screen.paint(green, inSync))
	default:
		printChanges(inv.screen, d.Changes, inv.cli.Bool("all"))
		inv.screen.printf("%s\n", plural(d.Count(), "change"))
		if d.Author != nil {
			inv.screen.printf("by %s\n", authorWords(d.Author))
		}
	}
	if !inv.screen.json {
		for _, l := range d.Leases {
			inv.screen.printf("%s\n", leaseWords(l))
		}
	}
	if !d.InSync {
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
		slices.SortStableFunc(
			byService[service],
			func(a, b firewall.Change) int { return cmp.Compare(rank(a), rank(b)) },
		)
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
