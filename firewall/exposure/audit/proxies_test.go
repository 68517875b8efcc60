package audit

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
)

// A rule for a transparent proxy that nobody runs doesn't hold. nft goes on with the next rule, and
// x_tables drops.
func TestProxyWithoutAListener(t *testing.T) {
	const nft = "table ip t {\n\tchain p {\n\t\ttype filter hook prerouting priority mangle; policy accept;\n" +
		"\t\ttcp dport 80 tproxy to :81 accept\n\t}\n}\n"
	const save = "*mangle\n:PREROUTING ACCEPT [0:0]\n" +
		"-A PREROUTING -p tcp -m tcp --dport 80 -j TPROXY --on-port 81 --on-ip 0.0.0.0 --tproxy-mark 0x0/0x0\nCOMMIT\n"
	for _, c := range []struct {
		rules     string
		listeners []string
		reason    Reason
		certain   bool
	}{
		{nft, []string{"web 0.0.0.0:80"}, Connects, true},
		{nft, []string{"web 0.0.0.0:80", "proxy 0.0.0.0:81"}, Connects, false},
		{save, []string{"web 0.0.0.0:80"}, DroppedHere, false},
	} {
		in := Input{Rules: fromFile(t, c.rules), Host: world(), Sockets: listening(c.listeners...)}
		x, err := Explain(in, Packet{
			From: netip.MustParseAddr("8.8.8.8"), Destination: netip.MustParseAddr("198.51.100.10"),
			Port: 80, Protocol: firewall.TCP, Interface: "eth0",
		})
		if err != nil {
			t.Fatal(err)
		}
		if x.Reason != c.reason {
			t.Errorf("%s with %v: %s: %s", c.rules, c.listeners, x.Reason, x.Summary)
		}
		for _, row := range audited(t, in).Exposures {
			if row.Port == 80 && row.Interface == "eth0" && !strings.Contains(row.Address, ":") &&
				row.Reachable.Certain.Contains(netip.MustParseAddr("8.8.8.8")) != c.certain {
				t.Errorf("%s with %v: certain %v", c.rules, c.listeners, row.Reachable.Certain)
			}
		}
	}
}
