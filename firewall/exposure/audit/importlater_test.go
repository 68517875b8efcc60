package audit

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// A service names today's interfaces and addresses, or is for all. The import says where the rules
// decide otherwise about later ones.
func TestImportNotesWhatComesLater(t *testing.T) {
	const (
		web        = "-p tcp --dport 80 -j ACCEPT\n"
		addresses  = "rules tell this host's addresses apart, so web list"
		interfaces = "rules tell interfaces apart, so"
		openTo     = "web hold for addresses that this host gets later"
		openBy     = "web hold for interfaces that come later"
	)
	one := withAddresses("198.51.100.11/24")
	one.Interfaces = slices.DeleteFunc(one.Interfaces, func(i exposure.Interface) bool {
		return i.Name == "br0" || i.Name == "veth1"
	})
	single := world()
	single.Interfaces = slices.Clone(one.Interfaces)
	single.Interfaces[1].Addresses = []netip.Prefix{netip.MustParsePrefix("198.51.100.10/24")}
	for _, tt := range []struct {
		host  *exposure.Host
		rules string
		says  []string
	}{
		{one, denyAll + "-A INPUT " + web, nil},
		{one, denyAll + "-A INPUT ! -s 10.0.0.0/8 " + web, nil},
		{one, acceptAll, nil},
		{one, denyAll + "-A INPUT -i lo -j ACCEPT\n-A INPUT " + web, nil},
		{one, denyAll + "-A INPUT -d 198.51.100.0/24 -j ACCEPT\n", nil}, // all of today
		{world(), denyAll + "-A INPUT -d 198.51.100.10 " + web, nil},
		// Another rule names one of the addresses.
		{withAddresses("198.51.100.11/24"), denyAll + "-A INPUT -d 198.51.100.10 -p tcp --dport 22 -j ACCEPT\n" +
			"-A INPUT -d 198.51.100.0/24 " + web, []string{addresses}},
		{one, denyAll + "-A INPUT -d 198.51.100.11 -j DROP\n-A INPUT " + web, []string{addresses}},
		{single, denyAll + "-A INPUT -d 198.51.100.10 " + web, []string{openTo}},
		{world(), denyAll + "-A INPUT ! -i eth0 -j ACCEPT\n", []string{interfaces}},
		{world(), acceptAll + "-A INPUT -i eth0 -p tcp --dport 80 -j DROP\n", []string{interfaces}},
		{world(), denyAll + "-A INPUT -i eth0 " + web, nil},
		{world(), denyAll + "-A INPUT -i eth+ " + web, []string{interfaces}},
		{world(), denyAll + "-A INPUT -i eth0 " + web + "-A INPUT -i br0 " + web, []string{openBy}},
		{one, denyAll + "-A INPUT -i eth0 " + web, []string{openBy}},
		{one, denyAll + "-A INPUT -i eth+ " + web, []string{openBy}},
	} {
		out := importOn(t, tt.host, tt.rules, denyAll, "sshd 0.0.0.0:22", "web 0.0.0.0:80")
		notes := strings.Join(out.Notes, "\n")
		for _, says := range []string{addresses, interfaces, openTo, openBy} {
			if got := strings.Contains(notes, says); got != slices.Contains(tt.says, says) {
				t.Errorf("%s%q: %v: %q", tt.rules, says, got, out.Notes)
			}
		}
	}
}
