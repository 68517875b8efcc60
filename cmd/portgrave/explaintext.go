package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
)

func printExplanation(s *screen, x audit.Explanation) {
	port := ""
	if x.Port != 0 { // a protocol without ports has none
		port = fmt.Sprintf(" port %d", x.Port)
	}
	s.printf(
		"%s from %s to %s%s, arriving on %s\n\n",
		x.Protocol,
		x.From,
		x.Destination,
		port,
		x.Interface,
	)
	rows := [][]string{{"HOOK", "TABLE", "CHAIN", "RULE", "EFFECT", "BY"}}
	steps, quiet := telling(x.Steps)
	way, reply := 0, false
	for _, step := range withoutRepeats(steps) {
		if step.Way != way {
			way = step.Way
			rows = append(rows, []string{"or else:", "", "", "", "", ""})
		}
		if step.Reply && !reply {
			rows = append(rows, []string{"the answer:", "", "", "", "", ""})
		}
		reply = step.Reply
		table := step.Table
		if step.Family != "" {
			table = step.Family + " " + table
		}
		rows = append(
			rows,
			[]string{
				step.Hook,
				dash(printable(table)),
				dash(printable(step.Chain)),
				dash(printable(step.Rule)),
				printable(effectWords(step)),
				dash(step.Owner),
			},
		)
	}
	s.table(rows)
	if quiet > 0 {
		s.printf(
			"(%s into chains that say nothing of this packet left out; -o json has them)\n",
			plural(quiet, "jump"),
		)
	}
	printTargets(s, x.Targets)
	colour := green
	if x.Reason != audit.Connects {
		colour = red
	}
	s.printf("\n")
	s.sentence(fmt.Sprintf("%s: %s.", s.paint(colour, string(x.Reason)), printable(x.Summary)))
	if x.Policy != "" {
		s.printf("That is service %s, %s.\n", x.Service, x.Policy)
	}
	for _, a := range x.Assumed {
		s.sentence("Assumed: " + a + ".")
	}
}

// printTargets lists several targets, each with its outcome and what decided it.
func printTargets(s *screen, targets []exposure.Target) {
	if len(targets) < 2 {
		return
	}
	rows := [][]string{{"TARGET", "OUTCOME", "DECIDED BY"}}
	for _, t := range targets {
		rows = append(rows, []string{
			dash(t.Address), t.Reason, printable(audit.Words(t.DecidedBy)),
		})
	}
	s.printf("\n")
	s.table(rows)
}

const jumps = "match: jump "

// telling leaves out jumps into chains in which nothing concerned the packet, and counts them:
// firewalld makes dozens of chains for what an administrator may add.
func telling(steps []exposure.Step) (out []exposure.Step, quiet int) {
	// Backwards, since a chain of nothing but such jumps says nothing either.
	for n := len(steps) - 1; n >= 0; n-- {
		s := steps[n]
		if into, ok := strings.CutPrefix(s.Effect, jumps); ok && len(out) > 0 {
			if next := out[len(out)-1]; next.Way == s.Way &&
				(next.Chain != into || next.Table != s.Table || next.Hook != s.Hook) {
				quiet++
				continue
			}
		}
		out = append(out, s)
	}
	slices.Reverse(out)
	return out, quiet
}

// asAbove is the effect of a step from which on a way is the same as the way before.
const asAbove = "as above from here"

// withoutRepeats shortens ways that differ from the way before in their first steps alone. A chain
// after a rule that may match would otherwise be listed for each way.
func withoutRepeats(steps []exposure.Step) (out []exposure.Step) {
	var before []exposure.Step
	for len(steps) > 0 {
		n := slices.IndexFunc(steps, func(s exposure.Step) bool { return s.Way != steps[0].Way })
		if n < 0 {
			n = len(steps)
		}
		way := steps[:n]
		same := 0
		for same < min(len(way), len(before)) {
			a, b := way[len(way)-1-same], before[len(before)-1-same]
			if a.Way = b.Way; a != b {
				break
			}
			same++
		}
		out = append(out, way...)
		if same > 1 { // the row that stands for the others is one itself
			out = out[:len(out)-same+1]
			out[len(out)-1].Effect = asAbove
		}
		before, steps = way, steps[n:]
	}
	return out
}

// effectWords is what a step did, without repeating where a rule that says so jumps to.
func effectWords(s exposure.Step) string {
	for _, verb := range []string{"jump ", "goto "} {
		if to, ok := strings.CutPrefix(s.Effect, "match: "+verb); ok &&
			strings.HasSuffix(s.Rule, verb+to) {
			return "match"
		}
	}
	return s.Effect
}
