package api

import (
	"encoding/json"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/policydiff"
	"github.com/portgrave/portgrave/policy"
)

// PolicyOf is a compiled policy as requests carry it.
func PolicyOf(p *policy.Policy, c *policy.Compiled, now time.Time) (*host.Policy, error) {
	q := &host.Policy{
		Origin: p.Origin, Text: p.Text(), State: c.State, Lists: c.Lists,
		Written: p.Written(c.Networks),
	}
	for _, t := range c.FailedTests(now) {
		text, err := json.Marshal(t)
		if err != nil {
			return nil, err
		}
		q.FailedTests = append(q.FailedTests, text)
	}
	return q, nil
}

// Written is a host.Local's Written.
func Written(text []byte, lists map[string]address.Set) *policydiff.Written {
	p, err := policy.ReadText(text)
	if err != nil {
		return nil
	}
	return p.Written(lists)
}

// FailedTests are those that a host.TestsFailedError carries.
func FailedTests(e host.TestsFailedError) ([]policy.TestResult, error) {
	tests := make([]policy.TestResult, len(e.Tests))
	for i, text := range e.Tests {
		if err := json.Unmarshal(text, &tests[i]); err != nil {
			return nil, err
		}
	}
	return tests, nil
}
