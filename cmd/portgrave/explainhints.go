package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
)

// foreignHint is the command that lets a packet in where a rule of another program refuses it; ""
// if none is known. The command opens what was asked about and nothing else: this source, address,
// protocol and port. where is the source's address or prefix.
func foreignHint(x audit.Explanation, where string) string {
	if x.Port == 0 || !x.Destination.IsValid() {
		return ""
	}
	hook := decidingHook(x)
	input := hook == exposure.HookInput.String() && !rewritten(x)
	switch x.DecidedBy.Owner {
	case "ufw":
		return ufwHint(x, where, hook)
	case "firewalld":
		zone, ok := strings.CutPrefix(x.DecidedBy.Chain, "filter_IN_")
		if !ok || !input || strings.HasPrefix(zone, "policy_") || partOfZone(zone) {
			return ""
		}
		family := "ipv4"
		if x.From.Is6() {
			family = "ipv6"
		}
		return fmt.Sprintf(`firewall-cmd --zone=%s --add-rich-rule='rule family="%s" `+
			`source address="%s" destination address="%s" port port="%d" protocol="%s" accept'`,
			zone, family, where, x.Destination, x.Port, x.Protocol)
	case "docker":
		return dockerHint(x, where, hook)
	}
	return ""
}

// ufwHint puts the rule before those of ufw that refuse. A rule about what is forwarded sees where
// the packet goes after its address was rewritten, which the question doesn't name.
func ufwHint(x audit.Explanation, where, hook string) string {
	route := ""
	switch {
	case x.Protocol != "tcp" && x.Protocol != "udp" || rewritten(x),
		strings.Contains(x.DecidedBy.Chain, "before"),
		strings.Contains(x.DecidedBy.Chain, "not-local"):
		return "" // rules of users come after those
	case hook == exposure.HookForward.String():
		route = "route "
	case hook != exposure.HookInput.String():
		return ""
	}
	return fmt.Sprintf("ufw %sprepend allow proto %s from %s to %s port %d",
		route, x.Protocol, where, x.Destination, x.Port)
}

// dockerHint names the port as it was dialled, since the packet has another one by then.
func dockerHint(x audit.Explanation, where, hook string) string {
	const user = "DOCKER-USER"
	asked := slices.ContainsFunc(x.Steps, func(s exposure.Step) bool {
		return s.Chain == user || strings.HasSuffix(s.Effect, "jump "+user)
	})
	if !asked || hook != exposure.HookForward.String() || x.DecidedBy.Table != "filter" {
		return ""
	}
	program := "iptables"
	if x.From.Is6() {
		program = "ip6tables"
	}
	return fmt.Sprintf("%s -I %s -s %s -p %s -m conntrack --ctorigdst %s --ctorigdstport %d "+
		"--ctdir ORIGINAL -j ACCEPT", program, user, where, x.Protocol, x.Destination, x.Port)
}

// banHint lifts a ban, which covers other ports too: there is no narrower command. "" if it isn't
// known which ban it is, or it is about several addresses.
func banHint(x audit.Explanation, where string) string {
	if where != x.From.String() {
		return ""
	}
	switch x.DecidedBy.Owner {
	case "fail2ban":
		jail, ok := strings.CutPrefix(x.DecidedBy.Chain, "f2b-")
		if !ok || jail == "chain" { // the name in nftables, for all jails
			return ""
		}
		return fmt.Sprintf("fail2ban-client set %s unbanip %s", jail, where)
	case "crowdsec":
		return "cscli decisions delete --ip " + where
	}
	return ""
}

// decidingHook is the hook of the chain that decided; "" if unknown.
func decidingHook(x audit.Explanation) string {
	for _, s := range slices.Backward(x.Steps) {
		if !s.Reply && s.Chain == x.DecidedBy.Chain && s.Table == x.DecidedBy.Table {
			return s.Hook
		}
	}
	return ""
}

// rewritten reports whether a rule may have changed where the packet goes.
func rewritten(x audit.Explanation) bool {
	return slices.ContainsFunc(x.Steps, func(s exposure.Step) bool {
		return !s.Reply && slices.ContainsFunc([]string{"dnat", "redirect", "tproxy"},
			func(word string) bool { return strings.Contains(s.Effect, word) })
	})
}

// partOfZone reports whether a chain is one of those that firewalld makes for a zone, before or
// after a rich rule.
func partOfZone(chain string) bool {
	return slices.ContainsFunc([]string{"_pre", "_log", "_deny", "_allow", "_post"},
		func(end string) bool { return strings.HasSuffix(chain, end) })
}
