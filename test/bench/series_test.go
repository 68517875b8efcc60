package main

import (
	"slices"
	"testing"
)

func TestSeries(t *testing.T) {
	for _, c := range []struct {
		s                          Series
		median, min, max, p99, p10 float64
	}{
		{nil, 0, 0, 0, 0, 0},
		{Series{3}, 3, 3, 3, 3, 3},
		{Series{3, 1, 2}, 2, 1, 3, 3, 1},
		{Series{4, 1, 2, 3}, 2.5, 1, 4, 4, 1},
		{Series{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 5.5, 1, 10, 10, 1},
	} {
		got := []float64{c.s.Median(), c.s.Min(), c.s.Max(), c.s.Quantile(0.99), c.s.Quantile(0.1)}
		if want := []float64{c.median, c.min, c.max, c.p99, c.p10}; !slices.Equal(got, want) {
			t.Errorf("%v: %v, want %v", c.s, got, want)
		}
	}
	s := Series{2, 1}
	if s.Median(); s[0] != 2 {
		t.Error("Median sorts what it was given")
	}
}

func TestOverPairsRounds(t *testing.T) {
	for _, c := range []struct{ a, b, want Series }{
		{Series{2, 30}, Series{1, 10}, Series{2, 3}},
		{Series{2, 30, 7}, Series{1}, Series{2}},
		{Series{2, 3}, Series{0, 1}, Series{3}},
		{nil, Series{1}, nil},
	} {
		if got := c.a.Over(c.b); !slices.Equal(got, c.want) {
			t.Errorf("%v over %v: %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		formatSeconds(123.4): "123 s", formatSeconds(12.34): "12.3 s", formatSeconds(1.234): "1.23 s", formatSeconds(0.9999): "1.00 s", formatSeconds(0.1234): "123 ms",
		formatSeconds(0.00123): "1.2 ms", formatSeconds(0.00001): "10 µs",
		formatRatio(140.2): "140", formatRatio(12.6): "13", formatRatio(3.25): "3.2", formatRatio(0.999): "1.0", formatRatio(0.874): "0.87",
		formatMiB(3 << 20): "3 MiB", formatCount(7): "7", formatCount(1000): "1 000", formatCount(1234567): "1 234 567",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
