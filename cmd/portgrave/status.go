package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/cmd/portgrave/daemon"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/coexist"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/host/bootclock"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/policy"
	"github.com/portgrave/portgrave/systemd/manager"
)

type statusResult struct {
	host.Firewall
	Services []serviceStatus `json:"services"`
	Policy   policyStatus    `json:"policy"`
	// what the start of the system put in force; null if portgrave had no part in it
	Boot          *host.Booted          `json:"boot"`
	Daemon        *daemon.Status        `json:"daemon"` // null if none runs
	StaleNetworks []policy.StaleNetwork `json:"stale_networks"`
	// files that don't load at boot because ours are in them
	SavedRules []coexist.SavedRules `json:"saved_rules"`

	bootMissed bool // portgrave was to have a part in it
}

// serviceStatus is a service in force, and what the policy says of it besides.
type serviceStatus struct {
	host.Service
	Info *policy.ServiceInfo `json:"info,omitempty"` // null where the policy couldn't be read
}

type policyStatus struct {
	Origin  string `json:"origin"`
	Applied bool   `json:"applied"` // the policy as it is now is the generation in force
	// Waits: it is not, and nothing puts it in force by itself: not before apply or reload.
	Waits bool `json:"waits"`
	// Follow is what a daemon puts in force by itself: what the policy in force says of that, or
	// else the one on disk.
	Follow string `json:"follow"`
	Error  string `json:"error"`
}

// waits reports whether a policy that is not in force waits for somebody to apply it. sameText: it
// was not edited, so that only its networks hold something else by now.
func waits(r statusResult, sameText bool) bool {
	switch {
	case r.Policy.Applied:
		return false
	case r.TornDown != nil || r.Daemon == nil:
		return true
	case len(r.SetAside) > 0:
		return true
	case r.Policy.Follow == policy.FollowAll:
		return false
	}
	return r.Policy.Follow == policy.FollowNone || !sameText
}

