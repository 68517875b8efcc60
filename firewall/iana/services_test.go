package iana

import (
	"slices"
	"strconv"
	"testing"
)

func TestServiceNumbers(t *testing.T) {
	for text, want := range map[string]uint16{
		"ssh":  22,
		"22":   22,
		"0x16": 22,
		"022":  18,
		"0X16": 22,
		"08":   0,
		"1_0":  0,
		"0b11": 0,
		"0o7":  0,
		"+5":   0,
		"":     0,
	} {
		if got, ok := Service(text); got != want || ok != (want > 0) {
			t.Errorf("%q: %d, %v", text, got, ok)
		}
	}
}

// Each port is written once, and each usual name leads to its port and back.
func TestKnownNames(t *testing.T) {
	for _, name := range slices.Concat(usualNames, alsoKnown, overUDP) {
		if ports, _, ok := Known(name); !ok || ports == "0" {
			t.Errorf("%s has no port", name)
		}
	}
	if len(usual()) != len(usualNames) {
		t.Errorf("%d usual names have %d ports", len(usualNames), len(usual()))
	}
	for name, ports := range otherNames {
		if port, ok := services[name]; ok && strconv.Itoa(int(port)) == ports {
			t.Errorf("%s %s is in services too", name, ports)
		}
	}
	for name, want := range map[string]string{
		"ssh":   "22",
		"dns":   "53",
		"etcd":  "2379-2380",
		"iscsi": "3260",
	} {
		if ports, udp, ok := Known(name); ports != want || udp || !ok {
			t.Errorf("%s: %s", name, ports)
		}
	}
	if _, _, ok := Known("acr-nema"); ok { // whether over UDP isn't known
		t.Error("a name that nobody writes is known")
	}
	for port, want := range map[uint16]string{
		53:   "dns",
		465:  "submissions",
		5432: "postgresql",
		9092: "",
	} {
		if got := UsualName(port); got != want {
			t.Errorf("%d: %s", port, got)
		}
	}
}
