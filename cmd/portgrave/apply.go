package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/policydiff"
)

// apply makes the kernel agree with the policy, and records what was applied.
func apply(inv *invocation) error {
	trial, err := applyFlags(inv)
	if err != nil {
		return err
	}
	var expect *host.Fingerprint
	if inv.cli.IsSet("plan") {
		if err := checkPlanFile(inv, "plan", false); err != nil {
			return err
		}
		if expect, err = readPlan(inv.cli.String("plan")); err != nil {
			return err
		}
		if inv.backend == "auto" {
			inv.backend = expect.Backend
		}
	}
	ops, done, err := inv.operations()
	if err != nil {
		return err
	}
	defer done()
	if err := inv.canSendPlans("plan"); err != nil {
		return err
	}
	inv.lookAhead()
	inv.acceptShrunk = inv.cli.Bool("force")
	// Networks are loaded before anything is locked: a slow server keeps nobody else waiting, least
	// of all the daemon.
	p, err := inv.compiledPolicy(ops)
	if err != nil {
		return err
	}
	q := host.ApplyRequest{
		Caller:  inv.caller(),
		Backend: inv.backend,
		Reason:  inv.cli.String("reason"),
		Force:   inv.cli.Bool("force"),
		Policy:  p,
		Expect:  expect,
		DryRun:  inv.dryRun(),
	}
	removeTimer := func() {}
	if trial > 0 {
		q.Confirm = trial.String()
	}
	if trial > 0 && !q.DryRun {
		if removeTimer, err = inv.leaveTimer(trial); err != nil {
			inv.screen.warnf(
				"systemd can't look after this trial, so two processes alone will take it back: %v",
				err,
			)
			removeTimer = func() {}
		}
	}
	result, err := during(
		inv.screen,
		"applying",
		func() (host.Applied, error) { return ops.Apply(inv.ctx, q) },
	)
	if err == nil && result.ConfirmBy == nil {
		removeTimer() // after an error it may still be needed, and does no harm
	}
	var tests host.TestsFailedError
	if errors.As(err, &tests) {
		return refuseTests(inv, tests)
	}
	if err != nil {
		return err
	}
	result.Warnings = append(result.Warnings, savedRulesWarnings(result.Backend)...)
	return reportApply(inv, result)
}

// applyFlags checks what can be checked before the policy is read. It returns how long the trial
// lasts that --confirm asks for, or 0.
func applyFlags(inv *invocation) (trial time.Duration, err error) {
	if err := host.CheckReason(inv.cli.String("reason")); err != nil {
		return 0, err
	}
	if !inv.cli.IsSet("confirm") {
		return 0, nil
	}
	return host.ParseConfirm(inv.cli.String("confirm"))
}

// refuseTests ends an apply whose policy fails its own tests.
func refuseTests(inv *invocation, refused host.TestsFailedError) error {
	failed, err := api.FailedTests(refused)
	if err != nil {
		return err
	}
	if inv.screen.json {
		_ = inv.screen.object(
			map[string]any{
				"error": "the policy fails its own tests; nothing was changed",
				"kind":  api.KindOf(refused),
				"tests": failed,
			},
		)
	} else {
		printTests(inv.screen, failed)
	}
	inv.screen.complain("apply", refused)
	return errReport
}

// reportApply prints the result of apply and rollback.
func reportApply(inv *invocation, a host.Applied) error {
	s := inv.screen
	inv.warn(a.Warnings)
	if s.json {
		return s.object(a)
	}
	printCuts(s, a.Cut)
	if !a.Changed {
		s.printf("Nothing to do: the kernel holds generation %d.\n", a.Generation)
	} else {
		printApplied(inv, a)
	}
	if by := a.ConfirmBy; by != nil {
		at := clockTime(*by)
		text := "It is taken back at " + at + " unless it is confirmed"
		newPlanPrinter(s, false).wrap(s.paint(yellow, text) +
			". Try that you can still log in, then run: portgrave confirm")
	}
	return nil
}

// maxNamed is how many services the summary of apply names.
const maxNamed = 8

// printApplied says what apply or rollback did: how many services changed, and which.
func printApplied(inv *invocation, a host.Applied) {
	s, all := inv.screen, inv.cli.Bool("all")
	p := newPlanPrinter(s, all, a.Services, a.Restores)
	what := "no service changed, only rules of the kernel"
	n, kinds := tally(a.Services)
	switch why := unknownWhy(a.Unknown, a.Services); {
	case why != "":
		what = plural(host.Difference{Changes: a.Changes}.Count(), "object") +
			" of the kernel; for which service can't be told, since " + why
	case n > 0:
		what = fmt.Sprintf("%s (%s): %s", plural(n, "service"), kinds,
			p.some(named(a.Services), maxNamed))
	case len(a.Services) > 0:
		what = "what holds for all services changed"
	case len(a.Restores) > 0:
		what = "no service changed"
	}
	if len(a.Restores) > 0 {
		what += "; undone is what " + changedBy(a.Author)
	}
	if a.DryRun {
		p.wrap(fmt.Sprintf("Would apply: %s.", what))
	} else {
		p.wrap(fmt.Sprintf("%s: %s.", s.paint(green, "Applied"), what))
		p.wrap(fmt.Sprintf("Generation %d is in force.", a.Generation))
	}
	if all || a.DryRun {
		p.services(a.Services)
		p.restored(a.Restores)
	}
	if a.DryRun {
		p.wrap(nothingDone)
	}
	if all || inv.cli.Bool("rules") {
		printRules(s, a.Backend, a.Changes, all)
	}
}

// named are the services that change, with what becomes of each: "+grafana".
func named(changes []policydiff.Change) (names []string) {
	for _, c := range changes {
		if c.Service != "" {
			sign, _ := signOf(c.Action)
			names = append(names, sign+c.Service)
		}
	}
	return names
}

func printCuts(s *screen, cut []host.Cut) {
	for _, x := range cut {
		s.printf(
			"Ended: %s from %s to port %d, which is no longer allowed.\n",
			x.Protocol,
			x.Client,
			x.Dialled.Port(),
		)
	}
}
