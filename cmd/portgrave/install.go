package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/policy"
	"github.com/portgrave/portgrave/systemd/installer"
	"github.com/portgrave/portgrave/systemd/manager"
)

// install puts portgrave in place on this host, or below --root, or takes it away again.
func install(inv *invocation) error {
	w := installer.Wish{
		Remove: inv.cli.Bool("remove"),
		State:  inv.cli.Bool("state"),
		Now:    inv.cli.Bool("now"),
		DryRun: inv.cli.Bool("dry-run"),
	}
	root, image := inv.cli.String("root"), inv.cli.IsSet("root")
	switch {
	case w.State && !w.Remove:
		return usagef("--state goes with --remove")
	case w.Now && (w.Remove || image):
		return usagef("--now starts the units of this host; it does not go with --remove or --root")
	case image && root == "":
		return usagef("--root needs a folder: write --root /mnt/image")
	}
	host := installer.Host{}
	if !image {
		if !manager.Booted() {
			return errors.New(
				"systemd does not run this host: without it there is nothing to start the units. --root / " +
					"puts the files in place all the same",
			)
		}
		root, host.Exec = "/", runProgram
	}
	var err error
	if host.Root, err = os.OpenRoot(root); err != nil {
		return fmt.Errorf("the root folder: %w", err)
	}
	defer func() { _ = host.Root.Close() }()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program, err := os.ReadFile(self)
	if err != nil {
		return fmt.Errorf("reading this program: %w", err)
	}
	result, err := host.Run(inv.ctx, installer.Files(program, policy.DefaultYAML()), w)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %w", firewall.ErrPermission, err)
	}
	if err != nil {
		return err
	}
	if err := reportInstall(inv, w, image, result); err != nil || !w.Now || w.DryRun ||
		inv.screen.json {
		return err
	}
	return installed(inv)
}

func runProgram(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if said := strings.TrimSpace(string(out)); err != nil && said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return err
}

func reportInstall(inv *invocation, w installer.Wish, image bool, r installer.Result) error {
	s := inv.screen
	if s.json {
		return s.object(r)
	}
	var rows [][]string
	for _, step := range r.Steps {
		row := []string{string(step.Action), step.Path}
		if step.Reason != "" {
			row = append(row, "("+step.Reason+")")
		}
		rows = append(rows, row)
	}
	for _, c := range r.Commands {
		rows = append(rows, []string{"run", strings.Join(c, " ")})
	}
	s.table(rows)
	switch {
	case !r.Changed && w.Remove:
		s.printf("Nothing to remove.\n")
	case !r.Changed:
		s.printf("Nothing to do: everything is in place.\n")
	case w.DryRun:
		s.printf("Nothing was done (--dry-run).\n")
	case w.Remove && image:
		s.printf("%s.\n", s.paint(green, "Removed"))
	case w.Remove:
		s.printf(
			"%s. The rules in the kernel stay until the next start of the system; to end them now: nft delete table inet portgrave, or teardown by another copy of this program.\n"+
				"The user portgrave stays, too.\n",
			s.paint(green, "Removed"),
		)
	case image, w.Now:
		s.printf("%s.\n", s.paint(green, "Installed"))
	default:
		s.printf(
			"%s. It begins with the next start of the system; to begin now: systemctl start "+
				"portgrave-boot portgrave portgrave-audit.timer\n",
			s.paint(green, "Installed"),
		)
		if p, c, err := inv.compiled(inv.config, true); err == nil {
			s.printf("From then on: %s. The policy is in %s\n", inForceWords(c.State), p.Origin)
		}
	}
	return nil
}
