package audit

import (
	"strings"
	"testing"
)

// Rules that stop answers of UDP and of pings are named: the policy lets the questions in.
func TestImportNamesStoppedAnswers(t *testing.T) {
	const dns = denyAll + "-A INPUT -p udp --dport 53 -j ACCEPT\n-A INPUT -p tcp --dport 22 -j ACCEPT\n"
	const says = "stop the answers of udp/53 to 203.0.113.5/32"
	for _, tt := range []struct{ rules, says string }{
		{dns, ""},
		{dns + "-A OUTPUT -d 203.0.113.5 -j DROP\n", says},
		{dns + "-A OUTPUT -d 203.0.113.5 -p udp --sport 53 -j REJECT\n", says},
		{dns + "-A OUTPUT -d 203.0.113.5 -p udp --dport 53 -j DROP\n", ""}, // its own questions
		{dns + "-A OUTPUT -d 203.0.113.5 -p tcp -j DROP\n", ""},            // in except
		{dns + "-A OUTPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n" +
			"-A OUTPUT -d 203.0.113.5 -j DROP\n", ""},
		{acceptAll + "-A OUTPUT -d 203.0.113.5 -p udp -j DROP\n", says},
		{denyAll + "-A INPUT -p icmp -j ACCEPT\n-A OUTPUT -p icmp -d 203.0.113.5 -j DROP\n",
			"stop the answers of ping to 203.0.113.5/32"},
		{denyAll + "-A OUTPUT -d 203.0.113.5 -j DROP\n", ""}, // nothing gets in
	} {
		out := mustImport(t, tt.rules, denyAll, "sshd 0.0.0.0:22", "named udp:0.0.0.0:53")
		notes := strings.Join(out.Notes, "\n")
		if !strings.Contains(notes, tt.says) ||
			tt.says == "" && strings.Contains(notes, "stop the answers") {
			t.Errorf("%s%q", tt.rules, out.Notes)
		}
	}
}
