package audit

import (
	"net/netip"
	"strings"
	"testing"
)

// Essentials let in all messages of neighbour discovery and multicast membership by all interfaces.
// The import names the messages that the rules refuse.
func TestImportNamesRefusedMessages(t *testing.T) {
	icmp := "-A INPUT -p ipv6-icmp -j ACCEPT\n"
	igmp := denyAll + "-A INPUT -p igmp -j ACCEPT\n"
	for _, tt := range []struct{ four, six, says string }{
		{igmp, denyAll + icmp, ""},
		{igmp, acceptAll, ""},
		{igmp, denyAll + "-A INPUT -s fe80::/10 " + icmp[9:], ""},
		{igmp, denyAll + "-A INPUT -p ipv6-icmp --icmpv6-type router-advertisement -j DROP\n" + icmp,
			"refuse nd-router-advert (134), and"},
		{igmp, denyAll + "-A INPUT -p ipv6-icmp --icmpv6-type redirect -j DROP\n" + icmp,
			"refuse nd-redirect (137), and"},
		{igmp, denyAll + "-A INPUT -p ipv6-icmp --icmpv6-type 135 -j ACCEPT\n" +
			"-A INPUT -p ipv6-icmp --icmpv6-type 136 -j ACCEPT\n",
			"refuse nd-router-solicit (133), nd-router-advert (134), nd-redirect (137), and"},
		{igmp, denyAll + "-A INPUT -i eth0 " + icmp[9:],
			"nd-neighbor-solicit (135) by br0"},
		{igmp, denyAll + "-A INPUT ! -s fe80::1 -p ipv6-icmp --icmpv6-type 134 -j DROP\n" + icmp,
			"refuse nd-router-advert (134) from some neighbours, and"},
		{igmp, denyAll + "-A INPUT -p ipv6-icmp --icmpv6-type 130 -j DROP\n" + icmp,
			"refuse mld-listener-query (130), and"},
		{denyAll + "-A INPUT -i eth0 -p igmp -j ACCEPT\n", denyAll + icmp, "refuse igmp by br0, and"},
		// said otherwise
		{denyAll, denyAll, ""},
		{denyAll, denyAll + icmp, ""},
	} {
		h := world()
		h.Interface("br0").Addresses = append(h.Interface("br0").Addresses,
			netip.MustParsePrefix("fe80::1:1/64"))
		out := importOn(t, h, tt.four, tt.six, "sshd 0.0.0.0:22")
		notes := strings.Join(out.Notes, "\n")
		if !strings.Contains(notes, tt.says) ||
			tt.says == "" && strings.Contains(notes, " only as a whole") {
			t.Errorf("%s%s%q", tt.four, tt.six, out.Notes)
		}
	}
}

// ICMP messages that rules name and the policy refuses are named.
func TestImportNamesOptionalMessages(t *testing.T) {
	for rules, says := range map[string]string{
		"":                             "",
		"-A INPUT -p icmp -j ACCEPT\n": "",
		"-A INPUT -p icmp --icmp-type 8 -j ACCEPT\n":                                                   "",
		"-A INPUT -p icmp --icmp-type 3 -j ACCEPT\n":                                                   "",
		"-A INPUT -p icmp --icmp-type 13 -j ACCEPT\n":                                                  "timestamp-request (13), and",
		"-A INPUT -p icmp --icmp-type 13 -j DROP\n":                                                    "",
		"-A INPUT -p icmp --icmp-type 13 -j DROP\n-A INPUT -p icmp -j ACCEPT\n":                        "",
		"-A INPUT -i br0 -p icmp --icmp-type 5 -j ACCEPT\n-A INPUT -p icmp --icmp-type 13 -j ACCEPT\n": "redirect (5), timestamp-request (13), and",
	} {
		notes := strings.Join(mustImport(t, denyAll+rules, denyAll, "sshd 0.0.0.0:22").Notes, "\n")
		if !strings.Contains(notes, says) ||
			says == "" && strings.Contains(notes, "ICMP messages") {
			t.Errorf("%s%q", rules, notes)
		}
	}
}
