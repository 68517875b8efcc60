package nftables

import (
	"errors"
	"testing"
	"time"
)

func TestReadAgainUntilNoneRepeats(t *testing.T) {
	failed := errors.New("failed")
	for name, c := range map[string]struct {
		repeats  int // readings in which an element came twice
		fails    error
		pause    error
		readings int
		want     string
	}{
		"at once":       {readings: 1},
		"the third":     {repeats: 2, readings: 3},
		"never":         {repeats: maxReadings, readings: maxReadings, want: "elements came twice, 100 times"},
		"a failure":     {fails: failed, readings: 1, want: "failed"},
		"no time left":  {repeats: 2, pause: failed, readings: 1, want: "failed"},
		"the last time": {repeats: maxReadings - 1, readings: maxReadings},
	} {
		t.Run(name, func(t *testing.T) {
			readings := 0
			pause := func(time.Duration) error { return c.pause }
			err := UntilNoneRepeats(pause, func() (bool, error) {
				readings++
				return readings <= c.repeats, c.fails
			})
			got := ""
			if err != nil {
				got = err.Error()
			}
			if len(got) < len(c.want) || got[:len(c.want)] != c.want || c.want == "" && got != "" {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if readings != c.readings {
				t.Errorf("read %d times, want %d", readings, c.readings)
			}
		})
	}
}
