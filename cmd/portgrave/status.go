package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/control"
	"github.com/portgrave/portgrave/cmd/portgrave/daemon"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/coexist"
	"github.com/portgrave/portgrave/firewall/lease"
	"github.com/portgrave/portgrave/policy"
)

type statusResult struct {
	control.Firewall
	Policy        policyStatus          `json:"policy"`
	Boot          *control.Booted       `json:"boot"`   // what the start of the system put in force; null if portgrave had no part in it
	Daemon        *daemon.Status        `json:"daemon"` // null if none runs
	StaleNetworks []policy.StaleNetwork `json:"stale_networks"`
	SavedRules    []coexist.SavedRules  `json:"saved_rules"` // files that don't load at boot because ours are in them

	bootMissed bool // portgrave was to have a part in it
}

type policyStatus struct {
	Origin  string `json:"origin"`
	Applied bool   `json:"applied"` // the policy as it is now is the generation in force
	Error   string `json:"error"`
}

// status shows one screen. A policy that can't be read is part of what it shows, not a failure.
func status(inv *invocation) error {
	ops, done, err := inv.operations()
	if err != nil {
		return err
	}
	defer done()
	result := statusResult{StaleNetworks: []policy.StaleNetwork{}, SavedRules: coexist.HostFiles().Find()}
	result.Firewall, err = during(inv.screen, "reading the kernel's rules", func() (control.Firewall, error) {
		return ops.Firewall(inv.ctx, control.FirewallRequest{Backend: inv.backend})
	})
	if err != nil {
		return err
	}
	inv.warn(result.Warnings)
	if result.Daemon, err = inv.daemonStatus(); err != nil {
		inv.screen.warnf("%v", err)
	}
	result.Boot = control.LastBooted(inv.runDir, lease.SystemClock().BootID)
	result.bootMissed = result.Boot == nil && inv.getenv("PORTGRAVE_RUN_DIR") == "" && control.BootIsWanted()
	inv.suits = result.Backend
	p, c, perr := inv.compiled(inv.config, true)
	if p != nil {
		result.Policy.Origin = p.Origin
	}
	if perr != nil {
		result.Policy.Error = perr.Error()
	} else {
		result.StaleNetworks = orEmpty(c.Stale)
		result.Policy.Applied = result.Generation != nil && result.PolicyDigest == control.Digest(c.State)
		for i, s := range result.Services {
			if info, ok := c.Services[s.Policy]; ok {
				result.Services[i].Info = &info
			}
		}
	}
	if inv.screen.json {
		return inv.screen.object(result)
	}
	printStatus(inv.screen, result)
	return nil
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
	switch {
	case r.Generation == nil && !r.Drift.InSync && r.Drift.Changes == 0: // the history is damaged, as a warning says
		generation, drift = s.paint(red, "unknown"), s.paint(red, "unknown")
	case !r.Drift.InSync:
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
	if b := r.Boot; b != nil {
		printBooted(s, *b)
	} else if r.bootMissed {
		s.printf("At boot:     %s\n", s.paint(red, "portgrave-boot.service put nothing in force: it has failed, or was not started; see systemctl status portgrave-boot.service"))
	}
	if d := r.Daemon; d != nil {
		s.printf("Daemon:      process %d since %s; %s\n", d.PID, d.Started.Local().Format(time.DateTime), plural(int(d.Events["repaired"]), "repair"))
		protection := "nobody else can change the rules"
		if !d.Protection.Protected {
			protection = "others can change the rules, and are undone: " + d.Protection.Reason
		}
		s.printf("Protection:  %s\n", protection)
		for _, problem := range []string{d.Error, d.Policy.Error, d.Metrics.Error} {
			if problem != "" {
				s.printf("             %s\n", s.paint(red, problem))
			}
		}
	}
	for _, n := range r.BackendNotes {
		s.printf("Note: %s\n", n)
	}
	printSavedRules(s, r.SavedRules)
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

// printBooted tells what the system started with, and why it was not what it should have been.
func printBooted(s *screen, b control.Booted) {
	what := booted(b)
	if !b.Well() {
		what = s.paint(red, what)
	}
	s.printf("At boot:     %s\n", what)
	for _, why := range append(append([]string{}, b.Fallbacks...), b.Error) {
		if why != "" {
			s.printf("             %s\n", s.paint(red, strings.ReplaceAll(why, "\n", "\n             ")))
		}
	}
}
