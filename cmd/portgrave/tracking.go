package main

import (
	"fmt"

	"github.com/portgrave/portgrave/firewall/connections"
)

// crowded is the fill of the table of tracked connections from which status shows it as a problem.
const crowded = 0.8

// trackingWords is how full the table of tracked connections is; "" if there is nothing to tell.
func trackingWords(s *screen, t *connections.Tracking) string {
	if t == nil || t.Limit == 0 {
		return ""
	}
	words := fmt.Sprintf("%d of %d connections (%.0f %%)", t.Count, t.Limit, 100*t.Fill())
	if t.Fill() >= crowded {
		words = s.paint(
			red,
			words,
		) + ": new ones are dropped when it is full; raise net.netfilter.nf_conntrack_max"
	}
	return words
}
