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
	a := &auditor{Input: in, evaluator: exposure.NewEvaluator(rs, nil), assumed: map[string]bool{}, report: Report{Exposures: []Exposure{}, Findings: []Finding{}}}
	for _, m := range rs.Missing {
		a.report.Unread = append(a.report.Unread, fmt.Sprintf("%s: %s", m.What, m.Why))
	}
	a.unroutable = martians()
	x := Exposure{Protocol: protocol.String(), Port: port, Address: "*", Interface: iface}
	var all reach
	for _, f := range firewall.Families {
		all.add(a.ask(a.evaluator, exposure.Question{Family: f, Protocol: protocol, Interface: iface, Port: port}, func(p exposure.Piece) bool { return p.Outcome.Passes() }))
	}
	x.Target = strings.Join(all.targets, ", ")
	a.judge(x, all, firewall.Families, nil)
	a.finish()
	return a.report
}
