package audit

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Offline answers for one port from rules without their host, such as a file: who gets through to it with a packet addressed to the host itself. An iface of "" is
// an unknown one.
func Offline(rs *exposure.Ruleset, protocol firewall.Protocol, port uint16, iface string, in Input) Report {
	in.Rules, in.Host = rs, nil
	a := &auditor{Input: in, evaluator: exposure.NewEvaluator(rs, nil), budget: &exposure.Budget{Steps: maxAuditSteps}, shared: &shared{}, assumed: map[string]bool{}, report: Report{Exposures: []Exposure{}, Findings: []Finding{}}}
	for _, m := range rs.Missing {
		a.report.Unread = append(a.report.Unread, fmt.Sprintf("%s: %s", m.What, m.Why))
	}
	a.unroutable = martians()
	x := Exposure{Protocol: protocol.String(), Port: port, Address: "*", Interface: iface}
	var all reach
	families := familiesOf(rs)
	for _, f := range families {
		all.add(a.ask(a.evaluator, exposure.Question{Family: f, Protocol: protocol, Interface: iface, Port: port}, func(p exposure.Piece) bool { return p.Outcome.Passes() }))
	}
	x.Target = strings.Join(all.targets, ", ")
	if len(families) == 1 {
		a.assumed[fmt.Sprintf("nothing is said of the other IP version: these are rules for %s alone", families[0])] = true
	}
	a.judge(x, all, families, nil, nil)
	a.finish()
	return a.report
}

// familiesOf are the IP versions that rules from files speak for. iptables-save says nothing about IPv6, nor ip6tables-save about IPv4; nft's listing is about both.
func familiesOf(rs *exposure.Ruleset) (out []firewall.Family) {
	for _, f := range firewall.Families {
		speaks := len(rs.Tables) == 0
		for _, t := range rs.Tables {
			speaks = speaks || t.System == exposure.NFTables || t.Family.Sees(f)
		}
		if speaks {
			out = append(out, f)
		}
	}
	return out
}
