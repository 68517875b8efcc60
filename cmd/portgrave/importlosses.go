package main

// Who would lose access by an imported policy: sources that get in only for a time today, such as
// by a lease, and SSH sessions.

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/connections"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/host/lease"
)

// runningLeases are the leases that run now.
func runningLeases(inv *invocation) (running []lease.Lease, err error) {
	all, damaged, err := lease.At(inv.stateDir).List()
	for _, e := range damaged {
		inv.screen.warnf("%v", e)
	}
	for _, l := range all {
		if l.Running(time.Now()) {
			running = append(running, l)
		}
	}
	return running, err
}

// nameLeases names the leases that let sources in for a time.
func nameLeases(found audit.Imported, leases []lease.Lease) {
	for _, s := range found.Services {
		for i := range s.Ending {
			e := &s.Ending[i]
			for _, l := range leases {
				if e.Ours && l.Sources.Overlaps(e.Source) && opensAny(l, s.Ports) {
					e.Lease, e.Until = l.ID, l.Until
				}
			}
		}
	}
}

// opensAny reports whether a lease opens some of the ports.
func opensAny(l lease.Lease, ports []firewall.PortRange) bool {
	return slices.ContainsFunc(l.Ports, func(a firewall.PortRange) bool {
		return slices.ContainsFunc(ports, func(b firewall.PortRange) bool {
			return a.Protocol == b.Protocol && a.First <= b.Last && b.First <= a.Last
		})
	})
}

// endingSource is a source that gets in only for a time, and is left out. Part of JSON's contract.
type endingSource struct {
	Service string     `json:"service"`
	Source  string     `json:"source"`
	Until   *time.Time `json:"until"` // null: not known
	Lease   string     `json:"lease"` // its ID; "" if no lease lets the source in
	why     string
}

// endingOf are the sources that get in only for a time.
func endingOf(found audit.Imported) (out []endingSource) {
	for _, s := range found.Services {
		for _, e := range s.Ending {
			x := endingSource{
				Service: s.Name, Source: e.Source.String(), Lease: e.Lease, why: e.String(),
			}
			if e.Everyone {
				x.Source = e.Name()
			}
			if !e.Until.IsZero() {
				until := e.Until.UTC().Round(time.Second)
				x.Until = &until
			}
			out = append(out, x)
		}
	}
	return out
}

// lockedOut names the SSH sessions that are open now and that the policy would cut; "" if there are
// none.
func lockedOut(inv *invocation, found audit.Imported, leases []lease.Lease) string {
	state, err := stateOf(found)
	if err != nil {
		return "" // confirmDraft reports it
	}
	if state, err = lease.Apply(state, leases, time.Now()); err != nil {
		return err.Error()
	}
	running, err := connections.New()
	if err != nil {
		return fmt.Sprintf("can't tell whether this policy would cut an SSH session: %v", err)
	}
	cut, err := host.LockedOut(inv.ctx, running, state, inv.caller().Session, time.Now())
	if err != nil {
		return fmt.Sprintf("can't tell whether this policy would cut an SSH session: %v", err)
	}
	if len(cut) == 0 {
		return ""
	}
	return fmt.Sprintf("this policy would lock out %s that is open now: %s; allow these sources "+
		"before you apply it", plural(len(cut), "SSH session"), strings.Join(cut, "; "))
}
