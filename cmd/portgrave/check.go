package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/cireport"
	"github.com/portgrave/portgrave/policy"
)

// checkResult is what check prints as JSON: everything of all policies, and the same for each.
type checkResult struct {
	Valid    bool                  `json:"valid"`
	Errors   []policy.Problem      `json:"errors"`
	Warnings []policy.Problem      `json:"warnings"`
	Stale    []policy.StaleNetwork `json:"stale"`
	Tests    []policy.TestResult   `json:"tests"`
	Files    []checkedPolicy       `json:"files"`
}

// checkedPolicy is what check found in one policy.
type checkedPolicy struct {
	File     string                `json:"file"` // or folder, as it was named
	Valid    bool                  `json:"valid"`
	Errors   []policy.Problem      `json:"errors"`
	Warnings []policy.Problem      `json:"warnings"`
	Stale    []policy.StaleNetwork `json:"stale"`
	Tests    []policy.TestResult   `json:"tests"`

	services int
	err      error // why it is not valid; mostly policy.Problems
}

// standardInput is the FILE that stands for standard input, and stdinName its name in messages.
const (
	standardInput = "-"
	stdinName     = "stdin"
)

// check reads policies and runs their tests, without touching the kernel. Each FILE is a policy by
// itself, and may be meant for another host.
func check(inv *invocation) error {
	paths := inv.cli.Args().Slice()
	if slices.Contains(paths, "") {
		return usagef("a FILE has an empty name: name a policy file or a folder, or - for " +
			"standard input")
	}
	forThisHost := len(paths) == 0
	if forThisHost {
		paths = []string{inv.config}
	}
	var done []checkedPolicy
	backend, _ := inv.enforcedWith()
	here := readOnce(
		func() (policy.Host, error) { return readThisHost(backend) },
		func() []netip.AddrPort { return sshServers(inv.ctx) },
	)
	for i, path := range paths {
		if !slices.Contains(paths[:i], path) {
			done = append(done, inv.checkOne(path, here))
		}
	}
	if err := inv.printChecked(done, forThisHost); err != nil {
		return err
	}
	return checkedCode(done, inv.cli.Bool("strict"), forThisHost)
}

// thisHost is what policies are compared with. It is read when the first policy needs it, and once
// for all of them.
type thisHost struct {
	parts      func() (policy.Host, error)
	sshServers func() []netip.AddrPort
}

func readOnce(
	parts func() (policy.Host, error), sshServers func() []netip.AddrPort,
) thisHost {
	return thisHost{sync.OnceValues(parts), sync.OnceValue(sshServers)}
}

// checkOne checks the policy at a path.
func (inv *invocation) checkOne(path string, here thisHost) checkedPolicy {
	// Where a policy is only read, such as in a clone for a group to write, it need not be safe
	// from others.
	var exposed exposedFiles
	how := howToRead{
		files: policy.Files{Patience: policy.WriterPatience, Exposed: exposed.add},
		quiet: true,
	}
	out := checkedPolicy{File: path}
	if path == standardInput {
		out.File, how.from = stdinName, os.Stdin
	}
	p, c, err := inv.compiledSo(out.File, how)
	out.Warnings = exposed.list
	if out.File == "" { // the host's own
		out.File = policy.DefaultPath
		if p != nil {
			out.File = p.Origin
		}
	}
	if err != nil {
		var problems policy.Problems
		if !errors.As(err, &problems) {
			problems = policy.Problems{{File: out.File, Message: err.Error()}}
		}
		out.Errors, out.err = problems, err
		return out
	}
	now := time.Now()
	out.Warnings = slices.Concat(out.Warnings, c.Warnings, p.Lint(c, now))
	if h, err := here.parts(); err == nil {
		out.Warnings = append(out.Warnings, p.OnHost(c, h, now)...)
	}
	if p.Denies() { // to read all sockets takes a while
		out.Warnings = append(out.Warnings, p.LintSSH(c, here.sshServers(), now)...)
	}
	out.Valid, out.services = true, len(c.State.Services)
	out.Stale, out.Tests = c.Stale, c.RunTests(now)
	return out
}

// failedTests are the tests that the policy fails.
func (p checkedPolicy) failedTests() []policy.TestResult {
	return policy.Failed(p.Tests)
}

// counted are the warnings that --strict counts and reports have, stale networks among them. What
// depends on this host is no fault of a policy that may be for another one.
func (p checkedPolicy) counted(forThisHost bool) (list []policy.Problem) {
	for _, w := range p.Warnings {
		if r, ok := policy.RuleOf(w); ok && (forThisHost || !r.Host) {
			list = append(list, w)
		}
	}
	for _, s := range p.Stale {
		list = append(list, policy.Problem{
			File:    s.Location.File,
			Line:    s.Location.Line,
			Column:  s.Location.Column,
			Message: staleText(s),
			Rule:    policy.RuleStaleNetwork,
		})
	}
	return list
}

