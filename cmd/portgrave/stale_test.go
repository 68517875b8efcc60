package main

import (
	"reflect"
	"testing"

	"github.com/portgrave/portgrave/policy"
)

// TestAsTheDaemonSays checks that the daemon's reason counts only for a network that was not asked
// here, and that comes from the same place.
func TestAsTheDaemonSays(t *testing.T) {
	known := []policy.StaleNetwork{
		{Name: "a", Source: "https://a.example/", Reason: "it answered 503"},
		{Name: "b", Source: "https://b.example/", Reason: "it answered 503"},
	}
	got := asTheDaemonSays([]policy.StaleNetwork{
		{Name: "a", Source: "https://a.example/", Reason: "offline", Offline: true},
		{Name: "b", Source: "https://other.example/", Reason: "offline", Offline: true},
		{Name: "c", Source: "https://c.example/", Reason: "offline", Offline: true},
		{Name: "b", Source: "https://b.example/", Reason: "the file is being written"},
	}, known)
	var reasons []string
	for _, n := range got {
		reasons = append(reasons, n.Reason)
	}
	want := []string{"it answered 503", "offline", "offline", "the file is being written"}
	if !reflect.DeepEqual(reasons, want) {
		t.Errorf("%q", reasons)
	}
}
