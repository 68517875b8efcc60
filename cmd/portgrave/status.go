package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/daemon"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/history"
	"github.com/portgrave/portgrave/firewall/lease"
	"github.com/portgrave/portgrave/policy"
)

type statusResult struct {
	Backend       string                `json:"backend"`
	BackendNotes  []string              `json:"backend_notes"` // what else to know of it, for people
	Present       bool                  `json:"present"`       // our rules are in the kernel
	Generation    *entry                `json:"generation"`
	Drift         driftStatus           `json:"drift"`
	Policy        policyStatus          `json:"policy"`
	Daemon        *daemon.Status        `json:"daemon"` // null if none runs
	Unlisted      firewall.Unlisted     `json:"unlisted"`
	Services      []serviceStatus       `json:"services"`
	UnlistedPorts *trafficStatus        `json:"unlisted_ports"` // refused there, under unlisted: deny
	Leases        []lease.Lease         `json:"leases"`
	StaleNetworks []policy.StaleNetwork `json:"stale_networks"`
}

type driftStatus struct {
	InSync  bool `json:"in_sync"`
	Changes int  `json:"changes"`
}

type policyStatus struct {
	Origin  string `json:"origin"`
	Applied bool   `json:"applied"` // the policy as it is now is the generation in force
	Error   string `json:"error"`
}

type serviceStatus struct {
	Name       string              `json:"name"`
	Ports      []string            `json:"ports"`
	Interfaces []string            `json:"interfaces"`
	Addresses  []string            `json:"addresses"`
	Sources    int                 `json:"sources"`
	Expiring   int                 `json:"expiring"`
	Info       *policy.ServiceInfo `json:"info,omitempty"`
	trafficStatus
}

type trafficStatus struct {
	Allowed map[string]firewall.Counter `json:"allowed"` // "total", "ipv4", "ipv6"
	Refused map[string]firewall.Counter `json:"refused"`
}

func trafficOf(t firewall.Traffic) trafficStatus {
	words := func(byFamily map[firewall.Family]firewall.Counter) map[string]firewall.Counter {
		out := map[string]firewall.Counter{"total": firewall.Sum(byFamily)}
		for _, f := range firewall.Families {
			out[f.String()] = byFamily[f]
		}
		return out
	}
	return trafficStatus{words(t.Allowed), words(t.Refused)}
}

// status shows one screen. A policy that can't be read is part of what it shows, not a failure.
func status(inv *invocation) error {
	r, closeAll, err := inv.firewallInForce()
	if err != nil {
		return err
	}
	defer closeAll()
	plan, seen, err := driftPlan(inv, r)
	if err != nil {
		return err
	}
	result := statusResult{Backend: r.Backend.Name(), BackendNotes: orEmpty(seen.Notes()), Present: seen.Present(), Drift: driftStatus{plan.InSync(), plan.Count()},
		Services: []serviceStatus{}, Leases: []lease.Lease{}, StaleNetworks: []policy.StaleNetwork{}}
	if result.Daemon, err = inv.daemonStatus(); err != nil {
		inv.screen.warnf("%v", err)
	}
	last, err := inv.history().Last()
	if err != nil && !errors.Is(err, history.ErrNone) {
		return err
	}
	p, c, perr := inv.compiled(inv.config, true)
	if p != nil {
		result.Policy.Origin = p.Origin
	}
	if perr != nil {
		result.Policy.Error = perr.Error()
	} else {
		result.StaleNetworks = orEmpty(c.Stale)
		result.Policy.Applied = last != nil && last.State.Equal(c.State)
	}
	if last != nil {
		e := entryOf(*last)
		result.Generation = &e
		result.Unlisted = last.State.Unlisted
		for _, svc := range last.InForce().Services {
			s := serviceStatusOf(svc, seen, r.Now())
			if c != nil {
				service, _ := lease.Parent(last.State, svc.Name)
				if info, ok := c.Services[service]; ok {
					s.Info = &info
				}
			}
			result.Services = append(result.Services, s)
		}
		if t, counted := seen.Traffic(firewall.UnlistedTraffic); counted {
			words := trafficOf(t)
			result.UnlistedPorts = &words
		}
	}
	leases, damaged, err := inv.leases().List()
	for _, d := range append(damaged, err) {
		if d != nil {
			inv.screen.warnf("%v", d)
		}
	}
	result.Leases = orEmpty(leases)
	if inv.screen.json {
		return inv.screen.object(result)
	}
	printStatus(inv.screen, result)
	return nil
}

