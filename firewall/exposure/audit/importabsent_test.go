package audit

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Addresses that the host doesn't have now are named if rules for packets to the host tell them
// apart.
func TestImportNamesAbsentAddresses(t *testing.T) {
	const says = "doesn't have now: 198.51.100.200;"
	for _, tt := range []struct{ rules, says string }{
		{denyAll, ""},
		{denyAll + "-A INPUT -d 198.51.100.10 -p tcp --dport 22 -j ACCEPT\n", ""},
		{denyAll + "-A INPUT -d 198.51.100.0/24 -p tcp --dport 22 -j ACCEPT\n", ""},
		{denyAll + "-A INPUT -d 224.0.0.251 -p udp --dport 5353 -j ACCEPT\n", ""},
		{denyAll + "-A INPUT -d 198.51.100.200 -p tcp --dport 443 -j ACCEPT\n", says},
		{denyAll + "-A INPUT ! -d 198.51.100.200 -p tcp --dport 80 -j ACCEPT\n", says},
		{acceptAll + ":vip - [0:0]\n-A INPUT -j vip\n-A vip -d 198.51.100.200 -j DROP\n", says},
		{denyAll + "-A FORWARD -d 198.51.100.200 -j ACCEPT\n", ""},
		{denyAll + "-A OUTPUT -d 198.51.100.200 -j DROP\n", ""},
	} {
		out := mustImport(t, tt.rules, denyAll, "sshd 0.0.0.0:22", "web 0.0.0.0:80")
		notes := strings.Join(out.Notes, "\n")
		if !strings.Contains(notes, tt.says) ||
			tt.says == "" && strings.Contains(notes, "doesn't have now") {
			t.Errorf("%s%q", tt.rules, out.Notes)
		}
	}
}

// Networks that a route makes local are named if rules tell them apart, and no client has addresses
// there.
func TestImportOfLocalNetworks(t *testing.T) {
	for rules, says := range map[string]string{
		"": "",
		"-A INPUT -d 198.18.0.0/24 -p tcp --dport 80 -j ACCEPT\n": "routes make 198.18.0.0/24 local",
		"-A INPUT -d 198.18.0.7 -p tcp --dport 80 -j ACCEPT\n":    "routes make 198.18.0.0/24 local",
		"-A INPUT -d 198.51.100.10 -j ACCEPT\n":                   "",
	} {
		h := world()
		h.Routes = append(h.Routes, exposure.Route{
			Table: 255, Type: exposure.RouteLocal, Dest: netip.MustParsePrefix("198.18.0.0/24"),
			NextHops: []exposure.NextHop{{Index: 1}},
		})
		out := importOn(t, h, denyAll+"-A INPUT -p tcp --dport 22 -j ACCEPT\n"+rules, denyAll,
			"sshd 0.0.0.0:22")
		notes := strings.Join(out.Notes, "\n")
		if !strings.Contains(notes, says) || says == "" && strings.Contains(notes, "routes make") ||
			strings.Contains(notes, "doesn't have now") {
			t.Errorf("%s%q", rules, out.Notes)
		}
		s := serviceFor(out, firewall.TCP, 22)
		if s == nil || !s.Sources.Equal(address.Must("0.0.0.0/0")) {
			t.Errorf("%s%+v", rules, s)
		}
	}
}
