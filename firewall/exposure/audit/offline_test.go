package audit

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/rulesetfile"
)

// rowsOf are a report's rows in short form: "tcp/22 * 0.0.0.0/0", with the lower bound if it
// differs.
func rowsOf(r Report) (out []string) {
	for _, x := range r.Exposures {
		port := fmt.Sprint(x.Port)
		if x.PortLast > 0 {
			port = fmt.Sprintf("%d-%d", x.Port, x.PortLast)
		}
		s := fmt.Sprintf("%s/%s %s %s", x.Protocol, port, x.Address,
			strings.Join(x.Reachable.Possible.Strings(), " "))
		if !x.Reachable.Certain.Equal(x.Reachable.Possible) {
			s += " certain " + strings.Join(x.Reachable.Certain.Strings(), " ")
		}
		if x.Target != "" {
			s += " → " + x.Target
		}
		out = append(out, strings.TrimSpace(s))
	}
	return out
}

func fromFile(t *testing.T, text string) *exposure.Ruleset {
	t.Helper()
	rs, err := rulesetfile.Load(rulesetfile.File{
		Name: "rules", Family: exposure.FamilyIPv4, Text: strings.NewReader(text),
	})
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

func testFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestOffline(t *testing.T) {
	file := func(name string) string { return testFile(t, name) }
	filter := func(rules ...string) string {
		return "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n" + strings.Join(
			rules,
			"\n",
		) + "\nCOMMIT\n"
	}
	everyone := []string{"tcp/1-21 *", "tcp/22 * 0.0.0.0/0", "tcp/23-65535 *"}
	for name, c := range map[string]struct {
		text    string
		ask     Offline
		want    []string
		assumed string // is among the assumptions
	}{
		"a loopback address from outside": {text: file("loopback-reject.v4"), want: everyone,
			assumed: "127.0.0.0/8"},
		"a loopback address, by an interface": {text: file("loopback-reject.v4"),
			ask: Offline{Interface: "eth0"}, want: everyone, assumed: "by eth0"},
		"by lo everything comes in": {text: file("loopback-reject.v4"), ask: Offline{Interface: "lo"},
			want: []string{"tcp/1-65535 * 0.0.0.0/0"}},
		"sources in 127/8": {
			text: filter("-A INPUT -s 127.0.0.0/8 -j ACCEPT", "-A INPUT -s 10.0.0.0/8 -p tcp --dport 22 -j ACCEPT"),
			want: []string{"tcp/1-21 *", "tcp/22 * 10.0.0.0/8", "tcp/23-65535 *"}},
		"a container's address": {text: file("raw-drop.v4"), want: everyone,
			assumed: "only rules before routing name 172.18.0.2"},
		"a container's address, by an interface": {text: file("raw-drop.v4"),
			ask: Offline{Interface: "eth0"}, want: everyone},
		"the container itself": {text: file("raw-drop.v4"),
			ask:  Offline{Interface: "eth0", Port: 22, To: netip.MustParseAddr("172.18.0.2")},
			want: []string{"tcp/22 172.18.0.2"}, assumed: "172.18.0.2 is an address of the host itself"},
		"rpfilter": {text: file("rpfilter.v4"), want: []string{"tcp/1-65535 * 0.0.0.0/0"},
			assumed: "rpfilter"},
		"answers by source port": {
			text: "*filter\n:INPUT ACCEPT [0:0]\n:OUTPUT DROP [0:0]\n-A OUTPUT -p tcp --sport 22 -j ACCEPT\nCOMMIT\n",
			want: everyone},
		"two addresses": {
			text: filter("-A INPUT -d 198.18.0.1/32 -p tcp --dport 22 -j ACCEPT",
				"-A INPUT -p tcp --dport 80 -j ACCEPT", "-A INPUT -d 198.18.0.0/24 -p tcp --dport 80 -j ACCEPT"),
			want: []string{"tcp/1-21 *", "tcp/22 *", "tcp/22 198.18.0.1 0.0.0.0/0", "tcp/23-79 *",
				"tcp/80 * 0.0.0.0/0", "tcp/81-65535 *"}},
		"an address asked for": {
			text: filter("-A INPUT -d 198.18.0.1/32 -p tcp --dport 22 -j ACCEPT"),
			ask:  Offline{Port: 22, To: netip.MustParseAddr("198.18.0.1")},
			want: []string{"tcp/22 198.18.0.1 0.0.0.0/0"}},
		"an address that is forwarded to": {
			text: "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n" +
				"-A FORWARD -d 172.17.0.2/32 -p tcp --dport 80 -j ACCEPT\nCOMMIT\n",
			ask:  Offline{Port: 80, To: netip.MustParseAddr("172.17.0.2")},
			want: []string{"tcp/80 172.17.0.2 0.0.0.0/0"}, assumed: "another machine"},
		"an address that postrouting names": {
			text: "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -d 198.18.0.1/32 -j RETURN\nCOMMIT\n" +
				filter("-A INPUT -s 10.0.0.0/8 -j ACCEPT"),
			ask:  Offline{Port: 1500, To: netip.MustParseAddr("198.18.0.1")},
			want: []string{"tcp/1500 198.18.0.1 10.0.0.0/8"}, assumed: "198.18.0.1 is an address of the host itself"},
		"an address that input names for another port": {
			text: filter("-A INPUT -d 198.18.0.1/32 -p tcp --dport 22 -j ACCEPT",
				"-A INPUT -s 10.0.0.0/9 -p tcp --dport 80 -j ACCEPT",
				"-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT",
				"-A FORWARD -d 198.18.0.1/32 -s 10.0.0.0/8 -p tcp --dport 80 -j ACCEPT"),
			ask:  Offline{Port: 80, To: netip.MustParseAddr("198.18.0.1")},
			want: []string{"tcp/80 198.18.0.1 10.0.0.0/8 certain 10.0.0.0/9"}, assumed: "or of another machine isn't known"},
		"an address whose answers output names": {
			text: filter("-A INPUT -s 10.0.0.0/8 -j ACCEPT", "-A OUTPUT -s 198.18.0.1/32 -d 192.0.2.0/24 -j ACCEPT"),
			ask:  Offline{Port: 80, To: netip.MustParseAddr("198.18.0.1")},
			want: []string{"tcp/80 198.18.0.1 10.0.0.0/8"}, assumed: "198.18.0.1 is an address of the host itself"},
		"a virtual address": {
			text: "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 10.96.0.1/32 -p tcp --dport 443 -j DNAT --to-destination 10.0.0.9:6443\nCOMMIT\n" +
				"*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\nCOMMIT\n",
			ask:  Offline{Port: 443, Protocol: firewall.TCP},
			want: []string{"tcp/443 *", "tcp/443 10.96.0.1 0.0.0.0/0 certain  → 10.0.0.9:6443"}},
		"source ports of clients": {text: file("orders-and-marks.nft"),
			want: []string{"tcp/1-65535 * 0.0.0.0/0 ::/0 certain 0.0.0.0/3 32.0.0.0/4 48.0.0.0/5 " +
				"56.0.0.0/6 60.0.0.0/7 64.0.0.0/2 128.0.0.0/1 ::/0"}},
		"source ports of clients, and a port": {text: file("orders-and-marks-2.nft"),
			want: []string{"tcp/1-8079 * 0.0.0.0/0 ::/0",
				"tcp/8080 * 0.0.0.0/0 ::/0 → 172.17.0.7:8080", "tcp/8081-65535 * 0.0.0.0/0 ::/0"}},
		"answers to some": {text: file("output-drop.v4"),
			want: []string{"tcp/1-65535 * 10.0.0.0/8"}},
		"one of two endpoints": {text: file("two-endpoints.nft"),
			want: []string{"tcp/1-3000 * 0.0.0.0/0 ::/0",
				"tcp/3001 * 0.0.0.0/0 ::/0 → 10.180.0.1:80, 10.180.0.2:80",
				"tcp/3002-65535 * 0.0.0.0/0 ::/0"}},
		"a range of ports": {text: file("redirect-range.nft"),
			want: []string{"tcp/1-8079 * 0.0.0.0/0 ::/0", "tcp/8080 * 0.0.0.0/0 ::/0",
				"tcp/8081-65535 * 0.0.0.0/0 ::/0"}},
		"a listing without the elements of sets": {
			text: "table inet f {\n\tset s {\n\t\ttype ipv4_addr\n\t}\n\tchain c {\n" +
				"\t\ttype filter hook input priority 0; policy accept;\n" +
				"\t\tip saddr @s drop\n\t}\n}\n",
			want:    []string{"tcp/1-65535 * 0.0.0.0/0 ::/0"},
			assumed: "no set in rules has an element (s): if it was taken with nft -t"},
		"a source port of answers that arrive": {
			text: "*nat\n:PREROUTING ACCEPT [0:0]\n" +
				"-A PREROUTING -p tcp --dport 8000:8010 -j DNAT --to-destination 10.0.0.9\nCOMMIT\n" +
				"*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n" +
				"-A FORWARD -p tcp --sport 8005 -j DROP\nCOMMIT\n",
			want: []string{"tcp/1-7999 *", "tcp/8000-8004 * 0.0.0.0/0 certain  → 10.0.0.9:8000",
				"tcp/8005 *  → 10.0.0.9:8005", "tcp/8006-8010 * 0.0.0.0/0 certain  → 10.0.0.9:8006",
				"tcp/8011-65535 *"}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.ask.Protocol == 0 {
				c.ask.Protocol = firewall.TCP
			}
			r := RunOffline(fromFile(t, c.text), c.ask, Input{Now: time.Now()})
			for _, f := range r.Findings {
				if f.Kind != Undecided {
					t.Errorf("without a policy: %s", f.Detail)
				}
			}
			if diff := cmp.Diff(c.want, rowsOf(r)); diff != "" {
				t.Error(diff)
			}
			if !strings.Contains(strings.Join(r.Assumed, "\n"), c.assumed) {
				t.Errorf("%q is not assumed: %q", c.assumed, r.Assumed)
			}
			for _, x := range r.Exposures {
				for _, d := range x.DecidedBy {
					if strings.Contains(d, "-i lo") && c.ask.Interface != "lo" {
						t.Errorf("%s decides nothing: %q", d, x.DecidedBy)
					}
				}
			}
		})
	}
}

