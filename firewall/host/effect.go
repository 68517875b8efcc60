package host

import (
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/xt"
)

// Effect is who gains and who loses access to a port when a plan is applied. Its JSON is a
// contract.
type Effect struct {
	Protocol string `json:"protocol"`
	Port     uint16 `json:"port"`
	PortLast uint16 `json:"port_last,omitempty"` // for a published range
	// Addresses are those that the port is bound to or published at, if it isn't at all of the
	// host's, or those that it is about, if it is about some. Interfaces are those that it is
	// about; none: all.
	Addresses  []string `json:"addresses,omitempty"`
	Interfaces []string `json:"interfaces,omitempty"`
	Process    string   `json:"process"`
	Container  string   `json:"container,omitempty"`
	Target     string   `json:"target,omitempty"` // for a published port: where its packets go
	// Gains and Loses are certain. MayGain and MayLose may gain or lose it: a rule that can't be
	// decided in advance stands in their way before the plan or after it.
	Gains   Sources `json:"gains"`
	Loses   Sources `json:"loses"`
	MayGain Sources `json:"may_gain,omitzero"`
	MayLose Sources `json:"may_lose,omitzero"`
	// Connections are those that run now and that the plan ends.
	Connections int `json:"connections"`
	// BlockedBy is the program whose rules still refuse all or some of what the plan opens; if that
	// isn't known, it is BlockedRule, the rule or other reason; "" if nothing does. Blocked are
	// those sources.
	BlockedBy   string  `json:"blocked_by"`
	BlockedRule string  `json:"blocked_rule,omitempty"`
	Blocked     Sources `json:"blocked,omitzero"`
}

// Sources are sources of an effect. Their JSON is a list of CIDRs.
type Sources = address.Set

// Wanted is what the kernel holds of ours once a plan is applied.
type Wanted struct {
	State firewall.State
	// IPTables is how iptables enforces it; nil: nftables does.
	IPTables *xt.Rendering
	// Before is what was in force; nil if nothing was, or if it isn't known.
	Before *firewall.State
	// Held: the kernel held exactly that, so that nothing else changes than what the States differ
	// in.
	Held bool
	// Begins: no rules of ours stood before.
	Begins bool
}

// wantedOf is what a plan leads to.
func (l *Local) wantedOf(
	p firewall.Plan, want firewall.State, seen firewall.Observation, held bool,
) (*Wanted, error) {
	w := &Wanted{State: want, Begins: p.Begins()}
	if g, err := l.lastKnown(); err == nil {
		before := g.InForce()
		w.Before, w.Held = &before, held
	}
	if p.Backend != "iptables" {
		return w, nil
	}
	var err error
	w.IPTables, err = xt.Render(want, seen, l.Now())
	return w, err
}

// Ends are the running connections that a plan ends.
func (w *Wanted) Ends(running []firewall.Connection, now time.Time) []firewall.Connection {
	return slices.Clip(w.State.Cut(running, w.Begins, now))
}
