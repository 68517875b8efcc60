package main

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall/exposure"
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
