package policy

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
)

func onHost(t *testing.T, h Host, text string) []Problem {
	t.Helper()
	p, err := Parse("policy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Compile(t.Context(), &Networks{Now: testClock})
	if err != nil {
		t.Fatal(err)
	}
	return p.OnHost(c, h, testClock())
}

func TestOnHost(t *testing.T) {
	h := Host{
		Interfaces: []string{"lo", "eth0", "wg0", "odd+"},
		Raw:        []firewall.Protocol{89, firewall.VRRP},
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.10"),
			netip.MustParseAddr("2001:db8::10")},
	}
	var got []string
	for _, p := range onHost(t, h, `version: 1
unlisted: deny
services:
  - {name: here, port: 1, interfaces: [eth0, "wg*", "odd+"], addresses: [192.0.2.10, "2001:db8::10", 224.0.0.18, 255.255.255.255], allow: [any]}
  - {name: plus, port: 2, interfaces: ["eth+"], allow: [any]}
  - {name: gone, port: 3, interfaces: [eth1, "br*"], allow: [any]}
  - {name: other, port: 4, addresses: [192.0.2.11], allow: [any]}
  - {name: router, protocol: vrrp, allow: [192.0.2.1]}
`) {
		got = append(got, p.Error())
	}
	want := []string{
		`policy.yaml:6:5: service "gone": this host has no interface "br*"`,
		`policy.yaml:6:5: service "gone": this host has no interface "eth1"`,
		`policy.yaml:7:5: service "other": this host has no address 192.0.2.11`,
		`policy.yaml:5:5: service "plus": this host has no interface "eth+" now, and nobody gets in by it until it has; names that begin with eth are written "eth*"`,
		"policy.yaml:2:11: a program listens for ospf on a raw socket",
	}
	if len(got) != len(want) {
		t.Fatalf("the warnings are\n%s", strings.Join(got, "\n"))
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("%s\nis not\n%s", got[i], want[i])
		}
	}
	if got := onHost(t, h, "version: 1\nservices: []\n"); len(got) > 0 {
		t.Errorf("with unlisted: ignore: %v", got)
	}
}

// With iptables, packets of an interface in a VRF have only the VRF's name.
func TestInterfaceInVRF(t *testing.T) {
	h := Host{
		Interfaces: []string{"lo", "eth0", "eth1", "red"},
		VRFs:       map[string]string{"eth0": "red"},
	}
	const text = `version: 1
services:
  - {name: port, port: 1, interfaces: [eth0], allow: [any]}
  - {name: pattern, port: 2, interfaces: ["eth*"], allow: [any]}
  - {name: vrf, port: 3, interfaces: [red], allow: [any]}
  - {name: both, port: 4, interfaces: [eth0, "r*"], allow: [any]}
  - {name: outside, port: 5, interfaces: [eth1], allow: [any]}
`
	warned := onHost(t, h, text)
	if len(warned) != 2 {
		t.Fatalf("the warnings are %v", warned)
	}
	for i, name := range []string{"pattern", "port"} {
		if text := warned[i].Error(); !strings.Contains(
			text,
			`service "`+name+`": the interface "eth0" is in the VRF "red"`,
		) {
			t.Error(text)
		}
	}
	h.VRFs = nil // as with nftables
	if warned := onHost(t, h, text); len(warned) > 0 {
		t.Error(warned)
	}
}

func TestSuspiciousSources(t *testing.T) {
	c := mustCompile(t, `version: 1
services:
  - {name: everybody, port: 1, allow: [0.0.0.0, "::"]}
  - {name: dhcp, port: [53, 67], protocol: udp, interfaces: [eth3], allow: [192.168.1.0/24]}
  - {name: bootp, port: 67, protocol: udp, interfaces: [eth0], allow: [192.168.1.0/24, 0.0.0.0]}
  - {name: open, port: 67, protocol: udp, interfaces: [eth1], allow: [any]}
  - {name: nobody, port: 67, protocol: udp, interfaces: [eth2], allow: []}
`)
	var got []string
	for _, p := range c.Warnings {
		got = append(got, p.Error())
	}
	text := strings.Join(got, "\n")
	for _, want := range []string{"policy.yaml:3:40: 0.0.0.0 is one address", "policy.yaml:3:49: :: is one address", `policy.yaml:4:29: service "dhcp" lists udp/67`} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if len(got) != 3 {
		t.Errorf("the warnings are\n%s", text)
	}
}
