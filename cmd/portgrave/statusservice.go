package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/host/usage"
	"github.com/portgrave/portgrave/firewall/policydiff"
)

// statusOf prints all that is known of one service in force.
func (inv *invocation) statusOf(name string, r statusResult) error {
	i := slices.IndexFunc(r.Services, func(x serviceStatus) bool { return x.Name == name })
	if i < 0 {
		return noSuchService(name, r)
	}
	if inv.screen.json {
		x := r.Services[i]
		r.Services = []serviceStatus{x}
		r.Leases = statusPrinter{inv.screen, r, time.Now()}.leasesOf(x)
		return inv.screen.object(r)
	}
	p := statusPrinter{inv.screen, r, time.Now()}
	p.service(r.Services[i])
	return nil
}

func noSuchService(name string, r statusResult) error {
	if r.Generation == nil {
		return usagef("service %q is not in force, since nothing is: run portgrave status", name)
	}
	var names []string
	for _, x := range r.Services {
		names = append(names, x.Name)
	}
	if len(names) == 0 {
		return usagef("service %q is not in force, and no other is", name)
	}
	return usagef("service %q is not in force; in force are %s", name, someWords(names, 12))
}

// service prints all of one service: who may reach it, what was counted, where its lines stand.
func (p statusPrinter) service(x serviceStatus) {
	at := ""
	if len(x.Interfaces) > 0 {
		at += " on " + strings.Join(x.Interfaces, ", ")
	}
	if len(x.Addresses) > 0 {
		at += " at " + strings.Join(x.Addresses, ", ")
	}
	to := "nobody"
	if x.FromCount > 0 {
		to = p.entries(x.From, x.FromCount, len(x.From))
		if x.ExceptCount > 0 {
			to += " except " + p.entries(x.Except, x.ExceptCount, len(x.Except))
		}
	}
	p.wrap(fmt.Sprintf("%s (%s%s) is open to %s.", x.Name, strings.Join(x.Ports, ", "), at, to))
	for _, l := range p.leasesOf(x) {
		p.wrap(leaseWords(l))
	}
	for _, problem := range policyProblems(p.screen, p.r) {
		p.wrap(problem)
	}
	for _, n := range p.r.StaleNetworks {
		if uses(x, n.Name) {
			p.wrap(p.paint(yellow, "Network "+n.Name+" is stale") + ": portgrave status says why.")
		}
	}
	p.printf("\n")
	rows := [][]cell{
		{{text: "Sources:"}, {text: p.sourceCount(x)}},
		{{text: "Refused:"}, {text: p.usageWords(x.Refused["total"].Packets, x.Usage, false)}},
		{{text: "Allowed:"}, {text: p.usageWords(x.Allowed["total"].Packets, x.Usage, true)}},
	}
	p.facts(rows)
	if lines := linesOf(x); len(lines) > 0 {
		p.printf("\n")
		p.lines(lines)
	}
}

// sourceCount is how many prefixes a service lets in.
func (p statusPrinter) sourceCount(x serviceStatus) string {
	text := plural(x.Sources, "CIDR")
	if x.Expiring > 0 {
		text += fmt.Sprintf(", and %d that end by themselves", x.Expiring)
	}
	return text
}

// usageWords are packets, their rate, and when the last one came.
func (p statusPrinter) usageWords(packets uint64, u *usage.Usage, allowed bool) string {
	text := plural(int(min(packets, 1<<62)), "packet")
	if u == nil {
		return text
	}
	rate, last := u.RefusedPerMinute, u.LastRefused
	if allowed {
		rate, last = u.AllowedPerMinute, u.LastAllowed
	}
	text += fmt.Sprintf(", %.1f a minute since %s", rate, p.moment(u.Since))
	if last != nil {
		text += fmt.Sprintf("; the last one between %s and %s", p.second(last.After),
			p.second(last.Before))
	}
	return text
}

// second is a moment to the second.
func (p statusPrinter) second(t time.Time) string {
	return strings.Replace(p.moment(t), t.Local().Format("15:04"), t.Local().Format("15:04:05"), 1)
}

// uses reports whether a service names a network.
func uses(x serviceStatus, network string) bool {
	return slices.ContainsFunc(slices.Concat(x.From, x.Except),
		func(e host.Entries) bool { return e.Entry == network })
}

// linesOf are the lines of the policy about a service, in the order of the policy.
func linesOf(x serviceStatus) []policydiff.Line {
	lines := slices.Clone(x.Lines)
	add := func(key string, list []host.Entries, count int) {
		for _, e := range list {
			text := e.Entry
			if !e.Expires.IsZero() {
				text += ", until " + untilWords(e.Expires)
			}
			if e.Place.Line > 0 {
				lines = append(lines, policydiff.Line{Key: key, Text: text, Place: e.Place})
			}
		}
		if last := len(list) - 1; count > len(list) && last >= 0 && list[last].Place.Line > 0 {
			lines = append(lines, policydiff.Line{Key: key,
				Text: fmt.Sprintf("and %d more", count-len(list)), Place: list[last].Place})
		}
	}
	add("allow", x.From, x.FromCount)
	add("except", x.Except, x.ExceptCount)
	slices.SortStableFunc(lines, func(a, b policydiff.Line) int {
		if a.File != b.File {
			return strings.Compare(a.File, b.File)
		}
		return a.Line - b.Line
	})
	return lines
}

// lines prints where the policy in force has what it says, as compilers do.
func (p statusPrinter) lines(lines []policydiff.Line) {
	for _, l := range lines {
		p.wrap(fmt.Sprintf("%s:%d: %s: %s", l.File, l.Line, l.Key, l.Text))
	}
}