func serviceStatusOf(svc firewall.Service, seen firewall.Observation, now time.Time) serviceStatus {
	t, _ := seen.Traffic(svc.Name)
	s := serviceStatus{Name: svc.Name, Interfaces: orEmpty(svc.Interfaces), Addresses: svc.Addresses.Strings(), Sources: svc.Sources.Len(), trafficStatus: trafficOf(t)}
	for _, r := range svc.Ports {
		s.Ports = append(s.Ports, r.String())
	}
	for _, e := range svc.Expiring {
		if e.Until.After(now) {
			s.Expiring++
		}
	}
	return s
}

func printStatus(s *screen, r statusResult) {
	generation := "none: nothing has been applied"
	if g := r.Generation; g != nil {
		generation = fmt.Sprintf("%d of %s by %s", g.Generation, g.Time.Local().Format(time.DateTime), g.User)
		if g.Reason != "" {
			generation += " (" + g.Reason + ")"
		}
	}
	if g := r.Generation; g != nil && !g.Confirmed {
		generation += s.paint(yellow, "; taken back at "+g.ConfirmBy.Local().Format(time.TimeOnly)+" unless you run portgrave confirm")
	}
	drift := s.paint(green, "none")
	if !r.Drift.InSync {
		drift = s.paint(red, plural(r.Drift.Changes, "difference")) + " between the kernel and this generation: run portgrave drift"
	}
	source := r.Policy.Origin
	switch {
	case r.Policy.Error != "":
		source = s.paint(red, "can't be used: ") + strings.ReplaceAll(r.Policy.Error, "\n", "\n             ")
	case !r.Policy.Applied:
		source += " " + s.paint(yellow, "(not applied as it is now: run portgrave plan)")
	}
	s.table([][]string{{"Backend:", r.Backend}, {"Generation:", generation}, {"Drift:", drift}, {"Policy:", source}})
	if d := r.Daemon; d != nil {
		s.printf("Daemon:      process %d since %s; %s\n", d.PID, d.Started.Local().Format(time.DateTime), plural(int(d.Events["repaired"]), "repair"))
		for _, problem := range []string{d.Error, d.Policy.Error} {
			if problem != "" {
				s.printf("             %s\n", s.paint(red, problem))
			}
		}
	}
	for _, n := range r.BackendNotes {
		s.printf("Note: %s\n", n)
	}
	for _, n := range r.StaleNetworks {
		s.printf("%s network %s keeps its content of %s: %s\n", s.paint(yellow, "Stale:"), n.Name, n.Since.Local().Format(time.DateTime), n.Reason)
	}
	if r.Generation == nil {
		return
	}
	unlisted := "left alone"
	if r.Unlisted == firewall.UnlistedDeny {
		unlisted = "refused"
	}
	s.printf("\nPorts that no service lists are %s.\n", unlisted)
	rows := [][]string{{"SERVICE", "PORTS", "WHERE", "SOURCES", "ALLOWED PACKETS", "REFUSED PACKETS"}}
	for _, x := range r.Services {
		where := append(append([]string{}, x.Interfaces...), x.Addresses...)
		if len(where) == 0 {
			where = []string{"everywhere"}
		}
		sources := fmt.Sprint(x.Sources)
		if x.Expiring > 0 {
			sources += fmt.Sprintf(" + %d expiring", x.Expiring)
		}
		rows = append(rows, []string{x.Name, strings.Join(x.Ports, " "), strings.Join(where, " "), sources, packets(x.Allowed["total"]), packets(x.Refused["total"])})
	}
	if u := r.UnlistedPorts; u != nil {
		rows = append(rows, []string{"(unlisted)", "the others", "everywhere", "0", packets(u.Allowed["total"]), packets(u.Refused["total"])})
	}
	s.table(rows)
	if len(r.Leases) > 0 {
		s.printf("\n")
		printLeases(s, r.Leases, time.Now())
	}
}