// Without a protocol TCP and UDP are listed, and SCTP where a rule names it.
func TestOfflineProtocols(t *testing.T) {
	for rule, want := range map[string][]string{
		"-p udp --dport 53": {"tcp/1-65535 *", "udp/1-52 *", "udp/53 * 0.0.0.0/0", "udp/54-65535 *"},
		"-p sctp --dport 7": {"sctp/1-6 *", "sctp/7 * 0.0.0.0/0", "sctp/8-65535 *", "tcp/1-65535 *", "udp/1-65535 *"},
	} {
		r := RunOffline(
			fromFile(t, "*filter\n:INPUT DROP [0:0]\n-A INPUT "+rule+" -j ACCEPT\nCOMMIT\n"),
			Offline{}, Input{Now: time.Now()},
		)
		if diff := cmp.Diff(want, rowsOf(r)); diff != "" {
			t.Errorf("%s: %s", rule, diff)
		}
	}
}

// The audit ends for any number of ports and addresses that rules distinguish, and names what it
// omitted.
func TestOfflineIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("*filter\n:INPUT DROP [0:0]\n")
	for i := range 20_000 {
		fmt.Fprintf(&b, "-A INPUT -d 10.%d.%d.%d/32 -p tcp --dport %d -j ACCEPT\n",
			i>>16, i>>8&255, i&255, 1+i*3%60000)
	}
	for i := range 300 {
		fmt.Fprintf(&b, "-A INPUT -d 11.0.%d.%d/32 -p tcp --dport 7 -j ACCEPT\n", i>>8, i&255)
	}
	b.WriteString("COMMIT\n")
	r := RunOffline(fromFile(t, b.String()), Offline{}, Input{Now: time.Now()})
	if len(r.Unread) == 0 || len(r.Assumed) == 0 ||
		!strings.Contains(r.Unread[0], "ask with --port") {
		t.Errorf("%d rows, unread %q, assumed %q", len(r.Exposures), r.Unread, r.Assumed)
	}
}

