package xtables

import (
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// checkLoops finds a loop of chains, which no kernel holds.
func checkLoops(t *exposure.Table) error {
	if l := t.FindLoop(); l != nil {
		return &iptsave.Error{Line: l.Rule.Origin.Line, Column: 1, Err: l}
	}
	return nil
}
