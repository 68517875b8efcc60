package cireport

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/url"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/policy"
)

// everything has one of everything, with text that neither format holds as it is.
func everything() Report {
	return Report{
		Version: "1.0",
		Folder:  "/src",
		Rules:   policy.Rules,
		Policies: []Policy{
			{Name: "bad.yaml", Errors: []policy.Problem{
				{File: "bad.yaml", Line: 2, Column: 11, Message: "\"<&>\x00\xff\" ]]> is wrong"},
				{File: "bad.yaml", Message: "all of it"},
			}},
			{
				Name: "site",
				Warnings: []policy.Problem{
					{File: "site/policy.yaml", Line: 4, Column: 3, Message: "look",
						Rule: policy.RuleUnusedNetwork},
					{File: "/etc/x.yaml", Line: 5, Column: 3, Message: "look",
						Rule: policy.RuleSSHUnreachable},
				},
				Tests: []policy.TestResult{
					{From: "8.8.8.8", To: "web", Expect: "deny", Got: "allow", Reason: "why",
						Location: policy.Location{File: "site/policy.yaml", Line: 9, Column: 5}},
					{From: "8.8.8.8", To: "web", Expect: "deny", Got: "deny", OK: true,
						Interface: "eth0", Address: "192.0.2.1"},
				},
			},
		},
	}
}

// What SARIF 2.1.0 and code scanning ask for: each result has a rule that the tool lists, a level,
// a message, and a place with a line and a column.
func TestSARIF(t *testing.T) {
	for name, r := range map[string]Report{"everything": everything(), "nothing": {Folder: "/src"}} {
		var out bytes.Buffer
		if err := r.SARIF(&out); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), "null") {
			t.Errorf("%s has null:\n%s", name, &out)
		}
		var log sarifLog
		d := json.NewDecoder(&out)
		d.DisallowUnknownFields()
		if err := d.Decode(&log); err != nil {
			t.Fatal(err)
		}
		if log.Version != "2.1.0" || len(log.Runs) != 1 {
			t.Fatalf("%s: version %s, %d runs", name, log.Version, len(log.Runs))
		}
		run := log.Runs[0]
		for _, x := range run.Results {
			rule := run.Tool.Driver.Rules[x.RuleIndex]
			at := x.Locations[0].Physical
			u, err := url.Parse(at.Artifact.URI)
			if rule.ID != x.RuleID || x.Level != rule.Default.Level || x.Message.Text == "" ||
				err != nil || u.IsAbs() == (at.Artifact.BaseID != "") ||
				at.Region.StartLine < 1 || at.Region.StartColumn < 1 {
				t.Errorf("%s: %+v", name, x)
			}
		}
		if want := map[string]int{"everything": 5, "nothing": 0}[name]; len(run.Results) != want {
			t.Errorf("%s: %d results", name, len(run.Results))
		}
	}
}

func TestURI(t *testing.T) {
	for file, want := range map[string]string{
		"a.yaml":            "a.yaml",
		"./sub/../a b.yaml": "a%20b.yaml",
		"a:b.yaml":          "./a:b.yaml",
		"/src/hosts/a.yaml": "hosts/a.yaml",
		"/src2/a.yaml":      "file:///src2/a.yaml",
		"../ä#?.yaml":       "file:///%C3%A4%23%3F.yaml",
		"..a.yaml":          "..a.yaml",
	} {
		at := Report{Folder: "/src"}.physical(policy.Location{File: file})
		if at.Artifact.URI != want {
			t.Errorf("%s: %s, want %s", file, at.Artifact.URI, want)
		}
	}
}

func TestJUnit(t *testing.T) {
	for _, strict := range []bool{false, true} {
		r := everything()
		r.Strict = strict
		var out bytes.Buffer
		if err := r.JUnit(&out); err != nil {
			t.Fatal(err)
		}
		d := xml.NewDecoder(bytes.NewReader(out.Bytes()))
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%v\n%s", err, &out)
			}
		}
		var got testSuites
		if err := xml.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		cases, failures := 0, 0
		for _, s := range got.Suites {
			names := map[string]bool{}
			for _, c := range s.Cases {
				if names[c.Name] {
					t.Errorf("%s has %s twice", s.Name, c.Name)
				}
				names[c.Name] = true
				cases++
				if c.Failure != nil {
					failures++
				}
			}
			if s.Tests != len(s.Cases) {
				t.Errorf("%s says it has %d cases, and has %d", s.Name, s.Tests, len(s.Cases))
			}
		}
		want, failed := 4, 2
		if strict {
			want, failed = want+len(policy.Rules), failed+2
		}
		if got.Tests != cases || cases != want || got.Failures != failures || failures != failed {
			t.Errorf("strict %v: %d cases, %d failures:\n%s", strict, cases, failures, &out)
		}
		warned := strings.Contains(out.String(), "<system-out>site/policy.yaml:4:3: look")
		if warned == strict {
			t.Errorf("strict %v: its warnings are not where they belong:\n%s", strict, &out)
		}
	}
}
