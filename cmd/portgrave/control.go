package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/portgrave/portgrave/cmd/portgrave/daemon"
)

// errNoDaemon: nobody answers on the control socket.
var errNoDaemon = errors.New("no daemon is running")

// controlTimeout is how long the daemon may take to answer. What it says about itself lies ready.
const controlTimeout = 3 * time.Second

// ask gets a path from the daemon's control socket. The caller closes the body.
func (inv *invocation) ask(ctx context.Context, path string) (io.ReadCloser, error) {
	socket := filepath.Join(inv.runDir, daemon.Socket)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: controlTimeout,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: controlTimeout}).DialContext(ctx, "unix", socket)
		}}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://portgrave"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, errNoDaemon
	}
	if err != nil {
		return nil, fmt.Errorf("asking the daemon at %s: %w", socket, err)
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, fmt.Errorf("the daemon answers %s", response.Status)
	}
	return response.Body, nil
}

// daemonStatus is what the daemon says of itself; nil if none runs.
func (inv *invocation) daemonStatus() (*daemon.Status, error) {
	ctx, stop := context.WithTimeout(inv.ctx, controlTimeout)
	defer stop()
	body, err := inv.ask(ctx, "/v1/status")
	if errors.Is(err, errNoDaemon) || errors.Is(err, os.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	var s daemon.Status
	if err := json.NewDecoder(body).Decode(&s); err != nil {
		return nil, fmt.Errorf("reading what the daemon says of itself: %w", err)
	}
	return &s, nil
}

// watchDrift prints what happens to the rules as it happens, until it is interrupted.
func watchDrift(inv *invocation) error {
	body, err := inv.ask(inv.ctx, "/v1/events?follow=1")
	if errors.Is(err, errNoDaemon) {
		return fmt.Errorf("%w: drift is watched by the daemon; start it with portgrave daemon, or run portgrave drift to look once", err)
	}
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	lines := bufio.NewReader(body)
	for {
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

func printEvent(s *screen, e daemon.Event) {
	author := "unknown"
	if a := e.Author; a != nil {
		author = fmt.Sprintf("%s, process %d, user %s", printable(a.Command), a.PID, a.User)
		if a.LoginUser != "" && a.LoginUser != a.User {
			author += " (logged in as " + a.LoginUser + ")"
		}
		if a.Unit != "" {
			author += ", unit " + a.Unit
		}
	}
	colour := yellow
	if e.Kind == "failed" || e.Kind == "fight" {
		colour = red
	}
	s.printf("%s %s by %s: %s", e.At.Local().Format(time.DateTime), s.paint(colour, e.Kind), author, e.Summary)
	if e.Kind == "repaired" {
		s.printf(" (%s, %.1f ms)", plural(e.Count, "change"), e.Took)
	}
	if e.Error != "" {
		s.printf(": %s", e.Error)
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
