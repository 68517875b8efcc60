package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/history"
)

// teardown removes every rule of ours.
func teardown(inv *invocation) error {
	r, store, done, err := inv.exclusive(true)
	if err != nil {
		return err
	}
	defer done()
	out, err := r.Apply(inv.ctx, nil, inv.cli.Bool("force"))
	if err != nil {
		return err
	}
	if _, err := store.Last(); !errors.Is(err, history.ErrNone) {
		user, from := inv.who()
		if _, err := store.Clear(history.Generation{Time: time.Now().UTC(), User: user, From: from, Backend: r.Backend.Name(), Summary: "teardown", Confirmed: true}); err != nil {
			return fmt.Errorf("the rules are gone, but that could not be recorded: %w", err)
		}
	}
	if inv.screen.json {
		return inv.screen.object(map[string]any{"changed": !out.Plan.InSync(), "changes": orEmpty(out.Plan.Changes)})
	}
	if out.Plan.InSync() {
		inv.screen.printf("Nothing to remove: nothing of portgrave is in the kernel.\n")
		return nil
	}
	var what []firewall.Change
	for _, c := range out.Plan.Changes {
		if c.Object == firewall.ObjectTable {
			what = append(what, c)
		}
	}
	printChanges(inv.screen, what, true)
	inv.screen.printf("Removed. No port is guarded by portgrave any more; apply puts the policy in force again.\n")
	return nil
}
