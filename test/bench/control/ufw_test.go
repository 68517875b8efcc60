package control

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/test/bench/figures"
	"github.com/portgrave/portgrave/test/bench/report"
)

func TestUFWRows(t *testing.T) {
	const times = "add 1000000000\nadd 1500000000\nadd 2000000000\nread 3000000000\nread 3250000000\nready\n"
	row := func(size int, o report.Operation, note string, s ...float64) report.Control {
		return report.Control{Family: "IPv4", Size: size, By: "ufw, rule by rule", Operation: o, Seconds: figures.Series(s), Note: note}
	}
	for _, c := range []struct {
		size int
		want []report.Control
	}{
		{2, []report.Control{row(2, report.First, "", 1), row(2, report.Read, "", 0.25), row(2, report.One, "", 0.5, 0.5)}},
		{1000, []report.Control{row(1000, report.First, "> 30.0 s (2 of them)"), row(1000, report.Read, "", 0.25), row(1000, report.One, "", 0.5, 0.5)}},
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
