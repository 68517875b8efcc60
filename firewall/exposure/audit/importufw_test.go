package audit

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
)

// ufwBefore are the rules about new packets that ufw has before those of its user.
const ufwBefore = ":local - [0:0]\n:user - [0:0]\n" +
	"-A INPUT -i lo -j ACCEPT\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n" +
	"-A INPUT -m conntrack --ctstate INVALID -j DROP\n" +
	"-A INPUT -p udp --sport 67 --dport 68 -j ACCEPT\n-A INPUT -j local\n" +
	"-A local -m addrtype --dst-type LOCAL -j RETURN\n" +
	"-A local -m addrtype --dst-type MULTICAST -j RETURN\n" +
	"-A local -m addrtype --dst-type BROADCAST -j RETURN\n" +
	"-A local -m limit --limit 3/min --limit-burst 10 -j DROP\n-A local -j DROP\n" +
	"-A INPUT -d 224.0.0.251/32 -p udp --dport 5353 -j ACCEPT\n" +
	"-A INPUT -d 239.255.255.250/32 -p udp --dport 1900 -j ACCEPT\n"

// Where most ports are open, a rule that lets in DHCP's answers changes nothing about udp/68, and
// no service is for it.
func TestImportLeavesOpenPortsAlone(t *testing.T) {
	const deny22 = "-A INPUT -p tcp --dport 22 -j DROP\n"
	six := strings.NewReplacer("--sport 67 --dport 68", "-s fe80::/10 -d fe80::/10 --sport 547 --dport 546",
		"224.0.0.251/32", "ff02::fb/128", "239.255.255.250/32", "ff02::f/128", "-j local\n", "-j user\n").Replace(ufwBefore)
	for _, listeners := range [][]string{
		{"sshd [::]:22"},
		{"sshd [::]:22", "networkd udp:198.51.100.10:68"},
		{"sshd [::]:22", "dhclient udp:0.0.0.0:68"},
	} {
		out := importOn(t, spreadingWorld(), acceptAll+ufwBefore+deny22, acceptAll+six+deny22,
			listeners...)
		s := serviceFor(out, firewall.UDP, 68)
		if (s != nil) != (len(listeners) > 1) {
			t.Errorf("%v: %+v", listeners, s)
		}
		if s != nil && (s.Addresses.Len() > 0 || s.Sources.Len() == 0) {
			t.Errorf("%v: %+v", listeners, s)
		}
		if len(out.Notes) > 0 {
			t.Errorf("%v: %q", listeners, out.Notes)
		}
	}
}

// Where a service is for single addresses, broadcasts that the rules let in stand among these, though
// nobody listens yet.
func TestImportKeepsBroadcastsWhereNobodyListens(t *testing.T) {
	const (
		group = "-A INPUT -d 224.0.0.251 -p udp --dport 4000 -j DROP\n"
		own   = "-A INPUT -d 198.51.100.11 -p udp --dport 4000 -j DROP\n"
		own6  = "-A INPUT -d 2001:db8::10 -p udp --dport 4000 -j DROP\n"
		none  = "-A INPUT -m addrtype --dst-type BROADCAST -p udp --dport 4000 -j DROP\n"
	)
	for _, tt := range []struct {
		four, six string
		want      bool
	}{
		{group, "", true}, {own, "", true}, {own + none, "", false},
		{"", "-A INPUT -d ff02::fb -p udp --dport 4000 -j DROP\n", true}, {own, own6, true},
	} {
		out := importOn(t, spreadingWorld(), acceptAll+tt.four, acceptAll+tt.six, "sshd [::]:22")
		for _, a := range []string{"255.255.255.255", "198.51.100.255"} {
			got := false
			for _, s := range out.Services {
				if s.Ports[0] == single(firewall.UDP, 4000) {
					got = got || s.OnAddress(netip.MustParseAddr(a)) && s.Sources.Len() > 0
				}
			}
			if listed := serviceFor(out, firewall.UDP, 4000) != nil; listed && got != tt.want {
				t.Errorf("%s%s%s: %v\n%s", tt.four, tt.six, a, got, documentOf(out))
			}
		}
	}
}