// checkedCode is the error that ends check with the worst of the exit codes: a policy that is not
// valid counts more than one that can't be read. All was printed already.
func checkedCode(done []checkedPolicy, strict, forThisHost bool) error {
	var worst error
	report := false
	for _, p := range done {
		if p.err != nil {
			if worst == nil || exitCode(worst) != exitInvalid {
				worst = p.err
			}
			continue
		}
		report = report || len(p.failedTests()) > 0 ||
			strict && len(p.counted(forThisHost)) > 0
	}
	switch {
	case worst != nil:
		return invalidReported{worst}
	case report:
		return errReport
	}
	return nil
}

// printChecked prints the result in the form that was asked for. Beside a report, people still want
// to read in the log of the job what is wrong.
func (inv *invocation) printChecked(done []checkedPolicy, forThisHost bool) error {
	for _, p := range done {
		inv.warnOfChecked(p)
		if p.err != nil && inv.form != "json" {
			inv.printInvalid(p, len(done) > 1)
		}
	}
	switch inv.form {
	case "json":
		return inv.screen.object(checkedTogether(done))
	case "text":
		for _, p := range done {
			printTests(inv.screen, p.failedTests())
			inv.screen.printf("%s", summary(p))
		}
		return nil
	}
	for _, p := range done {
		for _, r := range p.failedTests() {
			_, _ = fmt.Fprintf(inv.screen.err, "%s\n", testText(inv.screen, r))
		}
		_, _ = fmt.Fprintf(inv.screen.err, "%s", summary(p))
	}
	report, err := inv.ciReport(done, forThisHost)
	if err != nil {
		return err
	}
	if inv.form == "junit" {
		return report.JUnit(inv.screen.out)
	}
	return report.SARIF(inv.screen.out)
}

func (inv *invocation) warnOfChecked(p checkedPolicy) {
	for _, w := range p.Warnings {
		inv.screen.warnf("%v", w)
	}
	for _, s := range p.Stale {
		inv.screen.warnf("%s", staleText(s))
	}
}

func (inv *invocation) printInvalid(p checkedPolicy, several bool) {
	name := ""
	if several {
		name = p.File
	}
	inv.screen.invalid(name, p.Errors)
	if folder := filepath.Dir(p.File); filepath.Base(folder) == "policy.d" {
		_, _ = fmt.Fprintf(
			inv.screen.err,
			"A file in policy.d adds to the policy beside that folder. To check both, run: "+
				"portgrave check %s\n",
			filepath.Dir(folder),
		)
	}
}

// summary is a line about a valid policy.
func summary(p checkedPolicy) string {
	if p.err != nil {
		return ""
	}
	failed := len(p.failedTests())
	text := fmt.Sprintf("%s: valid, %s, %s passed",
		p.File, plural(p.services, "service"), plural(len(p.Tests)-failed, "test"))
	if failed > 0 {
		text += fmt.Sprintf(", %d failed", failed)
	}
	if warnings := len(p.Warnings) + len(p.Stale); warnings > 0 {
		text += ", " + plural(warnings, "warning")
	}
	return text + "\n"
}

func checkedTogether(done []checkedPolicy) checkResult {
	all := checkResult{Valid: true, Files: done}
	for _, p := range done {
		all.Valid = all.Valid && p.Valid
		all.Errors = append(all.Errors, p.Errors...)
		all.Warnings = append(all.Warnings, p.Warnings...)
		all.Stale = append(all.Stale, p.Stale...)
		all.Tests = append(all.Tests, p.Tests...)
	}
	return all
}

func (inv *invocation) ciReport(done []checkedPolicy, forThisHost bool) (cireport.Report, error) {
	folder, err := os.Getwd()
	if err != nil {
		return cireport.Report{}, err
	}
	r := cireport.Report{Strict: inv.cli.Bool("strict"), Version: version, Folder: folder}
	for _, rule := range policy.Rules {
		if forThisHost || !rule.Host {
			r.Rules = append(r.Rules, rule)
		}
	}
	for _, p := range done {
		r.Policies = append(r.Policies, cireport.Policy{
			Name:     p.File,
			Errors:   p.Errors,
			Warnings: p.counted(forThisHost),
			Tests:    p.Tests,
		})
	}
	return r, nil
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func printTests(s *screen, failed []policy.TestResult) {
	for _, r := range failed {
		s.printf("%s\n", testText(s, r))
	}
}

// testText is a line about a test that failed.
func testText(s *screen, r policy.TestResult) string {
	return fmt.Sprintf(
		"%s: %s: from %s to %s: expected %s, got %s (%s)",
		r.Location,
		s.paint(red, "test failed"),
		r.From,
		r.To,
		r.Expect,
		r.Got,
		r.Reason,
	)
}
