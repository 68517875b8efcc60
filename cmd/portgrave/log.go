package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/denied"
)

// showDenied prints who was refused: what the daemon remembers, or, with --follow, what happens
// from now on.
func showDenied(inv *invocation) error {
	if inv.cli.Bool("follow") {
		return followDenied(inv)
	}
	body, err := api.NewRemote(inv.runDir).Get(inv.ctx, "/v1/denied")
	if errors.Is(err, api.ErrNoDaemon) {
		return fmt.Errorf("%w: it is the daemon that remembers who was refused; portgrave log "+
			"--follow shows who is refused now", err)
	}
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	var kept struct {
		Events []denied.Event `json:"events"`
	}
	if err := json.NewDecoder(body).Decode(&kept); err != nil {
		return fmt.Errorf("reading the daemon's reports: %w", err)
	}
	if inv.screen.json {
		return inv.screen.object(map[string]any{"events": orEmpty(kept.Events)})
	}
	if len(kept.Events) == 0 {
		inv.screen.printf("The daemon has no reports of refused packets " +
			"(services with log: none don't report).\n")
	}
	for _, e := range kept.Events {
		printDenied(inv.screen, e)
	}
	return nil
}

// followDenied prints reports until it is interrupted: those of the daemon, or, where none listens,
// the kernel's own, which one program alone may receive.
func followDenied(inv *invocation) error {
	inv.screen.progress.clear()
	body, err := api.NewRemote(inv.runDir).Get(inv.ctx, "/v1/denied?follow=1")
	switch {
	case err == nil:
		defer func() { _ = body.Close() }()
		inv.screen.detailf("the daemon reports who is refused")
		return relayDenied(inv, body)
	case errors.Is(err, api.ErrBusy):
		return err
	}
	l, opened := denied.Open()
	if errors.Is(opened, denied.ErrTaken) && !errors.Is(err, api.ErrNoDaemon) {
		return errors.Join(err, opened)
	}
	if errors.Is(opened, denied.ErrTaken) || errors.Is(opened, firewall.ErrPermission) {
		return opened
	}
	if opened != nil {
		return fmt.Errorf("who is refused can't be read: %w", opened)
	}
	inv.screen.detailf("the kernel reports who is refused")
	ctx, stop := signal.NotifyContext(inv.ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err = l.Run(ctx, func(e denied.Event) error {
		showOne(inv, e)
		if inv.screen.out.err() != nil {
			stop() // else nobody sees any of it
		}
		return nil
	})
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// relayDenied prints the daemon's reports as they come.
func relayDenied(inv *invocation, body io.Reader) error {
	lines := bufio.NewReader(body)
	for inv.screen.out.err() == nil {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			if inv.ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("the daemon has ended: %w", err)
		}
		var e denied.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("reading a report of the daemon: %w", err)
		}
		showOne(inv, e)
	}
	return nil
}

// showOne prints a report as a line: of JSON, or for people.
func showOne(inv *invocation, e denied.Event) {
	if inv.screen.json {
		_ = denied.JSON(inv.screen.out)(e)
		return
	}
	printDenied(inv.screen, e)
}

// printDenied prints a report: "07:40:12 UTC refused 203.0.113.9 from ssh tcp/22 on eth0".
func printDenied(s *screen, e denied.Event) {
	if e.Action == denied.Lost {
		s.sentence(fmt.Sprintf("%s %s %s", moment(e.Time), s.paint(yellow, "lost"),
			plural(int(e.Count), "report")))
		return
	}
	word, colour, at := "refused", red, "at"
	if e.Action == denied.Allowed {
		word, colour, at = "allowed", green, "to"
	}
	text := fmt.Sprintf("%s %s %s %s %s", moment(e.Time), s.paint(colour, word), deniedSource(e),
		at, deniedPort(e))
	if e.Interface != "" {
		text += " on " + printable(e.Interface)
	}
	if e.Count > 1 {
		text += ", " + plural(int(e.Count), "packet")
	}
	s.sentence(text)
}

// deniedSource is who sent the packets.
func deniedSource(e denied.Event) string {
	if e.Source.IsValid() {
		return e.Source.String()
	}
	if e.Sources == 0 {
		return "an unknown source"
	}
	text := fmt.Sprintf("about %d sources", e.Sources)
	var some []string
	for _, a := range e.Examples {
		some = append(some, a.String())
	}
	if len(some) > 0 {
		text += " (" + strings.Join(some, ", ") + ", …)"
	}
	return text
}

// deniedPort is what they were for: the service as the policy calls it, and the port.
func deniedPort(e denied.Event) string {
	port := e.Protocol
	if e.Port != 0 {
		port += "/" + strconv.Itoa(int(e.Port))
	}
	if e.ICMP != nil {
		port += fmt.Sprintf(" type %d", e.ICMP.Type)
	}
	if e.Destination.IsValid() && e.Port != 0 && e.Destination.IsMulticast() {
		port += " " + net.JoinHostPort(e.Destination.String(), strconv.Itoa(int(e.Port)))
	}
	return strings.TrimSpace(printable(e.Service) + " " + printable(port))
}
