package main

import (
	"errors"
	"time"

	"github.com/portgrave/portgrave/policy"
)

type checkResult struct {
	Valid    bool                  `json:"valid"`
	Errors   []policy.Problem      `json:"errors"`
	Warnings []policy.Problem      `json:"warnings"`
	Stale    []policy.StaleNetwork `json:"stale"`
	Tests    []policy.TestResult   `json:"tests"`
}

// check reads the policy and runs its tests, without touching the kernel.
func check(inv *invocation) error {
	path := inv.config
	if inv.cli.Args().Present() {
		path = inv.cli.Args().First()
	}
	// Where a policy is only read, such as in a clone for a group to write, it need not be safe
	// from others.
	var exposed exposedFiles
	p, c, err := inv.compiledSo(
		path,
		howToRead{files: policy.Files{Patience: policy.WriterPatience, Exposed: exposed.add}},
	)
	for _, w := range exposed.list {
		inv.screen.warnf("%v", w)
	}
	var problems policy.Problems
	if errors.As(err, &problems) && inv.screen.json {
		_ = inv.screen.object(
			checkResult{
				Errors:   problems,
				Warnings: orEmpty(exposed.list),
				Stale:    []policy.StaleNetwork{},
				Tests:    []policy.TestResult{},
			},
		)
		return invalidReported{problems}
	}
	if err != nil {
		return err
	}
	inv.warnOnHost(p, c)
	result := checkResult{
		Valid:    true,
		Errors:   []policy.Problem{},
		Warnings: append(exposed.list, orEmpty(c.Warnings)...),
		Stale:    orEmpty(c.Stale),
		Tests:    c.RunTests(time.Now()),
	}
	failed := c.FailedTests(time.Now())
	if inv.screen.json {
		if err := inv.screen.object(result); err != nil {
			return err
		}
	} else {
		printTests(inv.screen, failed)
		inv.screen.printf("%s: valid, %s, %s passed", p.Origin,
			plural(len(c.State.Services), "service"),
			plural(len(result.Tests)-len(failed), "test"))
		if len(failed) > 0 {
			inv.screen.printf(", %d failed", len(failed))
		}
		inv.screen.printf("\n")
	}
	if len(failed) > 0 {
		return errReport
	}
	return nil
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func printTests(s *screen, failed []policy.TestResult) {
	for _, r := range failed {
		s.printf(
			"%s: %s: from %s to %s: expected %s, got %s (%s)\n",
			r.Location,
			s.paint(red, "test failed"),
			r.From,
			r.To,
			r.Expect,
			r.Got,
			r.Reason,
		)
	}
}
