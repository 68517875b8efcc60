package main

import (
	"fmt"

	"github.com/portgrave/portgrave/firewall/connections"
)

// crowded is the fill of the table of tracked connections from which status shows it as a problem.
const crowded = 0.8

// trackingWords is how full the table of tracked connections is.
func trackingWords(t connections.Tracking) string {
	return fmt.Sprintf("%d of %d connections (%.0f %%)", t.Count, t.Limit, 100*t.Fill())
}
