package pipeline

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// The rules as a person reads them: "a first packet, from a VRF → goto vrf".

func text(chains ...Chain) string {
	var b strings.Builder
	for _, c := range chains {
		fmt.Fprintf(&b, "%s\n%s", nameText(c.Name), rulesText(c.Rules))
	}
	return b.String()
}

func rulesText(rules []Rule) string {
	var b strings.Builder
	for _, r := range rules {
		var when []string
		for _, c := range r.When {
			when = append(when, conditionText(c))
		}
		var does []string
		if r.Do != nil {
			does = append(does, actionText(r.Do))
		}
		if r.End.Kind != GoesOn {
			does = append(does, strings.TrimSpace(endNames[r.End.Kind]+" "+nameText(r.End.To)))
		}
		fmt.Fprintf(&b, "  %s → %s\n", strings.Join(when, ", "), strings.Join(does, ", "))
	}
	return strings.ReplaceAll(b.String(), "   →", "  →")
}

var roleNames = []string{"", "remember", "vrf", "elsewhere", "own-source", "spoofed", "direct",
	"direct-refuse", "unlisted", "unlisted-refuse", "service", "where", "shared", "allow", "refuse"}

var endNames = []string{"", "goto", "jump", "return", "accept", "drop", "reset", "unreachable"}

var factNames = []string{"first packet", "reply", "running", "no connection", "beginning",
	"expected", "translated", "redirected", "by VRF", "from own", "to own", "from own here",
	"to own here", "to virtual"}

func nameText(n Name) string {
	words := roleNames[n.Role] + n.Text
	if n.Service != "" {
		words += " " + n.Service
	}
	if n.OfLease() {
		words += " lease " + n.Ports.String()
	}
	if n.Role == Shared {
		words += " " + n.Ports.String()
	}
	return words
}

func conditionText(c Condition) string {
	switch x := c.(type) {
	case Fact:
		return factNames[x]
	case ArrivesBy:
		return "by " + string(x)
	case ArrivesThrough:
		return "through " + string(x)
	case Has:
		return fmt.Sprintf("label %d", x)
	case Lacks:
		return fmt.Sprintf("no label %d", x)
	case Only:
		return address.Family(x).String()
	case From:
		return "from " + netip.Prefix(x).String()
	case To:
		return "to " + netip.Prefix(x).String()
	case DialledAt:
		return "at " + strings.Join(x.Addresses.Strings(), " ")
	case Listed:
		return firewall.Protocol(x).String()
	case Carries:
		return "carries " + firewall.Protocol(x).String()
	case Message:
		return x.Family.String() + " " + x.Name
	case UDP:
		return fmt.Sprintf("udp %d to %d", x.Source, x.Destination)
	case Note:
		return "note " + string(x)
	case OverRate:
		return "over " + x.Rate.String()
	}
	return fmt.Sprintf("%T", c)
}

func actionText(a Action) string {
	switch x := a.(type) {
	case Label:
		return fmt.Sprintf("set label %d", x)
	case LogAllowed:
		return "log allowed " + string(x)
	case CountAllowed:
		return "count allowed " + string(x)
	case Record:
		if x.Log {
			return fmt.Sprintf("count refused %s, log %s", nameText(x.For), x.Label)
		}
		return "count refused " + nameText(x.For)
	}
	return fmt.Sprintf("%T", a)
}
