package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
)

// reload has the daemon read its policy again and waits for what comes of it: so systemctl reload
// fails, with the reason, if the policy can't be used.
func reload(inv *invocation) error {
	done, err := api.NewRemote(inv.runDir).Reload(inv.ctx)
	if errors.Is(err, api.ErrNoDaemon) {
		return fmt.Errorf("%w: without one, portgrave apply puts the policy in force", err)
	}
	if err != nil {
		return err
	}
	if inv.screen.json {
		return inv.screen.object(done)
	}
	if len(done.Stale) > 0 {
		inv.screen.warnf(
			"these networks keep what they last held: %s (see portgrave status)",
			strings.Join(done.Stale, ", "),
		)
	}
	inv.screen.printf("Read %s. Generation %d is in force.\n", done.Origin, done.Generation)
	return nil
}
