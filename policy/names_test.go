package policy

import (
	"context"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
)

func withNames(t *testing.T) *Policy {
	t.Helper()
	p, err := Parse("policy.yaml", []byte(`version: 1
networks:
  office: [203.0.113.0/24]
  sites: [office, 198.51.100.7]
  world: [any]
  anx: [192.0.2.0/24]
  anywhere: [0.0.0.0/0]
  partners: [anywhere]
  halves: [0.0.0.0/1, 128.0.0.0/1]
  customers: [halves, office]
  suppliers: {file: /none/suppliers.txt}
  visitors: [suppliers]
services:
  - {name: web, port: [443, 8000-8010], allow: [any]}
  - {name: metrics, port: 9100, allow: [office]}
`))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestServicePorts(t *testing.T) {
	p := withNames(t)
	want := firewall.PortRange{Protocol: firewall.TCP, First: 8000, Last: 8010}
	if got := p.ServicePorts("web"); len(got) != 2 || got[1] != want {
		t.Errorf("%v", got)
	}
	if got := p.ServicePorts("office"); got != nil {
		t.Errorf("%v", got)
	}
}

// A network is known though no service uses it.
func TestNetwork(t *testing.T) {
	p := withNames(t)
	for name, want := range map[string]string{
		"sites": "198.51.100.7/32 203.0.113.0/24", "loopback": "127.0.0.0/8 ::1/128",
	} {
		set, known, err := p.Network(context.Background(), name, nil)
		if got := strings.Join(set.Strings(), " "); !known || err != nil || got != want {
			t.Errorf("%s: %s, %v, %v", name, got, known, err)
		}
	}
	if _, known, err := p.Network(context.Background(), "web", nil); known || err != nil {
		t.Error(known, err)
	}
	p, err := Parse("policy.yaml", []byte("version: 1\nnetworks: {gone: {file: /none/gone.txt}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Network(context.Background(), "gone", nil); err == nil {
		t.Error("a network whose file is missing is empty")
	}
}

// What is offered is never wider than what was typed.
func TestMeant(t *testing.T) {
	p := withNames(t)
	for word, want := range map[string]string{
		"metircs": "metrics/", "offcie": "/office", "privat": "/private", "wordl": "/", "ay": "/",
		"nay": "/", "site": "/sites", "lan": "/", "partner": "/", "halvs": "/", "customer": "/", "supplier": "/", "visitor": "/",
	} {
		service, network := p.Meant(word)
		if got := service + "/" + network; got != want {
			t.Errorf("%s: %s, want %s", word, got, want)
		}
	}
}
