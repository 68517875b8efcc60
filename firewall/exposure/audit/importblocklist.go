package audit

import (
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Blocklists: rules that close all ports to some sources, on a host that leaves its other ports
// open. The policy leaves unlisted ports alone, so a service for all ports expresses them.

// maxBlocklistRules bounds the rules that are named.
const maxBlocklistRules = 8

// noteBlocklists notes which rules the services for all ports replace, and what they can't express.
func (w *importWriter) noteBlocklists() {
	if w.deny() {
		return
	}
	all := false
	for _, s := range w.out.Services {
		all = all || s.Everything
	}
	rules := w.blocklistRules()
	if len(rules) == 0 && (!all || w.options.IncludeUnknown) {
		return
	}
	if len(rules) == 0 {
		rules = []string{"rules that are too many to name"}
	}
	w.note("rules close ports that have no service of their own to some sources: %s. The services "+
		"all-ports keep that for TCP, UDP and SCTP; protocols and ICMP messages that no service names "+
		"are open to these sources", strings.Join(rules, "; "))
}

// blocklistRules are the rules that refuse sources on most ports, by some interface.
func (w *importWriter) blocklistRules() (out []string) {
	for i, on := range w.interfaces {
		for _, p := range firewall.Protocols {
			n := slices.IndexFunc(w.subjects, func(x *subject) bool {
				return x.Protocol == p && !x.receiver.there && w.usual(x, i)
			})
			if n < 0 || w.openToAll(w.subjects[n]) {
				continue
			}
			for _, f := range address.Families {
				out = w.stops(out, exposure.Question{
					Family: f, Protocol: p, Interface: on.Name, Port: w.subjects[n].First,
				})
			}
		}
	}
	return out
}

// stops adds the rules and policies that stop sources from outside.
func (w *importWriter) stops(out []string, q exposure.Question) []string {
	answer, err := w.evaluator.Evaluate(q)
	if err != nil {
		return out
	}
	letIn := w.unroutable[slot(q.Family)]
	if _, possible := answer.Through(); w.options.IncludeUnknown {
		letIn = letIn.Union(possible)
	}
	for _, p := range answer.Pieces {
		by := p.DecidedBy
		if p.Outcome.Passes() || by.Rule == nil && by.Chain == nil ||
			len(out) == maxBlocklistRules || p.Sources.Minus(letIn).Empty() {
			continue
		}
		out = appendOnce(out, Words(withoutReason(by).Describe()))
	}
	return out
}
