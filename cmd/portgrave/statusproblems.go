package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/daemon"
	"github.com/portgrave/portgrave/firewall/host"
)

// Each problem of status is a sentence: what is so, why, and what to do.

// generationWords say what is in force, and since when.
func generationWords(s *screen, r statusResult, now time.Time) string {
	g := r.Generation
	switch gone := r.TornDown; {
	case gone != nil:
		return s.paint(red, "Nothing is enforced since "+untilWords(gone.Time)) + ", by " +
			dash(printable(gone.User)) + ": " + tornDownWords(gone) +
			"; nothing is enforced, not even at boot, until portgrave apply."
	case g == nil && !r.Drift.InSync && r.Drift.Changes == 0: // as a warning says
		return s.paint(red, "Which generation is in force is unknown") +
			", since the history is damaged; portgrave apply begins a new one."
	case g == nil && r.Present && r.Boot != nil:
		return s.paint(yellow, "Nothing has been applied") + ", and what the boot put in force is " +
			"enforced: run portgrave apply."
	case g == nil:
		return s.paint(yellow, "Nothing is enforced") + ", since nothing has been applied: see " +
			"portgrave plan, then run portgrave apply."
	}
	words := fmt.Sprintf("Generation %d is in force since %s, by %s",
		g.Generation, untilWords(g.Time), dash(printable(g.User)))
	if g.Reason != "" {
		words += " (" + printable(g.Reason) + ")"
	}
	switch {
	case g.Confirmed:
	case g.ConfirmBy.Before(now):
		words += "; " + s.paint(red, "it was not confirmed in time, and the next command of root "+
			"takes it back")
	default:
		words += "; " + s.paint(yellow, "it is taken back at "+untilWords(g.ConfirmBy)+
			" unless you run portgrave confirm")
	}
	if r.Drift.InSync {
		words += "; no drift"
	}
	return words + "."
}

// problems are what else status has to report, the most urgent first.
func problems(s *screen, r statusResult) (list []string) {
	add := func(colour, what, rest string) { list = append(list, s.paint(colour, what)+rest) }
	if !r.Drift.InSync && r.Drift.Changes > 0 && (r.Generation != nil || r.Boot == nil) {
		mend := "see portgrave drift, then run portgrave apply."
		if r.Generation == nil {
			mend = "see portgrave drift, then run portgrave apply or teardown."
		}
		add(red, "The kernel's rules differ from it",
			fmt.Sprintf(" in %s: %s", plural(r.Drift.Changes, "object"), mend))
	}
	list = append(list, policyProblems(s, r)...)
	list = append(list, daemonProblems(s, r)...)
	list = append(list, bootProblems(s, r)...)
	for _, n := range r.StaleNetworks {
		add(yellow, "Stale:", fmt.Sprintf(
			" network %s keeps its content of %s: %s. Mend %s, then run portgrave %s.",
			n.Name, untilWords(n.Since), n.Reason, printable(n.Source), applyOrReload(r)))
	}
	if t := r.Tracking; t != nil && t.Limit > 0 && t.Fill() >= crowded {
		add(red, "The table of connections is nearly full", fmt.Sprintf(
			" (%d of %d): new connections are dropped when it is; raise "+
				"net.netfilter.nf_conntrack_max.", t.Count, t.Limit))
	}
	for _, t := range r.FullTables {
		add(red, "A table is full", ": "+t.String()+".")
	}
	for _, x := range r.SavedRules {
		add(yellow, "Saved rules:", " "+x.String())
	}
	return list
}

func applyOrReload(r statusResult) string {
	if r.Daemon != nil && r.TornDown == nil {
		return "reload"
	}
	return "apply"
}

