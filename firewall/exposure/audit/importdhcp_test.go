package audit

import (
	"strings"
	"testing"
)

// The essential dhcp lets in every server's answers. The import says where the rules are narrower
// or wider.
func TestImportNotesDHCP(t *testing.T) {
	const (
		answers4 = "-A INPUT -p udp --sport 67 --dport 68 -j ACCEPT\n"
		answers6 = "-A INPUT -s fe80::/10 -d fe80::/10 -p udp --sport 547 --dport 546 -j ACCEPT\n"
		any4     = "-A INPUT -p udp --dport 68 -j ACCEPT\n"
		any6     = "-A INPUT -p udp --dport 546 -j ACCEPT\n"
		wider    = ", which this policy refuses"
	)
	for _, tt := range []struct {
		four, six string
		listener  string
		says      string
	}{
		{answers4, answers6, "", ""},
		{answers4, "-A INPUT -d fe80::/64 -p udp --dport 546 -j ACCEPT\n", "", ""},
		{"", "", "", ""},
		{any4, any6, "", ""}, // nobody listens
		{"-A INPUT -s 10.0.0.2 " + answers4[9:], answers6, "",
			"udp/68 by eth0 from 0.0.0.0/0 but "},
		{"-A INPUT -i br0 " + answers4[9:], answers6, "", "udp/68 by eth0 from "},
		{"", answers6, "", "udp/68 by eth0 from "},
		{answers4, "-A INPUT -s fe80::1 -p udp --dport 546 -j ACCEPT\n", "", "udp/546 by eth0 from "},
		{any4, answers6, "dhcp udp:0.0.0.0:68", "let in udp/68 from other source ports than 67" + wider},
		{answers4, any6, "dhcp udp:[::]:546",
			"let in udp/546 at other addresses than link-local ones" + wider},
		{answers4, any6, "dhcp udp:[fe80::10]:546", ""},
	} {
		listeners := []string{"sshd 0.0.0.0:22"}
		if tt.listener != "" {
			listeners = append(listeners, tt.listener)
		}
		out := importOn(t, withAddresses("fe80::10/64"),
			denyAll+tt.four, denyAll+tt.six, listeners...)
		notes := strings.Join(out.Notes, "\n")
		if !strings.Contains(notes, tt.says) || tt.says == "" && strings.Contains(notes, "dhcp:") {
			t.Errorf("%s%s%s", tt.four, tt.six, notes)
		}
	}
}
