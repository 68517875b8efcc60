package main

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
)

// printPath prints the packet's way, a chain after the other. Rules that don't match, or that only
// count or log, are folded: they can't change the verdict.
func printPath(s *screen, x audit.Explanation) {
	columns := max(s.columns, minColumns)
	line := func(indent, text string) {
		text = wrapped(printable(text), columns-len(indent))
		s.printf("%s%s\n", indent, strings.ReplaceAll(text, "\n", "\n"+indent))
	}
	s.printf("\nThe path:\n")
	steps, quiet := telling(x.Steps)
	folded := 0
	fold := func() {
		if folded > 0 {
			line("    ", fmt.Sprintf("(%s can't change the verdict)", plural(folded, "rule")))
		}
		folded = 0
	}
	at, way, reply := "", 0, false
	for _, step := range withoutRepeats(steps) {
		here := chainOfStep(step)
		if step.Way != way || step.Reply && !reply || here != at {
			fold()
		}
		if step.Way != way {
			line("", "or else:")
			at = ""
		}
		if step.Reply && !reply {
			line("", "the answer:")
			at = ""
		}
		way, reply = step.Way, step.Reply
		if here != at {
			at = here
			line("  ", here)
		}
		if step.Rule != "" && idle(step.Effect) {
			folded++
			continue
		}
		fold()
		text := effectWords(step)
		if step.Rule != "" {
			text = step.Rule + " → " + text
		}
		line("    ", text)
	}
	fold()
	if quiet > 0 {
		line("", fmt.Sprintf("(%s into chains that say nothing of this packet left out; -o json has "+
			"them)", plural(quiet, "jump")))
	}
}

// chainOfStep is where a step is: "input, ip filter chain INPUT (ufw)".
func chainOfStep(step exposure.Step) string {
	text := step.Hook
	if step.Table != "" {
		text += ", " + strings.TrimSpace(step.Family+" "+step.Table)
	}
	if step.Chain != "" {
		text += " chain " + step.Chain
	}
	if step.Owner != "" {
		text += " (" + step.Owner + ")"
	}
	return text
}

// idle reports whether the effect of a rule can't change the verdict: it doesn't match, or does
// nothing but count, log, or limit what it logs.
func idle(effect string) bool {
	return effect == "no match" || effect == "match: goes on" ||
		strings.HasPrefix(effect, "may match: goes on")
}
