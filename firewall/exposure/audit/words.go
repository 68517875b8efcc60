package audit

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// maxWords is the most bytes of a rule that are shown.
const maxWords = 1000

// letInBy names what let a packet in.
func letInBy(d exposure.Decision) string {
	if d.Chain == "" && d.Reason == exposure.NoRule {
		return "as no rule stops it"
	}
	return "let in by " + Words(d)
}

// maxListed is the most deciders that a sentence names. The others are in the JSON.
const maxListed = 4

// someOf is a list of deciders in a sentence.
func someOf(list []string) string {
	if more := len(list) - maxListed; more > 1 {
		return fmt.Sprintf("%s; and %d more", strings.Join(list[:maxListed], "; "), more)
	}
	return strings.Join(list, "; ")
}

// stopped says what stopped a packet.
func stopped(d exposure.Decision) string {
	switch {
	case d.Chain != "" || d.Rule != "":
		return "stopped by " + Words(d)
	case strings.HasPrefix(d.Reason, "in "): // another namespace: see namespace.decider
		return "stopped " + d.Reason
	}
	s := "stopped by the kernel's routing: " + d.Reason
	if strings.HasPrefix(d.Reason, "rp_filter") {
		s += "; " + remedy(d)
	}
	return s
}

// Words names what decided, for people: "ufw, chain ufw-user-input: tcp dport 22 accept".
func Words(d exposure.Decision) string {
	var parts []string
	if d.Owner != "" {
		parts = append(parts, d.Owner)
	}
	where := strings.TrimSpace(fmt.Sprintf("%s %s", d.Family, d.Table))
	if d.Chain != "" {
		where = strings.TrimSpace(where + " chain " + d.Chain)
	}
	if where != "" {
		parts = append(parts, where)
	}
	if d.File != "" {
		at := d.File
		if d.Line > 0 {
			at = fmt.Sprintf("%s:%d", at, d.Line)
		}
		parts = append(parts, at)
	}
	s := strings.Join(parts, ", ")
	what := d.Rule
	for _, refuses := range []string{exposure.RefusesNeighbours, exposure.RefusesARP} {
		if _, why, ok := strings.Cut(d.Reason, refuses); ok && d.Rule != "" {
			what += ": " + refuses + why
		}
	}
	if what == "" {
		what = d.Reason
	}
	if len(what) > maxWords { // a rule may name thousands of ports
		what = strings.ToValidUTF8(what[:maxWords], "") + "…"
	}
	switch {
	case s == "":
		return what
	case what == "":
		return s
	}
	return s + ": " + what
}
