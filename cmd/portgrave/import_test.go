package main

import (
	"context"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
)

// A draft that says something else than what was found isn't written.
func TestImportConfirmsItsDraft(t *testing.T) {
	everyone := address.Must("0.0.0.0/0")
	web := firewall.Service{Name: "web", Log: firewall.LogDenied, Sources: everyone,
		Ports: []firewall.PortRange{{Protocol: firewall.TCP, First: 80, Last: 80}}}
	found := audit.Imported{Unlisted: firewall.UnlistedDeny, Refuse: firewall.RefuseDrop,
		Services: []audit.ImportedService{{Service: web}}}
	draft, _ := draftOf(found, false, true)
	if err := confirmDraft(context.Background(), draft, found, 0); err != nil {
		t.Fatal(err)
	}
	draft.Services[0].Sources = address.Must("192.0.2.0/24")
	if err := confirmDraft(context.Background(), draft, found, 0); err == nil {
		t.Error("a narrower draft is confirmed")
	}
}
