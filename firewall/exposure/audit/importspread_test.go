package audit

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// spreadingWorld is a host with routes to broadcasts and to IPv6 multicast.
func spreadingWorld() *exposure.Host {
	h := withAddresses("198.51.100.11/24")
	for dest, kind := range map[string]exposure.RouteType{
		"198.51.100.255/32": exposure.RouteBroadcast,
		"ff00::/8":          exposure.RouteMulticast,
	} {
		h.Routes = append(h.Routes, exposure.Route{
			Table: 255, Type: kind, Dest: netip.MustParsePrefix(dest),
			NextHops: []exposure.NextHop{{Index: 2}},
		})
	}
	return h
}

// Rules may treat broadcasts and multicast otherwise than packets to the host's addresses. The
// import says where the policy differs.
func TestImportNotesBroadcastsAndMulticast(t *testing.T) {
	const (
		udp        = "-A INPUT -p udp -m multiport --dports 67,137,5353 -j ACCEPT\n"
		noSpread   = "-A INPUT -m addrtype --dst-type BROADCAST -j DROP\n-A INPUT -d 224.0.0.0/4 -j DROP\n"
		letsIn     = ", and this policy lets that in"
		refuses    = ", and this policy refuses that"
		everyPort  = "udp/67, udp/137, udp/5353"
		otherProto = "-A INPUT -p udp "
	)
	for name, tt := range map[string]struct{ four, six, narrower, wider string }{
		"nothing":       {denyAll + udp, denyAll, "", ""},
		"own address":   {denyAll + "-A INPUT -d 198.51.100.10 -p tcp --dport 22 -j ACCEPT\n" + udp, denyAll, "", ""},
		"dropped":       {denyAll + noSpread + udp, denyAll, "refuse broadcasts and multicast to " + everyPort + letsIn, ""},
		"accept all":    {acceptAll + noSpread, acceptAll, everyPort + ", protocols without ports" + letsIn, ""},
		"a named group": {denyAll + "-A INPUT -d 224.0.0.251 -j DROP\n" + udp, denyAll, "refuse packets to 224.0.0.251 to " + everyPort + letsIn, ""},
		"IPv6": {denyAll, denyAll + "-A INPUT -p udp --dport 5353 ! -d ff00::/8 -j ACCEPT\n",
			"refuse multicast to udp/5353" + letsIn, ""},
		"multicast":  {denyAll + otherProto + "-d 224.0.0.0/4 -j ACCEPT\n", denyAll, "", "let in multicast to " + everyPort + refuses},
		"everything": {denyAll + "-A INPUT -d 224.0.0.0/4 -j ACCEPT\n", denyAll, "", everyPort + ", protocols without ports" + refuses},
		"by type": {denyAll + otherProto + "-m addrtype --dst-type MULTICAST -j ACCEPT\n", denyAll,
			"", "let in multicast to " + everyPort + refuses},
		"by one interface": {denyAll + otherProto + "-i br0 -d 224.0.0.0/4 -j ACCEPT\n", denyAll,
			"", "let in multicast by br0 to " + everyPort + refuses},
		"IPv6 let in": {denyAll, denyAll + otherProto + "-d ff02::/16 -j ACCEPT\n", "",
			"let in multicast to " + everyPort + refuses},
		"one address differs": {denyAll + "-A INPUT -d 198.51.100.11 -j DROP\n" + udp, denyAll,
			"", "let in multicast to " + everyPort + refuses},
		"TCP":        {denyAll + "-A INPUT -p tcp -d 224.0.0.0/4 -j ACCEPT\n", denyAll, "", ""},
		"broadcasts": {denyAll + otherProto + "-m addrtype --dst-type BROADCAST -j ACCEPT\n", denyAll, "", ""},
		// ufw: what isn't local, multicast or broadcast is dropped.
		"ufw": {denyAll + ":u - [0:0]\n-A INPUT -j u\n-A u -m addrtype --dst-type LOCAL -j RETURN\n" +
			"-A u -m addrtype --dst-type MULTICAST -j RETURN\n-A u -m addrtype --dst-type BROADCAST -j RETURN\n" +
			"-A u -j DROP\n-A INPUT -d 224.0.0.251 -p udp --dport 5353 -j ACCEPT\n" +
			"-A INPUT -d 239.255.255.250 -p udp --dport 1900 -j ACCEPT\n-A INPUT -p udp --dport 137 -j ACCEPT\n",
			denyAll + "-A INPUT -d ff02::fb -p udp --dport 5353 -j ACCEPT\n", "", ""},
	} {
		out := importOn(
			t,
			spreadingWorld(),
			tt.four,
			tt.six,
			"sshd 0.0.0.0:22",
			"dhcpd udp:[::]:67",
			"nmbd udp:[::]:137",
			"avahi udp:[::]:5353",
			"named udp:198.51.100.10:53",
		)
		notes := strings.Join(out.Notes, "\n")
		for _, says := range []string{tt.narrower, tt.wider} {
			if !strings.Contains(notes, says) {
				t.Errorf("%s: not %q: %q", name, says, out.Notes)
			}
		}
		if tt.narrower == "" && strings.Contains(notes, letsIn) ||
			tt.wider == "" && strings.Contains(notes, refuses) {
			t.Errorf("%s: %q", name, out.Notes)
		}
		if strings.Contains(notes, "udp/53,") || strings.Contains(notes, "tcp/22") {
			t.Errorf("%s: ports without broadcasts: %q", name, out.Notes)
		}
	}
}