// status shows one screen. A policy that can't be read is part of what it shows, not a failure.
func status(inv *invocation) error {
	ops, done, err := inv.operations()
	if err != nil {
		return err
	}
	defer done()
	result := statusResult{
		StaleNetworks: []policy.StaleNetwork{},
		SavedRules:    coexist.HostFiles().Find(),
	}
	result.Firewall, err = during(
		inv.screen,
		"reading the kernel's rules",
		func() (host.Firewall, error) {
			return ops.Firewall(inv.ctx, host.FirewallRequest{Backend: inv.backend})
		},
	)
	if err != nil {
		return err
	}
	result.Services = make([]serviceStatus, len(result.Firewall.Services))
	for i, svc := range result.Firewall.Services {
		result.Services[i].Service = svc
	}
	inv.warn(result.Warnings)
	if result.Daemon, err = inv.daemonStatus(); err != nil {
		inv.screen.warnf("%v", err)
	}
	result.Boot = host.LastBooted(inv.runDir, bootclock.System().BootID)
	result.bootMissed = result.Boot == nil && inv.getenv("PORTGRAVE_RUN_DIR") == "" &&
		manager.WantsBoot()
	inv.suits = result.Backend
	onDisk := inv.onDisk(ops, result.Firewall)
	p, perr := onDisk.policy, onDisk.err
	if p != nil {
		result.Policy.Origin, result.Policy.Follow = p.Origin, p.Daemon.Follow
	}
	if d := result.Daemon; d != nil && d.Policy.Follow != "" {
		result.Policy.Follow = d.Policy.Follow
	}
	if perr != nil {
		result.Policy.Error = perr.Error()
	} else {
		result.StaleNetworks = orEmpty(onDisk.stale)
		result.Policy.Applied = onDisk.inForce
		result.Policy.Waits = waits(result, result.PolicyText == history.PolicyName(p.Text()))
		for i, s := range result.Services {
			if info, ok := onDisk.infos[s.Policy]; ok {
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

// policyOnDisk is the policy as it is now, as far as status shows it.
type policyOnDisk struct {
	policy  *policy.Policy // nil if it can't be read
	err     error          // why it can't be used
	inForce bool           // it means what is in force
	infos   map[string]policy.ServiceInfo
	stale   []policy.StaleNetwork
}

// onDisk reads the policy and compares it with what is in force. The daemon does that where it can.
func (inv *invocation) onDisk(ops host.Operations, f host.Firewall) policyOnDisk {
	if remote, there := ops.(*api.Remote); there {
		if x := inv.throughDaemon(remote, false); x != nil {
			same := f.Generation != nil && x.InForce == f.Generation.Generation
			return policyOnDisk{policy: x.policy, inForce: same, infos: x.policy.Infos()}
		}
	}
	p, c, err := inv.compiled(inv.config, true)
	if err != nil {
		return policyOnDisk{policy: p, err: err}
	}
	same := f.Generation != nil && f.PolicyDigest == host.Digest(c.State)
	return policyOnDisk{policy: p, inForce: same, infos: c.Services, stale: c.Stale}
}

func printStatus(s *screen, r statusResult) {
	generation := "none: nothing has been applied"
	if gone := r.TornDown; gone != nil {
		generation = s.paint(
			yellow,
			fmt.Sprintf(
				"none since %s, by %s: %s; nothing is enforced, not even at boot, until portgrave apply",
				gone.Time.Local().Format(time.DateTime),
				dash(printable(gone.User)),
				tornDownWords(gone),
			),
		)
	}
	if g := r.Generation; g != nil {
		generation = fmt.Sprintf(
			"%d of %s by %s",
			g.Generation,
			g.Time.Local().Format(time.DateTime),
			dash(printable(g.User)),
		)
		if g.Reason != "" {
			generation += " (" + printable(g.Reason) + ")"
		}
	}
	switch g := r.Generation; {
	case g == nil || g.Confirmed:
	case g.ConfirmBy.Before(time.Now()):
		generation += s.paint(
			red,
			"; nobody has confirmed it in time: it is taken back by the next command of root",
		)
	default:
		generation += s.paint(
			yellow,
			"; taken back at "+g.ConfirmBy.Local().
				Format(time.TimeOnly)+
				" unless you run portgrave confirm",
		)
	}
	drift := s.paint(green, "none")
	switch {
	case r.Generation == nil && r.TornDown == nil && !r.Drift.InSync && r.Drift.Changes == 0:
		// The history is damaged, as a warning says.
		generation, drift = s.paint(red, "unknown"), s.paint(red, "unknown")
	case !r.Drift.InSync:
		drift = s.paint(
			red,
			plural(r.Drift.Changes, "difference"),
		) + " between the kernel and this generation: run portgrave drift"
	}
	source := r.Policy.Origin
	switch {
	case r.Policy.Error != "":
		source = s.paint(
			red,
			"can't be used: ",
		) + strings.ReplaceAll(
			r.Policy.Error,
			"\n",
			"\n             ",
		)
	case r.Policy.Waits && r.Daemon != nil && r.TornDown == nil:
		source += " " + s.paint(
			yellow,
			"(not applied as it is now: it waits for portgrave apply or reload; see portgrave plan)",
		)
	case r.Policy.Waits:
		source += " " + s.paint(
			yellow,
			"(not applied as it is now: it waits for portgrave apply; see portgrave plan)",
		)
	case !r.Policy.Applied:
		source += " " + s.paint(yellow, "(not applied as it is now: see portgrave plan)")
	}
	if list := r.SetAside; len(list) > 0 {
		source += "\n             " + s.paint(yellow, setAsideWords(list))
	}
	s.table(
		[][]string{
			{"Backend:", r.Backend},
			{"Generation:", generation},
			{"Drift:", drift},
			{"Policy:", source},
		},
	)
	if tracked := trackingWords(s, r.Tracking); tracked != "" {
		s.printf("Tracked:     %s\n", tracked)
	}
	if b := r.Boot; b != nil {
		printBooted(s, *b)
	} else if r.bootMissed {
		s.printf("At boot:     %s\n", s.paint(red, "portgrave-boot.service put nothing in force: "+
			"it has failed, or was not started; see systemctl status portgrave-boot.service"))
	}
	if d := r.Daemon; d != nil {
		s.printf(
			"Daemon:      process %d since %s; %s\n",
			d.PID,
			d.Started.Local().Format(time.DateTime),
			plural(int(d.Events["repaired"]), "repair"),
		)
		protection := "nobody else can change the rules"
		if !d.Protection.Protected {
			protection = "others can change the rules, and are undone: " + d.Protection.Reason
		}
		s.printf("Protection:  %s\n", protection)
		if d.Reduced {
			s.printf(
				"             %s\n",
				s.paint(
					red,
					"a small table stands in for this generation: only sources of short lists and running SSH sessions are let in; the full lists follow",
				),
			)
		}
		if f := d.Fight; f != nil {
			s.printf("Fight:       %s\n", fightLine(s, *f))
		}
		for _, problem := range []string{d.Error, d.StateError, d.Policy.Error, d.Metrics.Error} {
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
		s.printf(
			"%s network %s keeps its content of %s: %s\n",
			s.paint(yellow, "Stale:"),
			n.Name,
			n.Since.Local().Format(time.DateTime),
			n.Reason,
		)
	}
	if r.Generation == nil {
		return
	}
	unlisted := "left alone"
	if r.Unlisted == firewall.UnlistedDeny {
		unlisted = "refused"
	}
	s.printf("\nPorts that no service lists are %s.\n", unlisted)
	rows := [][]string{
		{"SERVICE", "PORTS", "WHERE", "SOURCES", "ALLOWED PACKETS", "REFUSED PACKETS"},
	}
	for _, x := range r.Services {
		where := append(append([]string{}, x.Interfaces...), x.Addresses...)
		if len(where) == 0 {
			where = []string{"everywhere"}
		}
		sources := fmt.Sprint(x.Sources)
		if x.Expiring > 0 {
			sources += fmt.Sprintf(" + %d expiring", x.Expiring)
		}
		rows = append(
			rows,
			[]string{
				x.Name,
				strings.Join(x.Ports, " "),
				strings.Join(where, " "),
				sources,
				packets(x.Allowed["total"]),
				packets(x.Refused["total"]),
			},
		)
	}
	for _, other := range []struct {
		name, ports, where string
		counted            *host.Traffic
	}{
		{"(unlisted)", "the others", "everywhere", r.UnlistedPorts},
		{"(direct)", "all", "to containers", r.DirectWays},
		{"(spoofed)", "all", "from our own address", r.Spoofed},
	} {
		if t := other.counted; t != nil {
			rows = append(
				rows,
				[]string{
					other.name,
					other.ports,
					other.where,
					"0",
					packets(t.Allowed["total"]),
					packets(t.Refused["total"]),
				},
			)
		}
	}
	s.table(rows)
	for _, t := range r.FullTables {
		s.printf("%s %s\n", s.paint(red, "Full:"), t)
	}
	if len(r.Leases) > 0 {
		s.printf("\n")
		printLeases(s, r.Leases, time.Now())
	}
}

// setAsideWords say that what lists hold is not in force.
func setAsideWords(lists []string) string {
	if len(lists) == 1 {
		return fmt.Sprintf(
			"(the content of list %s was rolled back: apply or reload takes it)", lists[0])
	}
	return fmt.Sprintf("(the contents of lists %s were rolled back: apply or reload takes them)",
		strings.Join(lists, ", "))
}

// tornDownWords say why there are no rules.
func tornDownWords(gone *host.Entry) string {
	if gone.Reason != "" { // not a person's doing
		return gone.Reason + ", and nothing was in force before"
	}
	return "portgrave teardown"
}

// fightLine tells of the last program that kept undoing the rules.
func fightLine(s *screen, f daemon.Fight) string {
	what := fmt.Sprintf(
		"%s, since %s: %s",
		authorWords(f.Author),
		f.Since.Local().Format(time.DateTime),
		f,
	)
	if f.Until.IsZero() {
		return s.paint(red, "another program keeps undoing the rules: "+what)
	}
	return fmt.Sprintf("over since %s; %s", f.Until.Local().Format(time.DateTime), what)
}

// printBooted tells what the system started with, and why it was not what it should have been.
func printBooted(s *screen, b host.Booted) {
	what := booted(b)
	if !b.Well() {
		what = s.paint(red, what)
	}
	s.printf("At boot:     %s\n", what)
	for _, why := range append(append([]string{}, b.Fallbacks...), b.Error) {
		if why != "" {
			s.printf(
				"             %s\n",
				s.paint(red, strings.ReplaceAll(why, "\n", "\n             ")),
			)
		}
	}
}
