package exposure

import (
	"net/netip"
	"strings"
)

// NoRule is the reason of a Decider where no rule and no policy decided.
const NoRule = "no rule says otherwise"

// Decider is what decided on a packet: a rule, a chain's policy, or the host's routing.
type Decider struct {
	Rule  *Rule  // nil unless a rule
	Chain *Chain // the chain whose policy it was, or the rule's; nil for the host itself
	// Reason is one clause for people, without a full stop: "policy drop", "rp_filter: no route
	// back through eth0".
	Reason string
	// Rate is what the unknown condition of the rule allows, if it is a rate.
	Rate Rate
}

// Owner is the program that likely wrote what decided; "" if unknown.
func (d Decider) Owner() string {
	switch {
	case d.Rule != nil:
		return d.Rule.Owner()
	case d.Chain != nil:
		return d.Chain.Owner()
	}
	return ""
}

// Describe converts it to the form of the JSON contract.
func (d Decider) Describe() Decision {
	out := Decision{Reason: d.Reason, Owner: d.Owner()}
	chain := d.Chain
	if d.Rule != nil {
		out.Rule, out.Comment = d.Rule.Text, d.Rule.Comment
		out.Handle, out.Number = d.Rule.Handle, d.Rule.Number
		out.File, out.Line = d.Rule.Origin.File, d.Rule.Origin.Line
		if d.Rule.Chain != nil {
			chain = d.Rule.Chain
		}
	}
	if chain != nil {
		out.Chain = chain.Name
		if chain.Table != nil {
			out.System, out.Family = chain.Table.System.String(), chain.Table.Family.String()
			out.Table = chain.Table.Name
		}
	}
	return out
}

// inChain is the reason, after the chain: "ip6 filter chain OUTPUT: policy drop".
func (d Decider) inChain() string {
	x := d.Describe()
	if x.Chain == "" {
		return d.Reason
	}
	return strings.TrimSpace(x.Family+" "+x.Table) + " chain " + x.Chain + ": " + d.Reason
}

// Decision names a Decider: JSON's decided_by.
type Decision struct {
	Owner   string `json:"owner,omitempty"`
	System  string `json:"system,omitempty"`
	Family  string `json:"family,omitempty"`
	Table   string `json:"table,omitempty"`
	Chain   string `json:"chain,omitempty"`
	Rule    string `json:"rule,omitempty"`
	Number  int    `json:"number,omitempty"`
	Handle  uint64 `json:"handle,omitempty"`
	Comment string `json:"comment,omitempty"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Reason  string `json:"reason"`
}

// Explanation is one packet's path: a Question with one source.
type Explanation struct {
	// Verdict is "allow", "deny" or "unknown".
	Verdict string `json:"verdict"`
	Steps   []Step `json:"steps"`
	// DecidedBy is what stopped the packet or let it in; of several targets, at the first. Package
	// audit, which knows the outcome, names what loses the answer where that decides.
	DecidedBy Decision `json:"decided_by"`
	// Target is where the packet ends up, "address:port"; "" if it is stopped.
	Target string `json:"target,omitempty"`
	// Replies is the outcome of the answer. It is nil for a packet that is stopped, and where no
	// answer is followed.
	Replies *Replies `json:"replies,omitempty"`
	// Targets are all destinations that it may end up at; empty for a packet that is stopped
	// earlier.
	Targets []Target `json:"targets"`
	// Unknowns are what the verdict "unknown" depends on.
	Unknowns []Decision `json:"unknowns,omitempty"`
	Assumed  []string   `json:"assumed,omitempty"`
	// WayTargets are the targets of the ways, by Step.Way: nil where the packet is stopped, the
	// zero AddrPort where the target isn't known. Strays: some packets may be stopped before they
	// are sent to a target.
	WayTargets []*netip.AddrPort `json:"-"`
	Strays     bool              `json:"-"`
	// Listener is the socket at the target. It is nil if there is none, or the caller didn't look.
	Listener *Listener `json:"listener"`
}

// Step is one evaluated rule, policy or routing decision, in order. If the path splits at something
// unknown, the steps of the branches follow each other, numbered by Way.
type Step struct {
	// Hook is "routing" between prerouting and input or forward, "socket" where the packet arrives
	// and nobody takes it, "namespace" where another network namespace stops it.
	Hook   string `json:"hook"`
	Family string `json:"family"`
	Table  string `json:"table"`
	Chain  string `json:"chain"`
	Rule   string `json:"rule"`
	// Effect is "no match", "match: accept", "jump ufw-user-input", "may match: limit", "mark 0x1",
	// "dnat to 172.17.0.2:80".
	Effect string `json:"effect"`
	Owner  string `json:"owner,omitempty"`
	Handle uint64 `json:"handle,omitempty"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Way    int    `json:"way"`
	// Reply: the step is about the answer.
	Reply bool `json:"reply,omitempty"`
	// Match says whether the kernel's trace would show the rule: it shows policies, and rules that
	// matched to the end.
	Match Tri `json:"-"`
}

// Listener is the socket that would get the packet, and its owner. Package sockets finds it.
type Listener struct {
	Protocol   string `json:"protocol"`
	Address    string `json:"address"`
	Port       uint16 `json:"port"`
	Interface  string `json:"interface,omitempty"`
	Process    string `json:"process,omitempty"`
	PID        int    `json:"pid,omitempty"`
	Executable string `json:"executable,omitempty"`
	Unit       string `json:"unit,omitempty"`
	Container  string `json:"container,omitempty"`
	Namespace  string `json:"namespace,omitempty"`
}