// The import lists broadcast addresses that only broadcasts may go to.
func TestImportListsBroadcastAddresses(t *testing.T) {
	out := importOn(t, spreadingWorld(),
		denyAll+"-A INPUT -p udp --dport 137 -m addrtype --dst-type BROADCAST -j ACCEPT\n", denyAll,
		"nmbd udp:0.0.0.0:137")
	want := address.Must("198.51.100.255/32", "255.255.255.255/32")
	if s := serviceFor(out, firewall.UDP, 137); s == nil || !s.Addresses.Equal(want) {
		t.Errorf("%+v", s)
	}
	out = importOn(
		t,
		spreadingWorld(),
		denyAll+"-A INPUT -d 198.51.100.11 -j DROP\n-A INPUT -p udp --dport 137 -j ACCEPT\n",
		denyAll,
		"nmbd udp:0.0.0.0:137",
	)
	want = want.Union(address.Must("198.51.100.10/32", "172.17.0.1/32"))
	if s := serviceFor(out, firewall.UDP, 137); s == nil || !s.Addresses.Equal(want) {
		t.Errorf("%+v", s)
	}
}

// Which groups programs have joined is up to the host, so that doubt takes nobody out who certainly
// gets in, where others get in or not.
func TestImportKeepsWhoCertainlyReachesGroups(t *testing.T) {
	lan, lan6 := address.Must("192.168.0.0/16"), address.Must("2001:db8:7::/48")
	group, group6 := netip.MustParseAddr("224.0.0.251"), netip.MustParseAddr("ff02::fb")
	const mac = "-m mac --mac-source 02:00:00:00:00:01 "
	for _, tt := range []struct {
		four, six string
		group     netip.Addr
		want      address.Set
		unknown   bool
	}{
		{"-A INPUT -d 224.0.0.251 -p udp --dport 5353 -j ACCEPT\n" +
			"-A INPUT -s 8.8.8.8 -p udp --sport 53 --dport 5060 -j ACCEPT\n-A INPUT -s 192.168.0.0/16 -j ACCEPT\n",
			"", group, lan, true},
		{"-A INPUT -d 224.0.0.251 -p udp --dport 5353 -j ACCEPT\n" +
			"-A INPUT -d 224.0.0.251 " + mac + "-j ACCEPT\n-A INPUT -s 192.168.0.0/16 -j ACCEPT\n",
			"", group, lan, true},
		{"-A INPUT -d 224.0.0.251 -p udp --dport 5353 -j ACCEPT\n-A INPUT -s 192.168.0.0/16 -j ACCEPT\n",
			"", group, lan, false},
		{"", "-A INPUT -d ff02::fb -p udp --dport 5353 -j ACCEPT\n" +
			"-A INPUT -s 2001:db8:9::9 -p udp --sport 53 --dport 5060 -j ACCEPT\n-A INPUT -s 2001:db8:7::/48 -j ACCEPT\n",
			group6, lan6, true},
		{"-A INPUT -d 224.0.0.251 -p udp --dport 5353 -j ACCEPT\n-A INPUT " + mac + "-j DROP\n-A INPUT -s 192.168.0.0/16 -j ACCEPT\n",
			"", group, address.Set{}, true}, // the group's doubt isn't the only one
	} {
		out := importOn(t, spreadingWorld(), denyAll+tt.four, denyAll+tt.six, "sip udp:[::]:5060")
		found := false
		for _, s := range out.Services {
			if s.Ports[0].Protocol == firewall.UDP && s.Ports[0].First <= 5060 && s.Ports[0].Last >= 5060 &&
				s.OnAddress(tt.group) {
				found = true
				if !s.Sources.Equal(tt.want) || (len(s.Unknown) > 0) != tt.unknown {
					t.Errorf("%s%s: %v, %q", tt.four, tt.six, s.Sources.Strings(), s.Unknown)
				}
			}
		}
		if !found {
			t.Errorf("%s%s: no service: %+v", tt.four, tt.six, out.Services)
		}
	}
}
