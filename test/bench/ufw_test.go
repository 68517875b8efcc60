package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestUFWRows(t *testing.T) {
	const times = "add 1000000000\nadd 1500000000\nadd 2000000000\nread 3000000000\nread 3250000000\nready\n"
	row := func(size int, o Operation, note string, s ...float64) ControlRow {
		return ControlRow{
			Family:    "IPv4",
			Size:      size,
			By:        "ufw, rule by rule",
			Operation: o,
			Seconds:   Series(s),
			Note:      note,
		}
	}
	for _, c := range []struct {
		size int
		want []ControlRow
	}{
		{2, []ControlRow{row(2, FirstLoad, "", 1), row(2, ReadAll, "", 0.25), row(2, OneMore, "", 0.5, 0.5)}},
		{1000, []ControlRow{row(1000, FirstLoad, "> 30.0 s (2 of them)"), row(1000, ReadAll, "", 0.25), row(1000, OneMore, "", 0.5, 0.5)}},
	} {
		got, err := ufwRows("Firewall is active\n"+times, c.size, 30*time.Second)
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%d: %v\n%s", c.size, err, diff)
		}
	}
	for _, bad := range []string{"", "add 1\nread 1\nread 2\n", "add x\n"} {
		if _, err := ufwRows(bad, 2, time.Second); err == nil {
			t.Errorf("%q is taken for times", bad)
		}
	}
}
