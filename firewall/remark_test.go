package firewall

import "testing"

func TestCheckRemark(t *testing.T) {
	for _, good := range []string{"", "INC-42: audit", "für Jürgen, 日本", "a\u00a0b", "100 % 🚢"} {
		if err := CheckRemark(good); err != nil {
			t.Errorf("%q is refused: %v", good, err)
		}
	}
	for _, bad := range []string{
		"two\nlines", "a\rb", "a\tb", "\x1b[31mred", "\u009b31m", "\u202egnol", "\u2028", "\x00",
		"\x7f", "\xff",
	} {
		if CheckRemark(bad) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
