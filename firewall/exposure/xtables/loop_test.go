package xtables

import (
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// A loop of chains is an error with its line, as the kernel has none. Chains that nothing runs may
// have one, and a chain may be run twice.
func TestLoops(t *testing.T) {
	const begin = "*filter\n:INPUT ACCEPT [0:0]\n:a - [0:0]\n:b - [0:0]\n"
	for rules, want := range map[string]string{
		"-A INPUT -j a\n-A a -j b\n-A b -j a\n":                   "7:1: chain b leads back to chain a",
		"-A INPUT -j a\n-A a -g a\n":                              "6:1: chain a leads back to chain a",
		"-A INPUT -j a\n-A INPUT -j b\n-A a -j b\n-A b -j DROP\n": "",
		"-A a -j b\n-A b -j a\n":                                  "",
	} {
		err := ReadSave("rules.v4", exposure.FamilyIPv4, strings.NewReader(begin+rules+"COMMIT\n"),
			NewSets(), &exposure.Ruleset{})
		if want == "" && err != nil ||
			want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", rules, err, want)
		}
	}
}
