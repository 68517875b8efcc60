package daemon

import (
	"context"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/connections"
)

// tracked is a table of tracked connections that is nearly full.
func tracked(context.Context) (connections.Tracking, error) {
	return connections.Tracking{State: connections.TrackingOn, Count: 47, Limit: 48}, nil
}

// The fill of the table of tracked connections is measured, and part of the status.
func TestTrackingIsMeasured(t *testing.T) {
	r := start(t)
	_, metrics := r.get("/metrics")
	for _, want := range []string{
		"\nportgrave_conntrack_connections 47\n", "\nportgrave_conntrack_connections_limit 48\n",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %q in:\n%s", want, metrics)
		}
	}
	if _, status := r.get("/v1/firewall"); !strings.Contains(
		status,
		`"tracking":{"state":"on","count":47,"limit":48}`,
	) {
		t.Errorf("status: %s", status)
	}
}
