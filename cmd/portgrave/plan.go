package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/policydiff"
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
	if q.Fingerprint = inv.cli.IsSet("out"); q.Fingerprint {
		if err := checkPlanFile(inv, "out", q.From != nil); err != nil {
			return err
		}
	}
	ops, done, err := inv.operations()
	if err != nil {
		return err
	}
	defer done()
	if err := inv.canSendPlans("out"); err != nil {
		return err
	}
	if q.From == nil {
		inv.lookAhead()
	}
	if inv.daemon == nil || inv.daemon.Version == version { // an older one doesn't know the key
		q.All = inv.cli.Bool("all")
		q.Effect = q.From == nil && !inv.cli.Bool("no-effect")
	}
	if q.From == nil || q.To == nil {
		if q.Policy, err = inv.compiledPolicy(ops); err != nil {
			return err
		}
	}
	d, err := during(
		inv.screen,
		"comparing with the kernel",
		func() (host.Difference, error) {
			d, err := ops.Plan(inv.ctx, q)
			if err == nil {
				addEffect(inv.ctx, &d, 0) // a daemon has done so
			}
			return d, err
		},
	)
	if err != nil {
		return err
	}
	if q.From == nil && !d.InSync && d.Effect == nil && d.EffectUnknown == "" &&
		!inv.cli.Bool("no-effect") {
		d.EffectUnknown = "the daemon has another version than this program"
	}
	if q.Fingerprint {
		if err := keepPlan(inv.cli.String("out"), d); err != nil {
			return err
		}
	}
	err = reportPlan(inv, d, q.From != nil)
	if q.Fingerprint && !inv.screen.json {
		inv.screen.printf("Kept: portgrave apply --plan %s does this or nothing.\n",
			inv.cli.String("out"))
	}
	return err
}

// reportPlan prints what a plan, or two generations, come to, in either form. It ends with exit
// code 2 unless nothing changes.
func reportPlan(inv *invocation, d host.Difference, generations bool) error {
	inv.warn(d.Warnings)
	if inv.screen.json {
		if err := inv.screen.object(d); err != nil {
			return err
		}
	} else {
		printPlan(inv, d, generations)
	}
	if !d.InSync {
		return errReport
	}
	return nil
}

func printPlan(inv *invocation, d host.Difference, generations bool) {
	s, all := inv.screen, inv.cli.Bool("all")
	p := newPlanPrinter(s, all, d.Services, d.Restores)
	switch {
	case d.InSync && generations:
		s.printf("%s\n", s.paint(green, "No difference."))
	case d.InSync:
		s.printf("%s\n", s.paint(green, "In sync: nothing changes, the kernel holds the policy."))
	default:
		p.wrap(planAnswer(d, generations))
		p.services(d.Services)
		if len(d.Services) > 0 && len(d.Restores) > 0 {
			p.wrap("It also undoes what " + changedBy(d.Author) + ":")
		}
		p.restored(d.Restores)
		if all || inv.cli.Bool("rules") {
			printRules(s, d.Backend, d.Changes, all)
		}
	}
	p.leases(d.Leases)
	p.effect(d.Effect, d.EffectUnknown, d.Services)
}

// planAnswer is the first line of a plan: how many services change.
func planAnswer(d host.Difference, generations bool) string {
	n, kinds := tally(d.Services)
	objects := host.Difference{Changes: d.Changes}.Count()
	switch why := unknownWhy(d.Unknown, d.Services); {
	case why != "":
		return fmt.Sprintf("Apply changes %s of the kernel (--rules shows them). For which "+
			"service can't be told, since %s.", plural(objects, "object"), why)
	case n > 0 && generations:
		return fmt.Sprintf("%s %s: %s.",
			plural(n, "service"), verbFor(n, "differs", "differ"), kinds)
	case n > 0:
		return fmt.Sprintf("Apply changes %s: %s.", plural(n, "service"), kinds)
	case len(d.Services) > 0 && generations:
		return "What holds for all services differs."
	case len(d.Services) > 0:
		return "Apply changes what holds for all services."
	case len(d.Restores) > 0:
		return "The policy changes no service. Apply undoes what " + changedBy(d.Author) + ":"
	}
	return fmt.Sprintf("No service changes, but %s of the kernel %s (--rules shows them).",
		plural(objects, "object"), verbFor(objects, "does", "do"))
}

// unknownWhy is why it can't be told which services change; "" if it can.
func unknownWhy(said string, services []policydiff.Change) string {
	if said == "" && services == nil {
		return "the daemon has another version than this program"
	}
	return said
}

// changedBy says who changed the kernel's rules.
func changedBy(a *firewall.Author) string {
	if a == nil {
		return "changed in the kernel since (author unknown)"
	}
	return printable(a.String()) + " changed in the kernel"
}

// verbFor is the form of a verb for a number of things.
func verbFor(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// printRules prints the kernel objects that change.
func printRules(s *screen, backend string, changes []firewall.Change, all bool) {
	s.printf("\nIn the kernel (%s):\n", backend)
	printChanges(s, changes, all)
	s.printf("%s\n", plural(host.Difference{Changes: changes}.Count(), "change"))
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
			title = allServices
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
	// On a terminal lines after the first stand below the detail.
	const before, below = 2 + len("+ element ipv4 "), 4
	detail := c.Detail
	if room := s.columns - before; room > 0 && utf8.RuneCountInString(detail) > room {
		detail = strings.ReplaceAll(wrapped(detail, room), "\n", "\n"+strings.Repeat(" ", below))
	}
	return s.paint(colour, fmt.Sprintf("%s %-7s %-4s %s", sign, c.Object, c.Family, detail))
}
