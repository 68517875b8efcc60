package main

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
)

func TestTelling(t *testing.T) {
	step := func(chain, effect string, way int) exposure.Step {
		return exposure.Step{Hook: "input", Table: "t", Chain: chain, Effect: effect, Way: way}
	}
	steps := []exposure.Step{
		// nothing
		step(
			"in",
			"match: jump empty",
			0,
		), step("in", "match: jump a", 0), step("a", "match: jump b", 0), step("b", "match: jump c", 0),
		step(
			"in",
			"match: jump d",
			0,
		), step("d", "match: accept", 0), step("in", "match: jump e", 0),
		step("d", "no match", 1), step("d", "match: jump empty", 1), step("in", "policy drop", 1),
	}
	got, quiet := telling(steps)
	want := []exposure.Step{steps[4], steps[5], steps[6], steps[7], steps[9]}
	if diff := cmp.Diff(want, got); diff != "" || quiet != 5 {
		t.Errorf("%d left out: %s", quiet, diff)
	}
	if got, quiet := telling(nil); len(got) != 0 || quiet != 0 {
		t.Error(got, quiet)
	}
}

// A way that differs from the one before in its first steps lists no chain again that follows them.
func TestWithoutRepeats(t *testing.T) {
	step := func(chain, effect string, way int) exposure.Step {
		return exposure.Step{Hook: "input", Table: "t", Chain: chain, Effect: effect, Way: way}
	}
	steps := []exposure.Step{
		step("in", "match", 0), step("in", "may match: jump a", 0), step("a", "match: return", 0),
		step("in", "match: jump b", 0), step("b", "match: accept", 0),
		step("in", "may match, here not", 1),
		step("in", "match: jump b", 1), step("b", "match: accept", 1),
		step("in", "no match", 2), step("b", "match: accept", 2),
		step("in", "policy drop", 3),
	}
	want := append(slices.Clone(steps[:6]), step("in", asAbove, 1))
	want = append(want, steps[8:]...)
	if diff := cmp.Diff(want, withoutRepeats(steps)); diff != "" {
		t.Error(diff)
	}
	if steps[6].Effect == asAbove {
		t.Error("the steps of the explanation have changed")
	}
	if got := withoutRepeats(nil); len(got) != 0 {
		t.Error(got)
	}
}

// What is painted stays so, and what others have named can't paint.
func TestExplanationInColour(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &output{to: &out}, colour: true}
	x := audit.Explanation{Reason: audit.DroppedHere, Protocol: "tcp", Port: 22,
		From:        netip.MustParseAddr("203.0.113.7"),
		Destination: netip.MustParseAddr("192.0.2.10"), Interface: "eth\x1b[32m0",
		Summary: "203.0.113.7 does not get to tcp/22: stopped by \x1b[2J"}
	x.Assumed = []string{"a \x1b]0;title\x07"}
	printExplanation(s, x, "203.0.113.7", "203.0.113.7", false)
	got := out.String()
	if !strings.HasPrefix(got, "\x1b[31mdropped-here\x1b[0m: 203.0.113.7 does not get to ") ||
		strings.Count(got, "\x1b") != 2 || strings.Contains(got, "\a") ||
		!strings.Contains(got, "eth?[32m0") || !strings.Contains(got, "?[2J") {
		t.Errorf("%q", got)
	}
}

// Every line of a path fits, however many jumps are left out.
func TestPathFits(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &output{to: &out}}
	var x audit.Explanation
	for range 120 {
		x.Steps = append(x.Steps, exposure.Step{Hook: "input", Table: "t", Chain: "in",
			Effect: "match: jump empty"})
	}
	x.Steps = append(x.Steps, exposure.Step{Hook: "input", Table: "t", Chain: "in", Effect: "drop"})
	printPath(s, x)
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > minColumns {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if !strings.Contains(out.String(), "120 jumps") {
		t.Error(out.String())
	}
}