func policyProblems(s *screen, r statusResult) (list []string) {
	onDisk := "The policy on disk (" + r.Policy.Origin + ")"
	switch {
	case r.Policy.Error != "":
		first, more, _ := strings.Cut(r.Policy.Error, "\n")
		if n := strings.Count(more, "\n") + 1; more != "" {
			first += fmt.Sprintf(" (and %s)", plural(n, "more problem"))
		}
		list = append(list, s.paint(red, "The policy on disk can't be used")+
			", and what is in force stays: "+first+". Mend it; portgrave check tells all.")
	case r.Policy.Waits:
		list = append(list, s.paint(yellow, onDisk+" is not in force")+
			": it waits for portgrave "+applyWords(r)+"; portgrave plan shows what that changes.")
	case !r.Policy.Applied:
		list = append(list, s.paint(yellow, onDisk+" is not in force yet")+
			": the daemon puts it in force by itself; portgrave plan shows what that changes.")
	}
	if len(r.SetAside) > 0 {
		list = append(list, s.paint(yellow, setAsideWords(r.SetAside)))
	}
	return list
}

func applyWords(r statusResult) string {
	if r.Daemon != nil && r.TornDown == nil {
		return "apply or reload"
	}
	return "apply"
}

// setAsideWords say that what lists hold is not in force.
func setAsideWords(lists []string) string {
	if len(lists) == 1 {
		return fmt.Sprintf("The content of list %s was rolled back: portgrave apply or reload takes "+
			"it again.", lists[0])
	}
	return fmt.Sprintf("The contents of lists %s were rolled back: portgrave apply or reload takes "+
		"them again.", strings.Join(lists, ", "))
}

// tornDownWords say why there are no rules.
func tornDownWords(gone *host.Entry) string {
	if gone.Reason != "" { // not a person's doing
		return gone.Reason + ", and nothing was in force before"
	}
	return "portgrave teardown"
}

func daemonProblems(s *screen, r statusResult) (list []string) {
	d := r.Daemon
	if d == nil {
		return nil
	}
	if !d.Protection.Protected {
		words := s.paint(yellow, "Others can change the rules") + ", and are undone: " +
			strings.TrimSuffix(d.Protection.Reason, ".") + "."
		list = append(list, words)
	}
	if d.Reduced {
		list = append(list, s.paint(red, "A small table stands in for this generation")+
			": only sources of short lists and running SSH sessions are let in; the full lists "+
			"follow by themselves.")
	}
	if f := d.Fight; f != nil {
		list = append(list, fightLine(s, *f))
	}
	unusable := d.Policy.Error
	if r.Policy.Error != "" { // that says it already
		unusable = ""
	}
	for _, problem := range []string{d.Error, d.StateError, unusable, d.Metrics.Error} {
		if problem != "" {
			first, _, _ := strings.Cut(problem, "\n")
			list = append(list, s.paint(red, "The daemon has a problem")+": "+first)
		}
	}
	return list
}

// fightLine tells of the last program that kept undoing the rules.
func fightLine(s *screen, f daemon.Fight) string {
	what := fmt.Sprintf("%s, since %s: %s", authorWords(f.Author), untilWords(f.Since), f)
	if f.Until.IsZero() {
		return s.paint(red, "Another program keeps undoing the rules: "+what) + "; stop that program."
	}
	return fmt.Sprintf("A fight over the rules is over since %s; %s.", untilWords(f.Until), what)
}

// bootProblems tell what the system started with if that is not what it should have been.
func bootProblems(s *screen, r statusResult) (list []string) {
	switch b := r.Boot; {
	case b == nil && r.bootMissed:
		return []string{s.paint(red, "portgrave-boot.service put nothing in force") +
			": it has failed, or was not started; see systemctl status portgrave-boot.service."}
	case b == nil || b.Well():
		return nil
	default:
		why := append(append([]string{}, b.Fallbacks...), b.Error)
		words := s.paint(red, "At boot something else was put in force: "+lowerFirst(booted(*b)))
		for _, x := range why {
			if x != "" {
				words += "; " + strings.ReplaceAll(x, "\n", "; ")
			}
		}
		return []string{words + ". Once that is mended, run portgrave apply."}
	}
}

func lowerFirst(text string) string {
	if text == "" {
		return text
	}
	return strings.ToLower(text[:1]) + text[1:]
}
