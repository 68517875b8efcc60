package xt

import (
	"bufio"
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// A program reads all that is written, however slowly; one that ends before is judged by its exit status, and holds nobody up.
func TestFeed(t *testing.T) {
	const n = 5 << 20
	write := func(w *bufio.Writer) {
		for range n / 16 {
			w.WriteString("fifteen letters\n")
		}
	}
	for script, want := range map[string]string{
		"wc -c": "5242880",
		"sleep 0.1; head -c 100000 >/dev/null; sleep 0.1; wc -c": "5142880",
		"true":   "",
		"exit 3": "exit status 3",
		"head -c 2000000 >/dev/null; echo enough; exit 4": "enough exit status 4",
	} {
		cmd := exec.Command("sh", "-c", script)
		var out bytes.Buffer
		cmd.Stdout = &out
		said := ""
		if err := runFed(cmd, write); err != nil {
			said = err.Error()
		}
		if got := strings.Join(strings.Fields(out.String()+" "+said), " "); got != want {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
	if err := runFed(exec.Command("/nonexistent/program"), write); err == nil {
		t.Error("a program that isn't there was fed")
	}
}