// Rules for one IP version say nothing of an address of the other.
func TestOfflineOfTheOtherVersion(t *testing.T) {
	rs := fromFile(t, "*filter\n:INPUT DROP [0:0]\nCOMMIT\n")
	r := RunOffline(
		rs,
		Offline{Port: 22, To: netip.MustParseAddr("2001:db8::1")},
		Input{Now: time.Now()},
	)
	if r.Err() == nil || !strings.Contains(r.Err().Error(), "rules for ipv4 alone") {
		t.Errorf("%v, %+v", r.Err(), r.Exposures)
	}
}

// Ports beyond what an audit of a dump can ask about are a row of their own, and undecided.
func TestOfflineNamesPortsNotAsked(t *testing.T) {
	var b strings.Builder
	b.WriteString("*filter\n:INPUT DROP [0:0]\n")
	for port := 2; port < 30_000; port += 2 {
		fmt.Fprintf(&b, "-A INPUT -s 10.%d.%d.0/24 -p tcp --dport %d -j ACCEPT\n",
			port>>8&255, port&255, port)
	}
	b.WriteString("COMMIT\n")
	r := RunOffline(fromFile(t, b.String()), Offline{Protocol: firewall.TCP}, Input{Now: time.Now()})
	if err := r.Err(); err != nil || len(r.Exposures) == 0 {
		t.Fatal(err, len(r.Exposures))
	}
	last := r.Exposures[len(r.Exposures)-1]
	before := r.Exposures[len(r.Exposures)-2]
	if last.PortLast != 65535 || last.Port != before.Port+1 || last.Finding != Undecided ||
		last.Reachable.Certain.Len() > 0 || last.Reachable.Possible.Len() == 0 {
		t.Errorf("%+v", last)
	}
	if len(r.Findings) == 0 || len(r.Unread) == 0 {
		t.Errorf("findings %v, unread %v", r.Findings, r.Unread)
	}
}

// A list of bans makes dozens of networks from each gap. If that is too much for a report, it says
// so.
func TestOfflineNamesTooLongLists(t *testing.T) {
	var b strings.Builder
	b.WriteString("create bl hash:ip family inet hashsize 1024 maxelem 2000000\n")
	for i := range uint32(450_000) {
		x := 1<<24 + i*8191
		fmt.Fprintf(&b, "add bl %d.%d.%d.%d\n", x>>24, x>>16&255, x>>8&255, x&255)
	}
	b.WriteString(
		"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m set --match-set bl src -j DROP\nCOMMIT\n",
	)
	r := RunOffline(fromFile(t, b.String()), Offline{Port: 22}, Input{Now: time.Now()})
	if r.Err() == nil || !strings.Contains(r.Err().Error(), "more than 4000000 networks") {
		t.Errorf("%d rows, %v", len(r.Exposures), r.Err())
	}
}

// A rule of thousands of words isn't repeated in every row.
func TestWordsAreBounded(t *testing.T) {
	d := exposure.Decision{Rule: strings.Repeat("é", 100_000)}
	if n := len(Words(d)); n > 2*maxWords {
		t.Errorf("%d bytes", n)
	}
}
