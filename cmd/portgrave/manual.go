package main

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/manual"
	"github.com/portgrave/portgrave/policy"
	"github.com/urfave/cli/v2"
)

// pages are the manual pages that man prints.
var pages = []string{"portgrave", "portgrave-policy"}

// commandLine is the program's own command line, to be described.
func commandLine(
	inv *invocation,
) *cli.App {
	return newApp(inv.screen.out, inv.screen.err, inv.getenv)
}

// printManual prints a manual page. Its date is SOURCE_DATE_EPOCH, or missing, so that packages can
// be built again.
func printManual(inv *invocation) error {
	name := inv.cli.Args().First()
	if name == "" {
		return usagef(
			"the page is missing: write portgrave man %s",
			strings.Join(pages, ", or portgrave man "),
		)
	}
	if !slices.Contains(pages, name) {
		return usagef(
			"%q is not a page of the manual: write portgrave man %s",
			name,
			strings.Join(pages, ", or portgrave man "),
		)
	}
	var date time.Time
	if epoch := inv.getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return usagef("SOURCE_DATE_EPOCH: %q is not a number of seconds since 1970", epoch)
		}
		date = time.Unix(seconds, 0)
	}
	page, err := manualPage(name, commandLine(inv), date)
	if err != nil {
		return err
	}
	if inv.screen.json {
		return inv.screen.object(map[string]string{"page": name, "roff": string(page)})
	}
	inv.screen.printf("%s", page)
	return nil
}

func manualPage(name string, app *cli.App, date time.Time) ([]byte, error) {
	if name == "portgrave" {
		app.Description = manualDescription
		return manual.Program(app, reference(), date)
	}
	return manual.Language{
		Name:     name,
		Summary:  "which ports may open to which networks",
		Source:   "portgrave " + version,
		Schema:   policy.Schema(),
		Example:  string(policy.ExampleYAML()),
		Chapters: []string{chapter("lists")},
		Lists:    publishedLists(),
		Files: []manual.Entry{
			{Term: policy.DefaultPath + "/policy.yaml", Text: "the policy of the host"},
			{
				Term: policy.DefaultPath + "/policy.d/*.yaml",
				Text: "drop-ins: more networks, services and tests",
			},
		},
		SeeAlso: []string{"portgrave(8)"},
	}.Page(date)
}

// publishedLists are lists of others as entries of networks.
func publishedLists() (entries []manual.Entry) {
	for _, list := range policy.PublishedLists {
		entries = append(entries, manual.Entry{Term: list.Network(), Text: list.What})
	}
	return entries
}

// printCompletion prints the script that completes our command line in a shell.
func printCompletion(inv *invocation) error {
	shell := inv.cli.Args().First()
	if shell == "" {
		return usagef("the shell is missing: write portgrave completion bash, zsh or fish")
	}
	script, err := manual.Completion(shell, commandLine(inv))
	if err != nil {
		return usagef("%w", err)
	}
	if inv.screen.json {
		return inv.screen.object(map[string]string{"shell": shell, "script": script})
	}
	inv.screen.printf("%s", script)
	return nil
}

// complete prints what may stand in place of the last of some words of a command line.
func complete(inv *invocation) error {
	list, err := manual.Complete(commandLine(inv), inv.cli.Args().Slice(), inv.values)
	for _, e := range list {
		inv.screen.printf("%s\t%s\n", e.Term, e.Text)
	}
	return err
}

// values are the values of a kind on this host, to complete a command line with.
func (inv *invocation) values(kind string) (list []manual.Entry, err error) {
	if kind == manual.Interfaces {
		all, err := net.Interfaces()
		for _, i := range all {
			list = append(list, manual.Entry{Term: i.Name, Text: i.Flags.String()})
		}
		return list, err
	}
	if kind == manual.Services || kind == manual.Networks {
		return inv.policyNames(kind == manual.Networks)
	}
	ops, done, err := inv.operations()
	if err != nil {
		return nil, err
	}
	defer done()
	if kind == manual.Leases {
		open, err := ops.Leases(inv.ctx)
		for _, l := range open.Leases {
			list = append(
				list,
				manual.Entry{Term: l.ID, Text: fmt.Sprint(l.Opens(), " ", l.Reason)},
			)
		}
		return list, err
	}
	h, err := ops.History(inv.ctx)
	for _, g := range h.Generations {
		list = append(list, manual.Entry{
			Term: strconv.Itoa(g.Generation),
			Text: moment(g.Time) + " " + g.Reason,
		})
	}
	return list, err
}
