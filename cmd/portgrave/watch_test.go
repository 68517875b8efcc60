package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/daemon"
	"github.com/portgrave/portgrave/firewall"
)

// What isn't known of an author is left out, and nothing plays with the terminal.
func TestPrintEvent(t *testing.T) {
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.Local)
	for _, x := range []struct {
		event daemon.Event
		want  string
	}{
		{
			daemon.Event{Kind: "exposure", Summary: "tcp/80 can now be reached",
				Author: &firewall.Author{Command: "nginx", PID: 7}},
			"2026-11-30 12:00:00 UTC exposure by nginx, process 7: tcp/80 can now be reached\n",
		},
		{
			daemon.Event{Kind: "hook", Summary: "a\x1b[31mb"},
			"2026-11-30 12:00:00 UTC hook by unknown: a?[31mb\n",
		},
		{
			daemon.Event{Kind: "failed", Summary: "no repair", Error: "one\ntwo",
				Author: &firewall.Author{Command: "n\nft", User: "root", Unit: "a\x1b.service"}},
			"2026-11-30 12:00:00 UTC failed by n?ft, user root, unit a?.service: no repair: one; two\n",
		},
	} {
		x.event.At = at
		var out bytes.Buffer
		s := newScreen(&output{to: &out}, &out, "text", func(string) string { return "1" })
		printEvent(s, x.event)
		if out.String() != x.want {
			t.Errorf("%q, want %q", out.String(), x.want)
		}
	}
	if strings.Contains(authorWords(&firewall.Author{Command: "x"}), "user") {
		t.Error("a blank user")
	}
}
