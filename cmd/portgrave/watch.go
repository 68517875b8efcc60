package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/cmd/portgrave/daemon"
	"github.com/portgrave/portgrave/firewall"
)

// watchEvents prints events of a kind ("": of all) as they happen, until it is interrupted.
func watchEvents(inv *invocation, kind string) error {
	body, err := api.NewRemote(inv.runDir).
		Get(inv.ctx, "/v1/events?follow=1&kind="+kind)
	if errors.Is(err, api.ErrNoDaemon) {
		return fmt.Errorf(
			"%w: it is the daemon that watches; start it with portgrave daemon, or look once, without "+
				"--watch",
			err,
		)
	}
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	lines := bufio.NewReader(body)
	for inv.screen.out.err() == nil { // else nobody sees any of it
		line, err := lines.ReadBytes('\n')
		if err != nil {
			if inv.ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("the daemon has ended: %w", err)
		}
		if inv.screen.json {
			_, _ = inv.screen.out.Write(line)
			continue
		}
		var e daemon.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("reading an event of the daemon: %w", err)
		}
		printEvent(inv.screen, e)
	}
	return nil
}

// driftLog prints the events that the daemon has kept, the oldest first: with -o json one object
// with all of them.
func driftLog(inv *invocation) error {
	events, err := daemon.ReadLog(inv.stateDir)
	if err != nil {
		return err
	}
	if inv.screen.json {
		return inv.screen.object(map[string]any{"events": events})
	}
	if len(events) == 0 {
		inv.screen.printf("Nothing has happened to the rules that a daemon saw.\n")
	}
	for _, e := range events {
		printEvent(inv.screen, e)
	}
	return nil
}

// printable leaves out what a process may have put in its name to play with terminals.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// authorWords is who did it, for people.
func authorWords(a *firewall.Author) string {
	return printable(strings.Join(a.Words(), ", "))
}

func printEvent(s *screen, e daemon.Event) {
	colour := yellow
	if e.Kind == "failed" || e.Kind == "fight" || e.Kind == "exposure" {
		colour = red
	}
	s.printf(
		"%s %s by %s: %s",
		moment(e.At),
		s.paint(colour, e.Kind),
		authorWords(e.Author),
		printable(e.Summary),
	)
	if e.Kind == "repaired" {
		s.printf(" (%s, %.1f ms)", plural(e.Count, "change"), e.Took)
	}
	if e.Error != "" {
		s.printf(": %s", printable(strings.ReplaceAll(e.Error, "\n", "; ")))
	}
	s.printf("\n")
	for i, c := range e.Changes {
		if i == maxShown {
			s.printf("  … and more\n")
			break
		}
		s.printf("  %s\n", changeLine(s, c))
	}
}
