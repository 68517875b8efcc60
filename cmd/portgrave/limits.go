package main

import (
	"time"

	"github.com/portgrave/portgrave/firewall/xt"
	"github.com/portgrave/portgrave/policy"
)

// iptablesLimits turns what iptables can't enforce of a policy into mistakes of it, at their place;
// what it enforces with a difference becomes a warning.
func iptablesLimits(c *policy.Compiled) error {
	problem := func(l xt.Limit) policy.Problem {
		at := c.Services[l.Service].Location
		return policy.Problem{File: at.File, Line: at.Line, Column: at.Column, Message: l.Error()}
	}
	refused, warned := xt.Limits(c.State, time.Now())
	for _, l := range warned {
		w := problem(l)
		w.Rule = policy.RuleBackendLimit
		c.Warnings = append(c.Warnings, w)
	}
	if l, needs := xt.NeedsIpset(c.State); needs && !xt.Ipset() {
		refused = append(refused, l)
	}
	if len(refused) == 0 {
		return nil
	}
	var problems policy.Problems
	for _, l := range refused {
		problems = append(problems, problem(l))
	}
	return problems
}
