package cireport

import (
	"encoding/xml"
	"io"
	"strings"

	"github.com/portgrave/portgrave/policy"
)

// JUnit's format has no standard. These are the elements and attributes that Jenkins, GitLab,
// GitHub's actions and Azure read. GitLab reads the first failure of a test case only, so that one
// failure has all messages.

type testSuites struct {
	XMLName  xml.Name    `xml:"testsuites"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Suites   []testSuite `xml:"testsuite"`
}

type testSuite struct {
	Name     string     `xml:"name,attr"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Errors   int        `xml:"errors,attr"`
	Skipped  int        `xml:"skipped,attr"`
	Cases    []testCase `xml:"testcase"`
	Output   string     `xml:"system-out,omitempty"` // warnings that don't count
}

type testCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	File    string        `xml:"file,attr,omitempty"`
	Line    int           `xml:"line,attr,omitempty"`
	Failure *junitFailure `xml:"failure"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// JUnit writes a test suite for each policy: whether it reads, each of its tests, and, where
// warnings count, each kind of warning.
func (r Report) JUnit(w io.Writer) error {
	all := testSuites{Name: "portgrave check"}
	for _, p := range r.Policies {
		s := r.suite(p)
		all.Tests += s.Tests
		all.Failures += s.Failures
		all.Suites = append(all.Suites, s)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (r Report) suite(p Policy) testSuite {
	s := testSuite{Name: p.Name}
	add := func(name string, at policy.Location, failed *junitFailure) {
		s.Tests++
		if failed != nil {
			s.Failures++
		}
		s.Cases = append(s.Cases, testCase{name, p.Name, at.File, at.Line, failed})
	}
	add("reads", firstLocation(p.Errors), failureOf(ruleInvalid, p.Errors))
	if len(p.Errors) > 0 {
		return s // its tests are not known
	}
	for _, t := range p.Tests {
		var failed *junitFailure
		if !t.OK {
			failed = &junitFailure{failure(t), ruleFailedTest, t.Location.String() + ": " + failure(t)}
		}
		add(testName(t), t.Location, failed)
	}
	if !r.Strict {
		s.Output = lines(p.Warnings)
		return s
	}
	for _, rule := range r.Rules {
		var found []policy.Problem
		for _, w := range p.Warnings {
			if w.Rule == rule.ID {
				found = append(found, w)
			}
		}
		add(rule.ID, firstLocation(found), failureOf(rule.ID, found))
	}
	return s
}

func failureOf(kind string, problems []policy.Problem) *junitFailure {
	if len(problems) == 0 {
		return nil
	}
	return &junitFailure{problems[0].Message, kind, lines(problems)}
}

func firstLocation(problems []policy.Problem) policy.Location {
	if len(problems) == 0 {
		return policy.Location{}
	}
	return problems[0].Location()
}

func lines(problems []policy.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.Error() + "\n")
	}
	return b.String()
}
