package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/connections"
	"github.com/portgrave/portgrave/firewall/history"
	"github.com/portgrave/portgrave/policy"
)

type applyResult struct {
	Changed    bool              `json:"changed"`
	Generation int               `json:"generation"`
	ConfirmBy  *time.Time        `json:"confirm_by"` // null: in force for good
	Backend    string            `json:"backend"`
	Changes    []firewall.Change `json:"changes"`
	Cut        []cutConnection   `json:"cut"`
	Warnings   []string          `json:"warnings"`
}

type cutConnection struct {
	Protocol string `json:"protocol"`
	Client   string `json:"client"`
	Dialled  string `json:"dialled"`
}

// apply makes the kernel agree with the policy, and records what was applied.
func apply(inv *invocation) error {
	r, closeAll, err := inv.firewall()
	if err != nil {
		return err
	}
	defer closeAll()
	// Networks are loaded before the lock is taken: a slow server keeps nobody else waiting, least of all the daemon.
	p, c, err := inv.compiled(inv.config, false)
	if err != nil {
		return err
	}
	store, unlock, err := inv.locked()
	if err != nil {
		return err
	}
	defer unlock()
	force := inv.cli.Bool("force")
	if failed := failedTests(c.RunTests(r.Now())); len(failed) > 0 && !force {
		return refuseTests(inv, failed)
	}
	want, err := inv.withLeases(c.State)
	if err != nil {
		return err
	}
	if !force {
		if err := refuseLockOut(inv, r, want); err != nil {
			return err
		}
	}
	if inv.cli.IsSet("confirm") {
		return applyOnTrial(inv, r, store, p, c, want)
	}
	out, err := r.Apply(inv.ctx, &want, force)
	if err != nil {
		return err
	}
	generation, err := record(inv, store, r.Backend.Name(), p, c, want, out)
	if err != nil {
		return fmt.Errorf("the rules are in force, but could not be recorded, so drift and rollback do not know them: %w", err)
	}
	return reportApply(inv, generation, out)
}

// applyOnTrial applies a policy that is taken back unless it is confirmed. The generation is recorded and its guard runs before the
// kernel is changed: whatever dies from then on, what nobody confirms does not stay.
func applyOnTrial(inv *invocation, r *firewall.Reconciler, store *history.Store, p *policy.Policy, c *policy.Compiled, want firewall.State) error {
	wait := inv.cli.Duration("confirm")
	if wait < shortestConfirm || wait > longestConfirm {
		return usagef("--confirm takes from %s to %s, not %s", shortestConfirm, longestConfirm, wait)
	}
	plan, _, err := r.Plan(inv.ctx, &want)
	if err != nil {
		return err
	}
	if last, err := store.Last(); err == nil && plan.InSync() && last.State.Equal(c.State) {
		return reportApply(inv, *last, firewall.Outcome{Plan: plan})
	}
	user, from := inv.who()
	now := time.Now().UTC()
	g, err := store.Append(history.Generation{Time: now, User: user, From: from, Reason: inv.cli.String("reason"), Backend: r.Backend.Name(), Origin: p.Origin,
		Summary: plural(plan.Count(), "change"), ConfirmBy: now.Add(wait), State: c.State, Leased: leased(c.State, want)})
	if err != nil {
		return err
	}
	if _, err := startGuard(inv, g.Number, 0); err != nil {
		return errors.Join(fmt.Errorf("nothing was changed: nobody would take it back: %w", err), withdraw(store, g))
	}
	out, err := r.Apply(inv.ctx, &want, inv.cli.Bool("force"))
	if err != nil {
		return errors.Join(err, withdraw(store, g))
	}
	return reportApply(inv, g, out)
}

// withdraw records that a generation never came into force: what was in force before goes on.
func withdraw(store *history.Store, g history.Generation) error {
	next := history.Generation{Time: time.Now().UTC(), User: "portgrave", Backend: g.Backend, Confirmed: true, Reason: fmt.Sprintf("generation %d could not be applied", g.Number), Summary: "0 changes"}
	before, err := store.LastConfirmed()
	if errors.Is(err, history.ErrNone) {
		_, err = store.Clear(next)
		return err
	}
	if err != nil {
		return err
	}
	next.Origin, next.State, next.Leased, next.Backend = before.Origin, before.State, before.Leased, before.Backend
	_, err = store.Append(next)
	return err
}

