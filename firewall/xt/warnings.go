package xt

import "github.com/portgrave/portgrave/firewall/pattern"

// noConnlabelNames is what the programs say wherever a rule asks for a label and nobody has named
// any.
var noConnlabelNames = pattern.New(`(?m)^Warning: cannot open \S*connlabel.conf: .*\n`)

// withoutWarnings removes harmless warnings from what a program that failed has said.
func withoutWarnings(said string) string {
	return noConnlabelNames.Regexp().ReplaceAllString(said, "")
}
