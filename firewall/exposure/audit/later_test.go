package audit

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
)

// A connection whose later packets are dropped doesn't come about. Rules that accept established
// packets, or any, let them in.
func TestLaterPackets(t *testing.T) {
	const save = "*filter\n:INPUT DROP [0:0]\n"
	const nft = "table inet f {\n\tchain i {\n\t\ttype filter hook input priority filter; policy drop;\n"
	const newSSH = "-A INPUT -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -j ACCEPT\nCOMMIT\n"
	for _, c := range []struct {
		rules    string
		connects bool
	}{
		{save + newSSH, false},
		{save + "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n" + newSSH, true},
		{save + "-A INPUT -m state --state NEW,ESTABLISHED -j ACCEPT\nCOMMIT\n", true},
		{save + "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n", true},
		{save + "-A INPUT -p tcp -m tcp --dport 22 --syn -j ACCEPT\nCOMMIT\n", false},
		{save + "-A INPUT -p tcp -m tcp --dport 22 -m limit --limit 5/sec -j ACCEPT\nCOMMIT\n", true},
		{nft + "\t\tct state new tcp dport 22 accept\n\t}\n}\n", false},
		{nft + "\t\tct state vmap { established : accept, related : accept }\n" +
			"\t\tct state new tcp dport 22 accept\n\t}\n}\n", true},
		{nft + "\t\tct state established,related accept\n\t\ttcp dport 22 accept\n\t}\n}\n", true},
		{nft + "\t\tct state established drop\n\t\ttcp dport 22 accept\n\t}\n}\n", false},
	} {
		in := Input{
			Rules: fromFile(t, c.rules), Host: world(), Sockets: listening("sshd 0.0.0.0:22"),
		}
		x, err := Explain(in, Packet{
			From: netip.MustParseAddr("8.8.8.8"), Destination: netip.MustParseAddr("198.51.100.10"),
			Port: 22, Protocol: firewall.TCP, Interface: "eth0",
		})
		if err != nil {
			t.Fatal(err)
		}
		limited := strings.Contains(c.rules, "limit")
		if x.Connects != c.connects && !limited ||
			(x.Reason == ReplyLost) == c.connects ||
			!c.connects && !strings.Contains(x.Summary, "let established connections in") {
			t.Errorf("%s: %s: %s", c.rules, x.Reason, x.Summary)
		}
		for _, row := range audited(t, in).Exposures {
			certain := row.Reachable.Certain.Contains(netip.MustParseAddr("8.8.8.8"))
			if row.Port == 22 && row.Interface == "eth0" && certain != c.connects && !limited {
				t.Errorf("%s: certain %v", c.rules, row.Reachable.Certain)
			}
		}
	}
}

// A finding about sources that possibly get in doesn't say that they do.
func TestFindingsSayMay(t *testing.T) {
	const save = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 22"
	for rule, want := range map[string]string{
		" -j ACCEPT\nCOMMIT\n":                           "is reachable, and no service",
		" -m limit --limit 5/sec -j ACCEPT\nCOMMIT\n":    "is reachable, and no service",
		" -m time --timestart 08:00 -j ACCEPT\nCOMMIT\n": "may be reachable, and no service",
	} {
		r := audited(t, Input{
			Rules: fromFile(
				t,
				save+rule,
			), Host: world(), Sockets: listening("sshd 198.51.100.10:22"),
		})
		for _, f := range r.Findings {
			if f.Kind == Undeclared && f.Interface == "eth0" && !strings.Contains(f.Detail, want) {
				t.Errorf("%q: %s", rule, f.Detail)
			}
		}
	}
}

// Whether a connection is translated is known where its first step translates it.
func TestStateOfTranslatedConnections(t *testing.T) {
	const save = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 2222 -j REDIRECT --to-ports 22\n" +
		"COMMIT\n*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -m conntrack ! --ctstate DNAT -j DROP\nCOMMIT\n"
	for port, want := range map[uint16]Reason{2222: Connects, 22: DroppedHere} {
		x, err := Explain(
			Input{Rules: fromFile(t, save), Host: world(), Sockets: listening("sshd 0.0.0.0:22")},
			Packet{
				From: netip.MustParseAddr(
					"8.8.8.8",
				), Destination: netip.MustParseAddr("198.51.100.10"),
				Port: port, Protocol: firewall.TCP, Interface: "eth0",
			})
		if err != nil || x.Reason != want {
			t.Errorf("port %d: %v: %s: %s", port, err, x.Reason, x.Summary)
		}
	}
}