// refuseTests ends an apply whose policy fails its own tests.
func refuseTests(inv *invocation, failed []policy.TestResult) error {
	if inv.screen.json {
		_ = inv.screen.object(map[string]any{"error": "the policy fails its own tests; nothing was changed", "tests": failed})
	} else {
		printTests(inv.screen, failed)
	}
	_, _ = fmt.Fprintf(inv.screen.err, "portgrave: apply: the policy fails %s of its own; nothing was changed (--force applies it all the same)\n", plural(len(failed), "test"))
	return errReport
}

// refuseLockOut ends an apply that would cut the SSH session it runs in, or another one.
func refuseLockOut(inv *invocation, r *firewall.Reconciler, want firewall.State) error {
	running, err := r.Connections.List(inv.ctx)
	if err != nil {
		return fmt.Errorf("can't tell whether this would cut an SSH session: %w (--force goes on without knowing)", err)
	}
	var session firewall.Connection
	if client, server, ok := connections.Session(inv.getenv); ok {
		session = firewall.Connection{Protocol: firewall.TCP, Client: client, Dialled: server}
		session.Interface = connections.InterfaceTo(client.Addr())
	}
	cut := firewall.LockedOut(want, running, session, r.Now())
	if len(cut) == 0 {
		return nil
	}
	var lines []string
	for _, x := range cut {
		flow := firewall.Flow{Protocol: x.Protocol, Source: x.Client.Addr(), Destination: x.Dialled.Addr(), Port: x.Dialled.Port(), Interface: x.Interface}
		lines = append(lines, fmt.Sprintf("  from %s to port %d: %s", x.Client.Addr(), x.Dialled.Port(), want.Decide(flow, r.Now()).Reason))
	}
	return fmt.Errorf("refused: this would lock out %s that is open now:\n%s\nNothing was changed. Allow the source in the policy, or use --force",
		plural(len(cut), "SSH session"), strings.Join(lines, "\n"))
}

// record appends a generation if the State or the backend changed, and returns the one in force.
func record(inv *invocation, store *history.Store, backend string, p *policy.Policy, c *policy.Compiled, want firewall.State, out firewall.Outcome) (history.Generation, error) {
	if last, err := store.Last(); err == nil && last.State.Equal(c.State) && last.InForce().Equal(want) && last.Backend == backend {
		return *last, nil
	}
	user, from := inv.who()
	return store.Append(history.Generation{Time: time.Now().UTC(), User: user, From: from, Reason: inv.cli.String("reason"), Backend: backend,
		Origin: p.Origin, Summary: plural(out.Plan.Count(), "change"), Confirmed: true, State: c.State, Leased: leased(c.State, want)})
}

func reportApply(inv *invocation, g history.Generation, out firewall.Outcome) error {
	s := inv.screen
	for _, w := range out.Warnings {
		s.warnf("%s", w)
	}
	if s.json {
		cut := []cutConnection{}
		for _, x := range out.Cut {
			cut = append(cut, cutConnection{x.Protocol.String(), x.Client.String(), x.Dialled.String()})
		}
		return s.object(applyResult{!out.Plan.InSync(), g.Number, confirmBy(g), out.Plan.Backend, orEmpty(out.Plan.Changes), cut, orEmpty(out.Warnings)})
	}
	for _, x := range out.Cut {
		s.printf("Ended: %s from %s to port %d, which is no longer allowed.\n", x.Protocol, x.Client, x.Dialled.Port())
	}
	if out.Plan.InSync() {
		s.printf("Nothing to do: the kernel holds generation %d.\n", g.Number)
	} else {
		printChanges(s, out.Plan.Changes, inv.cli.Bool("all"))
		s.printf("%s: %s. Generation %d is in force.\n", s.paint(green, "Applied"), plural(out.Plan.Count(), "change"), g.Number)
	}
	if by := confirmBy(g); by != nil {
		s.printf("%s. Try that you can still log in, then run: portgrave confirm\n", s.paint(yellow, "It is taken back at "+by.Local().Format(time.TimeOnly)+" unless it is confirmed"))
	}
	return nil
}

// confirmBy is when a generation is taken back; nil if it is in force for good.
func confirmBy(g history.Generation) *time.Time {
	if g.Confirmed {
		return nil
	}
	return &g.ConfirmBy
}
