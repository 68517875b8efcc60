package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host"
)

// teardown removes every rule of ours.
func teardown(inv *invocation) error {
	if inv.cli.Bool("yes") && inv.dryRun() {
		return usagef("--yes answers a question that --dry-run doesn't ask: leave one out")
	}
	ops, done, err := inv.operations()
	if err != nil {
		return err
	}
	defer done()
	q := host.TeardownRequest{
		Caller:  inv.caller(),
		Backend: inv.backend,
		Force:   inv.cli.Bool("force"),
		DryRun:  inv.dryRun(),
	}
	if err := askTeardown(inv); err != nil {
		return err
	}
	result, err := during(
		inv.screen,
		"tearing down",
		func() (host.TornDown, error) { return ops.Teardown(inv.ctx, q) },
	)
	if err != nil {
		return err
	}
	if inv.screen.json {
		return inv.screen.object(result)
	}
	if !result.Changed {
		inv.screen.sentence("Nothing to remove: nothing of portgrave is in the kernel. Nothing is " +
			"enforced, not even at boot, until the next portgrave apply.")
		return nil
	}
	var what []firewall.Change
	for _, c := range result.Changes {
		if c.Object == firewall.ObjectTable {
			what = append(what, c)
		}
	}
	printChanges(inv.screen, what, true)
	if result.DryRun {
		inv.screen.printf("These would be removed. %s\n", nothingDone)
		return nil
	}
	inv.screen.sentence("Removed. No port is guarded by portgrave any more, not even at boot, until " +
		"the next portgrave apply.")
	return nil
}

// askTeardown asks a person before the protection goes. Who has no terminal, or wants JSON, is not
// asked. The question goes to the terminal itself, where standard error may lead to a file.
func askTeardown(inv *invocation) error {
	if inv.cli.Bool("yes") || inv.dryRun() || inv.screen.json || !isTerminal(os.Stdin) {
		return nil
	}
	terminal, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil // nobody sits there
	}
	defer func() { _ = terminal.Close() }()
	_, _ = fmt.Fprint(terminal, "Remove every rule of portgrave? Until the next apply no port is "+
		"guarded,\nnot even at boot. [y/N] ")
	answer, _ := bufio.NewReader(terminal).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("not confirmed, so nothing was changed; -y answers beforehand")
}
