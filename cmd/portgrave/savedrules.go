package main

import (
	"github.com/portgrave/portgrave/firewall/coexist"
)

// savedRulesWarnings are for who has just put rules in force through a backend: where they are
// saved, or may be, so that nothing that was saved loads at boot.
func savedRulesWarnings(backend string) (out []string) {
	files := coexist.HostFiles()
	for _, s := range files.Find() {
		out = append(out, s.String())
	}
	if w := files.WouldSave(); w != "" && len(out) == 0 && backend == "iptables" {
		out = append(out, w)
	}
	return out
}
