package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// commands measures what a person does every day on a host with a daemon and a long list.
func (j *job) commands() error {
	for _, family := range []Family{IPv4, IPv6} {
		if err := j.commandsOf(family); err != nil {
			return fmt.Errorf("commands through a daemon, %s: %w", family, err)
		}
	}
	return nil
}

// listAge is the age at which a file is known by its times alone.
const listAge = 3 * time.Second

// command is a verb, and what is done before it without being measured. address is one that nobody
// has let in yet.
type command struct {
	what  string
	verb  func(address string) []string
	write func(address string) (file, content string)
	first func(address string) []string // a verb
}

func (j *job) commandsOf(family Family) error {
	const list, policy = "commands.txt", "commands.yaml"
	entries := string(networkFile(NewLists(family, j.prefixes).Initial))
	document := func(more string) string {
		return fmt.Sprintf("version: 1\nnetworks:\n  list: {file: %s, max: %d}\nservices:\n"+
			"  - {name: metrics, port: 9090, allow: [list, %s%s]}\n",
			list, 2*j.prefixes, clientNetwork, more)
	}
	is := func(words ...string) func(string) []string {
		return func(string) []string { return words }
	}
	open := func(address string) []string {
		return []string{"open", "9090", "--from", address, "--for", "2h"}
	}
	for _, f := range []string{"state", "run"} { // of the other family
		if err := os.RemoveAll(filepath.Join(j.dir, f)); err != nil {
			return err
		}
	}
	if err := j.write(map[string]string{list: entries, policy: document("")}); err != nil {
		return err
	}
	if _, err := j.run(policy, setupTimeout, "apply", "--force"); err != nil {
		return err
	}
	cmd := j.world.Host.Command(j.ctx, j.portgrave, "--config", filepath.Join(j.dir, policy),
		"--backend", "nftables", "daemon", "--denied", "off")
	cmd.Env = append(environment(j.dir), "PATH="+os.Getenv("PATH"))
	daemon, err := startDaemon(cmd, filepath.Join(j.dir, "run", "control.sock"), jobLimit)
	if err != nil {
		return err
	}
	defer daemon.End()
	time.Sleep(listAge)
	if _, err := j.run(policy, setupTimeout, "apply"); err != nil { // it has read the list by then
		return err
	}
	for n, c := range []command{
		{what: "plan, in sync", verb: is("plan")},
		{what: "apply, nothing to do", verb: is("apply")},
		{what: "status", verb: is("status")},
		{what: "drift, none", verb: is("drift")},
		{what: "open", verb: open},
		{what: "close", first: open, verb: is("close", "9090")},
		{what: "apply, one source more in the policy", verb: is("apply"),
			write: func(a string) (string, string) { return policy, document(", " + a) }},
		{what: "apply, one entry more in the list", verb: is("apply"),
			write: func(a string) (string, string) { return list, entries + a + "\n" }},
	} {
		row := JobRow{What: fmt.Sprintf("%s, through a daemon with %s %s CIDRs",
			c.what, shortCount(j.prefixes), family)}
		j.progress("%s", row.What)
		for i := range j.rounds {
			r, err := j.command(policy, c, fmt.Sprintf("198.51.%d.%d", 100+n, i))
			if err != nil {
				return fmt.Errorf("%s: %w", c.what, err)
			}
			row.Seconds, row.Peak = append(row.Seconds, r.Took.Seconds()), max(row.Peak, r.Peak)
		}
		j.report.Jobs = append(j.report.Jobs, row)
	}
	return nil
}

// command does a command once.
func (j *job) command(policy string, c command, address string) (r Run, err error) {
	if c.first != nil {
		if _, err := j.run(policy, setupTimeout, c.first(address)...); err != nil {
			return r, err
		}
	}
	if c.write != nil {
		file, content := c.write(address)
		if err := j.write(map[string]string{file: content}); err != nil {
			return r, err
		}
	}
	return j.run(policy, jobLimit, c.verb(address)...)
}
