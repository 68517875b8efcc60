// Package cireport writes what check found in policies as the files that CI systems read: SARIF for
// code scanning, JUnit for lists of tests. It reads nothing and decides nothing.
package cireport

import (
	"fmt"

	"github.com/portgrave/portgrave/policy"
)

// Report is what check found.
type Report struct {
	Policies []Policy
	// Strict is true if warnings count like failed tests.
	Strict bool
	// Rules are the kinds of warnings that were looked for.
	Rules []policy.Rule
	// Version is that of the program.
	Version string
	// Folder is the current one, absolute. SARIF names files in it by their path from there.
	Folder string
}

// Policy is one policy that was checked.
type Policy struct {
	Name     string // its file or folder
	Errors   []policy.Problem
	Warnings []policy.Problem // each with a rule that Report.Rules has
	Tests    []policy.TestResult
}

// testName tells a test from the others of a policy.
func testName(r policy.TestResult) string {
	return packet(r) + ": " + r.Expect
}

func packet(r policy.TestResult) string {
	name := "from " + r.From + " to " + r.To
	if r.Interface != "" {
		name += " on " + r.Interface
	}
	if r.Address != "" {
		name += " at " + r.Address
	}
	return name
}

// failure says what a failed test expected, and why it got something else.
func failure(r policy.TestResult) string {
	return fmt.Sprintf("test failed: %s: expected %s, got %s (%s)",
		packet(r), r.Expect, r.Got, r.Reason)
}
