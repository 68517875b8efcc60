package cireport

import (
	"encoding/json"
	"io"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/portgrave/portgrave/policy"
)

// SARIF 2.1.0 (OASIS), as far as code scanning reads it. A library for all of the format would
// bring more code than these types.

type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool        sarifTool         `json:"tool"`
	Invocations []sarifInvocation `json:"invocations"`
	// Columns of policies and lists count characters, and not the bytes or UTF-16 units of them.
	ColumnKind string        `json:"columnKind"`
	Results    []sarifResult `json:"results"` // null would mean that nothing was checked
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name           string      `json:"name"`
	Version        string      `json:"version"`
	InformationURI string      `json:"informationUri"`
	Rules          []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID               string       `json:"id"`
	ShortDescription sarifMessage `json:"shortDescription"`
	FullDescription  sarifMessage `json:"fullDescription"`
	Help             sarifMessage `json:"help"`
	Default          sarifLevel   `json:"defaultConfiguration"`
}

type sarifLevel struct {
	Level string `json:"level"`
}

type sarifMessage struct {
	Text string `json:"text"`
}

type sarifInvocation struct {
	// ExecutionSuccessful is true also if policies have mistakes: they were found.
	ExecutionSuccessful bool `json:"executionSuccessful"`
}

type sarifResult struct {
	RuleID    string          `json:"ruleId"`
	RuleIndex int             `json:"ruleIndex"`
	Level     string          `json:"level"`
	Message   sarifMessage    `json:"message"`
	Locations []sarifLocation `json:"locations"`
}

type sarifLocation struct {
	Physical sarifPhysical `json:"physicalLocation"`
}

type sarifPhysical struct {
	Artifact sarifArtifact `json:"artifactLocation"`
	Region   sarifRegion   `json:"region"`
}

type sarifArtifact struct {
	URI string `json:"uri"`
	// BaseID is set for paths from the root of the sources.
	BaseID string `json:"uriBaseId,omitempty"`
}

type sarifRegion struct {
	StartLine   int `json:"startLine"`
	StartColumn int `json:"startColumn"`
}

// The rules of what is worse than a warning.
const (
	ruleInvalid    = "invalid-policy"
	ruleFailedTest = "failed-test"
)

const (
	levelError   = "error"
	levelWarning = "warning"
	project      = "https://github.com/portgrave/portgrave"
	sarifSchema  = "https://json.schemastore.org/sarif-2.1.0.json"
	sourceRoot   = "%SRCROOT%" // by convention, the root of the repository
)

// SARIF writes one run that has the mistakes, failed tests and warnings of all policies.
func (r Report) SARIF(w io.Writer) error {
	run := sarifRun{
		Tool: sarifTool{sarifDriver{
			Name:           "portgrave",
			Version:        r.Version,
			InformationURI: project,
		}},
		Invocations: []sarifInvocation{{true}},
		ColumnKind:  "unicodeCodePoints",
		Results:     []sarifResult{},
	}
	rules := &run.Tool.Driver.Rules
	index := map[string]int{}
	addRule := func(id, text, level string) {
		index[id] = len(*rules)
		*rules = append(*rules, newRule(id, text, level))
	}
	addRule(ruleInvalid, "a policy, or a list that it names, is not valid", levelError)
	addRule(ruleFailedTest, "a policy fails one of its own tests", levelError)
	for _, rule := range r.Rules {
		addRule(rule.ID, rule.Text, levelOf(rule))
	}
	add := func(rule string, at policy.Location, message string) {
		run.Results = append(run.Results, sarifResult{
			RuleID:    rule,
			RuleIndex: index[rule],
			Level:     (*rules)[index[rule]].Default.Level,
			Message:   sarifMessage{message},
			Locations: []sarifLocation{{r.physical(at)}},
		})
	}
	for _, p := range r.Policies {
		for _, e := range p.Errors {
			add(ruleInvalid, e.Location(), e.Message)
		}
		for _, t := range p.Tests {
			if !t.OK {
				add(ruleFailedTest, t.Location, failure(t))
			}
		}
		for _, w := range p.Warnings {
			add(w.Rule, w.Location(), w.Message)
		}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(sarifLog{sarifSchema, "2.1.0", []sarifRun{run}})
}

func newRule(id, text, level string) sarifRule {
	sentence := sarifMessage{strings.ToUpper(text[:1]) + text[1:] + "."}
	return sarifRule{id, sentence, sentence, sentence, sarifLevel{level}}
}

func levelOf(r policy.Rule) string {
	if r.Grave {
		return levelError
	}
	return levelWarning
}

// physical is a location as code scanning wants it: with a line and a column, and a path from the
// current folder, which is the root of the sources, if the file is below it.
func (r Report) physical(at policy.Location) sarifPhysical {
	path := at.File
	if !filepath.IsAbs(path) {
		path = filepath.Join(r.Folder, path)
	}
	path = filepath.Clean(path)
	artifact := sarifArtifact{URI: (&url.URL{Scheme: "file", Path: path}).String()}
	below, err := filepath.Rel(r.Folder, path)
	if err == nil && below != ".." && !strings.HasPrefix(below, "../") {
		artifact = sarifArtifact{(&url.URL{Path: below}).String(), sourceRoot}
	}
	return sarifPhysical{artifact, sarifRegion{max(at.Line, 1), max(at.Column, 1)}}
}
