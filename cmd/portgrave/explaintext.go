package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
)

// printExplanation answers in the first line, names who decides in the second, and says what to do.
// The path follows if it is asked for. from is what the packet comes from, in words, and where its
// address or prefix.
func printExplanation(s *screen, x audit.Explanation, from, where string, path bool) {
	colour := green
	if x.Reason != audit.Connects {
		colour = red
	}
	s.paragraph(s.paint(colour, string(x.Reason)) + ": " + printable(verdictWords(x, from)) + ".")
	s.paragraph(printable(deciderWords(x)) + ".")
	if todo := remedyWords(x, from, where); todo != "" {
		s.paragraph(printable(todo) + ".")
	}
	printTargets(s, x.Targets)
	for _, a := range x.Assumed {
		s.paragraph("Assumed: " + printable(a) + ".")
	}
	if path {
		printPath(s, x)
	}
}

// paragraph prints a sentence in lines that fit. Its foreign parts are printable already: the rest
// may be painted.
func (s *screen) paragraph(text string) {
	s.printf("%s\n", wrapped(text, max(s.columns, minColumns)))
}

// explainedPort is the port that a packet dials: "tcp/22", or the protocol if it has none.
func explainedPort(x audit.Explanation) string {
	p, err := firewall.ParseProtocol(x.Protocol)
	if err != nil {
		return x.Protocol
	}
	return firewall.PortRange{Protocol: p, First: x.Port, Last: x.Port}.String()
}

// verdictWords is the verdict in a sentence.
func verdictWords(x audit.Explanation, from string) string {
	if !x.Destination.IsValid() {
		return "it isn't known how " + from + " comes to " + explainedPort(x)
	}
	at := fmt.Sprintf("%s at %s, by %s", explainedPort(x), x.Destination, x.Interface)
	switch x.Reason {
	case audit.Connects:
		return from + " reaches " + at
	case audit.BoundElsewhere:
		return from + " does not reach " + at + ": the service listens on another address"
	case audit.NothingListens:
		return from + " does not reach " + at + ": nothing listens there"
	case audit.ReplyLost:
		return from + " gets to " + at + ", but the answer doesn't get back"
	case audit.Unclear:
		return "whether " + from + " reaches " + at + " can't be decided in advance"
	}
	return from + " does not get to " + at
}

// deciderWords names the line of the policy, or the program and its rule, that decides.
func deciderWords(x audit.Explanation) string {
	ours := ""
	if x.Policy != "" {
		ours = fmt.Sprintf("service %s, %s", x.Service, x.Policy)
	} else if x.Service != "" {
		ours = "service " + x.Service
	}
	switch {
	case x.Reason == audit.DroppedHere && ours != "":
		return "Refused by " + ours
	case x.Reason == audit.DroppedHere && x.DecidedBy.Owner == "portgrave":
		return "Refused by portgrave, chain " + x.DecidedBy.Chain
	case x.Reason == audit.Connects && ours != "" && x.Listener != nil && len(x.Targets) < 2:
		who := x.Listener.Process
		if who == "" {
			who = "a program that can't be told"
		}
		return fmt.Sprintf("Let in by %s; %s listens", ours, who)
	case ours != "":
		return firstUpper(x.Summary) + ". That is " + ours
	case x.Reason == audit.DroppedHere:
		if _, by, ok := strings.Cut(x.Summary, ": "); ok { // the first line says the rest
			return strings.ToUpper(by[:1]) + by[1:]
		}
	}
	return firstUpper(x.Summary)
}

// firstUpper begins a sentence with a capital, unless it begins with an address.
func firstUpper(s string) string {
	for _, word := range []string{"whether ", "the ", "no "} {
		if strings.HasPrefix(s, word) {
			return strings.ToUpper(s[:1]) + s[1:]
		}
	}
	return s
}

// remedyWords says what to do; "" if there is nothing.
// from is what the policy calls the sources, where their addresses or prefix.
func remedyWords(x audit.Explanation, from, where string) string {
	switch x.Reason {
	case audit.DroppedHere:
	case audit.Connects:
		if x.Service == "" || strings.Contains(x.Summary, "check upstream") && x.Listener == nil {
			return "" // the summary says it
		}
		return "If it still can't connect, its packets aren't reaching this host: check upstream"
	case audit.NothingListens:
		return "Start the service, or see where it listens: ss -lntup"
	case audit.Unclear:
		if !x.Destination.IsValid() {
			return "" // the summary says which flag tells it
		}
		return "Try it, or look at the rules that it depends on: --path shows them"
	default: // the summary says it
		return ""
	}
	switch {
	case strings.Contains(from, " ") && x.Except != "":
		return fmt.Sprintf("To let some of them in, take those out of except of service %s (%s) "+
			"and run portgrave apply", x.Service, x.Except)
	case strings.Contains(from, " ") && x.Service != "":
		return fmt.Sprintf("To let some of them in, add those to allow of service %s and run "+
			"portgrave apply", x.Service)
	case strings.Contains(from, " "):
		from, where = x.From.String(), x.From.String()
	}
	switch by := x.DecidedBy; {
	case x.Except != "":
		return exceptWords(x)
	case x.Service != "" && x.Port != 0:
		return fmt.Sprintf("To let it in, add %s to allow of service %s and run portgrave apply; "+
			"for a time: portgrave open %s --from %s --for 2h --reason TEXT",
			from, x.Service, explainedPort(x), from)
	case x.Service != "":
		return fmt.Sprintf("To let it in, add %s to allow of service %s and run portgrave apply",
			from, x.Service)
	case by.Owner == "portgrave" && strings.Contains(strings.ToLower(by.Chain), "unlisted"):
		return fmt.Sprintf("No service lists %s: to let it in, add one that does", explainedPort(x))
	case by.Owner == "portgrave":
		return "See man portgrave on what is refused for every service"
	case foreignHint(x, where) != "":
		return "Portgrave never changes rules of others. To let it in there: " +
			foreignHint(x, where)
	case banHint(x, where) != "":
		return "Portgrave never changes rules of others. To let it in there, on every port that the " +
			"ban covers: " + banHint(x, where)
	case by.Rule != "" || by.Chain != "":
		return "Portgrave never changes rules of others: change that one to let it in"
	}
	return "" // routing: the summary says it
}

// exceptWords says what to do where the policy's except takes the source away from allow.
func exceptWords(x audit.Explanation) string {
	add := ""
	if x.Unallowed {
		add = ", add it to allow"
	}
	return fmt.Sprintf("To let it in, remove it from except of service %s (%s)%s, and run portgrave "+
		"apply", x.Service, x.Except, add)
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
