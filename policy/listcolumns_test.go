package policy

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
	"pgregory.net/rapid"
)

// TestColumnsAllowNoMore checks that a list of lines with columns has no address that the first
// column lacks and that, if it is read, all addresses in other columns are in the first. Messages
// about it offer no address that wasn't written.
func TestColumnsAllowNoMore(t *testing.T) {
	offered := regexp.MustCompile(`write .*`)
	words := regexp.MustCompile(`[0-9a-f.:]+(-[0-9a-f.:]+|/[0-9]+)?`)
	columns := rapid.SampledFrom([]string{"192.0.2.0", "192.0.2.1", "192.0.2.9", "192.0.2.0/24",
		"192.0.2.0-192.0.2.9", "203.0.113.9", "2001:db8::", "2001:db8::/32", "2001:db8::7",
		"128.0.0.0", "0.0.0.0", "2026-01-01", "DE", "", "64496"})
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(columns, 2, 4).Draw(t, "columns")
		separator := rapid.SampledFrom([]string{",", ", ", "\t", ";"}).Draw(t, "separator")
		if parts[0] == "" {
			return // space before the first column
		}
		line := strings.Join(parts, separator)
		var first, written address.Builder
		for i, part := range parts {
			if i == 0 {
				_ = addEntry(&first, []byte(part)) // refused lines have other entries
			}
			_ = addEntry(&written, []byte(part))
		}
		list, err := (listReader{name: "list", limit: 10}).read(strings.NewReader(line))
		got := list.prefixes
		if err == nil && (!got.Equal(first.Set()) || !got.Equal(written.Set())) {
			t.Fatalf("%q is read as %v", line, list.prefixes)
		}
		for _, word := range words.FindAllString(offered.FindString(fmt.Sprint(err)), -1) {
			var b address.Builder
			if addEntry(&b, []byte(word)) == nil && !b.Set().Minus(written.Set()).IsZero() {
				t.Fatalf("%q: %v offers %v", line, err, word)
			}
		}
	})
}
