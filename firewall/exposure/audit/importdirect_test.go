package audit

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// direct closes an interface to all forwarded packets, so the import writes it only where the rules
// refuse all of them. What input rules say doesn't matter.
func TestImportedDirect(t *testing.T) {
	const (
		input   = "-A INPUT -p tcp --dport 22 -j ACCEPT\n"
		replies = "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
		publish = "COMMIT\n*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -i eth0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80\n"
		partly  = "the rules let some new packets through to what is behind br0"
	)
	heads := map[string]string{
		"input drop":             "*filter\n:INPUT DROP [0:0]\n",
		"input accept":           "*filter\n:INPUT ACCEPT [0:0]\n",
		"input by source port":   "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp --sport 53 -j ACCEPT\n",
		"input accept, some not": "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp --dport 80 -j DROP\n-A INPUT -d 172.17.0.1 -p tcp --sport 7 -j DROP\n",
	}
	for _, tt := range []struct {
		name, forward string
		direct        []string
		says, never   string
	}{
		{"nothing is refused", ":FORWARD ACCEPT [0:0]\n", nil, "", "br0"},
		{"all is refused", ":FORWARD DROP [0:0]\n" + replies, []string{"br0"}, "", partly},
		{"a rule refuses all", ":FORWARD ACCEPT [0:0]\n" + replies + "-A FORWARD -o br0 -j REJECT\n", []string{"br0"}, "", partly},
		{"some ports are let through", ":FORWARD DROP [0:0]\n" + replies + "-A FORWARD -o br0 -p tcp -m multiport --dports 80,443 -j ACCEPT\n",
			nil, partly + " (by ip filter chain FORWARD, rules.v4:", "direct refuses"},
		{"a high port", ":FORWARD DROP [0:0]\n-A FORWARD -o br0 -p udp --dport 51820 -j ACCEPT\n", nil, partly, ""},
		{"one guest", ":FORWARD DROP [0:0]\n-A FORWARD -d 172.17.200.9 -j ACCEPT\n", nil, partly, ""},
		{"all but one guest", ":FORWARD ACCEPT [0:0]\n-A FORWARD -d 172.17.200.9 -j DROP\n", nil, partly, ""},
		{"some sources", ":FORWARD DROP [0:0]\n-A FORWARD -s 203.0.113.0/24 -j ACCEPT\n", nil, partly, ""},
		{"some sources, perhaps", ":FORWARD DROP [0:0]\n-A FORWARD -m string --string x --algo bm -j ACCEPT\n", nil, partly, ""},
		{"pings", ":FORWARD DROP [0:0]\n-A FORWARD -p icmp --icmp-type 8 -j ACCEPT\n", nil, partly, ""},
		{"a protocol without ports", ":FORWARD DROP [0:0]\n-A FORWARD -p esp -j ACCEPT\n", nil, partly, ""},
		{"what guests send out", ":FORWARD DROP [0:0]\n" + replies + "-A FORWARD -s 172.17.0.0/16 -j ACCEPT\n", []string{"br0"}, "", partly},
		{"what is published", ":FORWARD DROP [0:0]\n-A FORWARD -m conntrack --ctstate DNAT -j ACCEPT\n" + publish, []string{"br0"}, "", partly},
		{"the target of what is published", ":FORWARD DROP [0:0]\n-A FORWARD -d 172.17.0.2 -p tcp --dport 80 -j ACCEPT\n" + publish,
			[]string{"br0"}, "also to tcp 172.17.0.2:80", partly},
		{"more than what is published", ":FORWARD DROP [0:0]\n-A FORWARD -d 172.17.0.2 -p tcp --dport 80:81 -j ACCEPT\n" + publish,
			nil, partly, "direct refuses"},
	} {
		for head, text := range heads {
			out := mustImport(t, text+input+tt.forward, denyAll, "sshd 0.0.0.0:22")
			if diff := cmp.Diff(tt.direct, out.Direct); diff != "" {
				t.Errorf("%s, %s: direct (-want +got):\n%s", tt.name, head, diff)
			}
			notes := strings.Join(out.Notes, "\n")
			if !strings.Contains(notes, tt.says) ||
				tt.never != "" && strings.Contains(notes, tt.never) {
				t.Errorf("%s, %s: notes %q", tt.name, head, out.Notes)
			}
		}
	}
}

// Rules that tell too much apart to ask about all of it take seconds at most, write no direct, and
// are noted.
func TestImportedDirectIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(denyAll + ":FORWARD DROP [0:0]\n")
	for n := range 5000 {
		fmt.Fprintf(
			&b,
			"-A FORWARD -d 172.17.%d.%d -p tcp --dport %d -s 10.9.9.9 -j DROP\n",
			n>>8,
			n&255,
			1001+2*n,
		)
	}
	out := mustImport(t, b.String(), denyAll, "sshd 0.0.0.0:22")
	if len(out.Direct) > 0 ||
		!strings.Contains(
			strings.Join(out.Notes, "\n"),
			"tell too much apart to know what they do with packets to eth0, br0",
		) {
		t.Errorf("direct %q, notes %q", out.Direct, out.Notes)
	}
}
