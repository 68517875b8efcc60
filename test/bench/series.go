package main

import (
	"fmt"
	"slices"
	"strings"
)

// Series is one measurement, repeated, in the order in which it was taken. Ratios are taken pair by
// pair: other load on the machine disturbs both halves of a pair alike, so the median of ratios
// says more than the ratio of medians.
type Series []float64

// Quantile is the value below which the share q of the measurements lies (nearest rank); 0 for
// none.
func (s Series) Quantile(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(max(int(q*float64(len(sorted))+0.5)-1, 0), len(sorted)-1)]
}

// Median is the middle of the measurements, the mean of two if their number is even; 0 for none.
func (s Series) Median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Min is the smallest measurement; 0 for none.
func (s Series) Min() float64 {
	if len(s) == 0 {
		return 0
	}
	return slices.Min(s)
}

// Max is the largest measurement; 0 for none.
func (s Series) Max() float64 {
	if len(s) == 0 {
		return 0
	}
	return slices.Max(s)
}

// Over divides each measurement by the one of the same round of other, as far as both go.
func (s Series) Over(other Series) Series {
	var out Series
	for i := range min(len(s), len(other)) {
		if other[i] > 0 {
			out = append(out, s[i]/other[i])
		}
	}
	return out
}

// formatSeconds writes a time with two or three digits: 1.43 s, 25 ms, 310 µs.
func formatSeconds(s float64) string {
	switch {
	case s >= 99.95:
		return fmt.Sprintf("%.0f s", s)
	case s >= 9.995:
		return fmt.Sprintf("%.1f s", s)
	case s >= 0.9995:
		return fmt.Sprintf("%.2f s", s)
	case s >= 0.00995:
		return fmt.Sprintf("%.0f ms", s*1e3)
	case s >= 0.0009995:
		return fmt.Sprintf("%.1f ms", s*1e3)
	}
	return fmt.Sprintf("%.0f µs", s*1e6)
}

// formatRatio writes a ratio with two digits: 0.87, 3.2, 140.
func formatRatio(r float64) string {
	switch {
	case r >= 9.95:
		return fmt.Sprintf("%.0f", r)
	case r >= 0.995:
		return fmt.Sprintf("%.1f", r)
	}
	return fmt.Sprintf("%.2f", r)
}

// formatMiB writes an amount of memory in MiB.
func formatMiB(b float64) string {
	return fmt.Sprintf("%.0f MiB", b/(1<<20))
}

// formatCount writes 100000 as "100 000".
func formatCount(n int) string {
	digits := fmt.Sprint(n)
	var groups []string
	for len(digits) > 3 {
		groups = append([]string{digits[len(digits)-3:]}, groups...)
		digits = digits[:len(digits)-3]
	}
	return strings.Join(append([]string{digits}, groups...), " ")
}
