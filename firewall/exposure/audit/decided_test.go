package audit

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

const (
	natHead  = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n"
	accepts  = "*filter\n:INPUT DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT\nCOMMIT\n"
	balances = natHead + "-A PREROUTING -p tcp --dport 8080 -m statistic --mode random --probability 0.5 -j DNAT --to-destination 172.17.0.2:80\n" +
		"-A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.3:80\nCOMMIT\n"
)

// What decided is named: the rule that lets packets in, or what loses the answers, and no rule that
// changes nothing.
func TestExplainNamesWhatDecided(t *testing.T) {
	for name, c := range map[string]struct {
		rules   string
		port    uint16
		noRoute bool
		reason  Reason
		by      string
		targets []string // "address: what decided"
		step    string   // the effect of one of the steps
	}{
		"a rule lets in": {rules: accepts, port: 80, reason: Connects, by: "chain INPUT, rules.v4:4"},
		"the policy lets in": {
			rules: "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", port: 80, reason: Connects, by: "INPUT",
		},
		"nothing but policies that decide nothing": {
			rules: natHead + "COMMIT\n*raw\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n", port: 80, reason: Connects,
			by: exposure.NoRule,
		},
		"a policy behind the one that lets in": {
			rules: "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n" + natHead +
				"-A PREROUTING -p udp -j DNAT --to-destination 172.17.0.9\nCOMMIT\n*mangle\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n",
			port: 80, reason: Connects, by: exposure.NoRule,
		},
		"an empty chain behind": {
			rules: "*security\n:INPUT ACCEPT [0:0]\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s 10.0.0.0/8 -j DROP\nCOMMIT\n",
			port:  80, reason: Connects, by: "filter chain INPUT: policy accept",
		},
		"no way back": {rules: accepts, port: 80, noRoute: true, reason: ReplyLost, by: "no route to 8.8.8.8"},
		"OUTPUT drops": {
			rules: "*filter\n:INPUT ACCEPT [0:0]\n:OUTPUT DROP [0:0]\nCOMMIT\n", port: 80, reason: ReplyLost,
			by: "chain OUTPUT: policy drop", step: "policy drop",
		},
		"one of two targets loses answers": {
			rules: balances + "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -d 172.17.0.2 -j ACCEPT\n-A FORWARD -s 172.17.0.2 -j ACCEPT\n" +
				"-A FORWARD -d 172.17.0.3 -j ACCEPT\n-A FORWARD -s 172.17.0.3 -j DROP\nCOMMIT\n",
			port: 8080, reason: ReplyLost, by: "-s 172.17.0.3 -j DROP", step: "match: drop",
			targets: []string{"172.17.0.2:80: -d 172.17.0.2 -j ACCEPT", "172.17.0.3:80: -s 172.17.0.3 -j DROP"},
		},
		"both targets fail": {
			rules: natHead + "-A PREROUTING -p tcp --dport 8080 -m statistic --mode random --probability 0.5 -j REDIRECT --to-ports 81\n" +
				"-A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.3:80\nCOMMIT\n" +
				"*filter\n:FORWARD DROP [0:0]\nCOMMIT\n",
			port: 8080, reason: DroppedHere, by: "chain FORWARD", step: "nothing listens on 198.51.100.10:81",
			targets: []string{"198.51.100.10:81: REDIRECT", "172.17.0.3:80: chain FORWARD"},
		},
		"one of two ports has no listener": {
			rules: natHead + "-A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 80-81\nCOMMIT\n",
			port:  8080, reason: NothingListens, by: "REDIRECT", step: "nothing listens on 198.51.100.10:81",
			targets: []string{"198.51.100.10:80: REDIRECT", "198.51.100.10:81: REDIRECT"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := world()
			if c.noRoute {
				h.Routes = slices.DeleteFunc(
					h.Routes,
					func(r exposure.Route) bool { return r.Dest.Bits() == 0 },
				)
			}
			x, err := Explain(
				Input{
					Rules:   rules(t, c.rules),
					Host:    h,
					Now:     time.Now(),
					Sockets: listening("web 0.0.0.0:80"),
				},
				Packet{
					From: netip.MustParseAddr(
						"8.8.8.8",
					), Destination: netip.MustParseAddr("198.51.100.10"),
					Port: c.port, Protocol: firewall.TCP, Interface: "eth0",
				},
			)
			if err != nil {
				t.Fatal(err)
			}
			if got := Words(x.DecidedBy); x.Reason != c.reason || !strings.Contains(got, c.by) {
				t.Errorf("%s, decided by %q: %s", x.Reason, got, x.Summary)
			}
			for i, want := range c.targets {
				address, by, _ := strings.Cut(want, ": ")
				if i >= len(x.Targets) || x.Targets[i].Address != address ||
					!strings.Contains(Words(x.Targets[i].DecidedBy), by) {
					t.Errorf("want %q among %+v", want, x.Targets)
				}
			}
			if c.step != "" &&
				!slices.ContainsFunc(
					x.Steps,
					func(s exposure.Step) bool { return s.Effect == c.step },
				) {
				t.Errorf("no step says %q: %+v", c.step, x.Steps)
			}
		})
	}
}

// What blocks an opened port is named, and no rule that lets it in.
func TestBlockedElsewhereNamesWhatBlocks(t *testing.T) {
	for rule, want := range map[string]string{
		"-A OUTPUT ! -d 10.0.0.0/8 -j DROP\n": "something else stops: answers are lost: ip filter chain OUTPUT, rules.v4:5: -A OUTPUT ! -d 10.0.0.0/8 -j DROP",
		"-A INPUT ! -s 10.0.0.0/8 -j DROP\n":  "something else stops: ip filter chain INPUT, rules.v4:5: -A INPUT ! -s 10.0.0.0/8 -j DROP",
	} {
		r, err := Run(context.Background(), Input{
			Rules: rules(
				t,
				"*filter\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A INPUT -s 10.0.0.0/8 -p tcp --dport 80 -j ACCEPT\n"+
					rule+"COMMIT\n",
			),
			Host: world(), Now: time.Now(), Sockets: listening("web 0.0.0.0:80"),
			Policy: state(t, "services: [{name: web, port: 80, allow: [any]}]"),
		})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range r.Findings {
			if f.Kind == BlockedElsewhere {
				got = append(got, f.Detail)
			}
		}
		if len(got) == 0 || !strings.HasSuffix(got[0], want) {
			t.Errorf("%s: %q", rule, got)
		}
	}
}

// A sentence names a few of many rules; the others are in the JSON.
func TestSentencesNameAFew(t *testing.T) {
	var b strings.Builder
	b.WriteString("*filter\n:INPUT ACCEPT [0:0]\n")
	for n := range 10 {
		b.WriteString(
			"-A INPUT -p tcp --dport 80 -m mac --mac-source 02:00:00:00:00:0" + string(
				rune('0'+n),
			) + " -j DROP\n",
		)
	}
	b.WriteString("COMMIT\n")
	in := Input{
		Rules: rules(
			t,
			b.String(),
		), Host: world(), Now: time.Now(), Sockets: listening("web 0.0.0.0:80"),
	}
	x, err := Explain(in, Packet{
		From: netip.MustParseAddr("8.8.8.8"), Destination: netip.MustParseAddr("198.51.100.10"),
		Port: 80, Protocol: firewall.TCP, Interface: "eth0",
	})
	if err != nil {
		t.Fatal(err)
	}
	said := []string{x.Summary}
	r, err := Run(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		if f.Kind == Undecided {
			said = append(said, f.Detail)
		}
	}
	if len(said) < 2 || len(x.Unknowns) != 10 {
		t.Errorf("%d unknown: %q", len(x.Unknowns), said)
	}
	for _, s := range said {
		if strings.Count(s, "--mac-source") != maxListed || !strings.HasSuffix(s, "; and 6 more") {
			t.Error(s)
		}
	}
}

// The summary says what a newcomer has to know of the packet.
func TestSummaries(t *testing.T) {
	const drops = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n"
	const nd, refused = "-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 135 -j ACCEPT\n-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 136 -j ACCEPT\n",
		"refuses neighbour discovery (nd-neighbor-"
	for name, c := range map[string]struct {
		rules           string
		from, to        string
		iface           string
		says, doesntSay string
	}{
		"another machine's address": {drops + "COMMIT\n", "8.8.8.8", "198.51.100.77", "eth0",
			"chain FORWARD: policy drop; 198.51.100.77 is no address of this host", ""},
		"the host's address": {drops + "COMMIT\n", "8.8.8.8", "198.51.100.10", "eth0", "chain INPUT: policy drop", "no address"},
		"a source that can't be": {drops + "COMMIT\n", "224.0.0.1", "198.51.100.10", "eth0",
			"stopped by the kernel's routing: martian source", ""},
		"a route elsewhere":    {"", "8.8.8.8", "172.17.0.1", "br0", "rp_filter: no route back through br0; set rp_filter to 2 there", ""},
		"from the host itself": {"", "198.51.100.10", "198.51.100.10", "lo", "web (process 100) listens", "upstream"},
		"no rule":              {"", "8.8.8.8", "198.51.100.10", "eth0", "listens, as no rule stops it; if it still can't connect", ""},
		"IPv6 without neighbour discovery": {drops + "-A INPUT -p tcp --dport 80 -j ACCEPT\nCOMMIT\n",
			"2001:db8:5::1", "2001:db8::10", "eth0", refused, ""},
		"IPv6 with half of it": {drops + "-A INPUT -p tcp --dport 80 -j ACCEPT\n" + nd[:len(nd)/2] + "COMMIT\n",
			"2001:db8:5::1", "2001:db8::10", "eth0", refused, ""},
		"IPv6 with it": {drops + "-A INPUT -p tcp --dport 80 -j ACCEPT\n" + nd + "COMMIT\n",
			"2001:db8:5::1", "2001:db8::10", "eth0", "listens", "neighbour discovery"},
	} {
		t.Run(name, func(t *testing.T) {
			from := netip.MustParseAddr(c.from)
			rs := rules(t, c.rules)
			if from.Is6() {
				rs = rules6(t, c.rules)
			}
			h := world()
			h.Interface("br0").Sysctls.RPFilter = 1
			x, err := Explain(
				Input{Rules: rs, Host: h, Now: time.Now(), Sockets: listening("web [::]:80")},
				Packet{
					From:        from,
					Destination: netip.MustParseAddr(c.to),
					Port:        80,
					Protocol:    firewall.TCP,
					Interface:   c.iface,
				},
			)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(x.Summary, c.says) ||
				c.doesntSay != "" && strings.Contains(x.Summary, c.doesntSay) {
				t.Error(x.Summary)
			}
		})
	}
}

// A rule that only logs or counts makes no ways to tell apart, whether or not it matches.
func TestExplainTellsLoggingOnce(t *testing.T) {
	log := "-A INPUT -m limit --limit 5/min -j LOG\n"
	x, err := Explain(
		Input{
			Rules: rules(t, "*filter\n:INPUT DROP [0:0]\n"+strings.Repeat(log, 9)+"COMMIT\n"),
			Host:  world(), Now: time.Now(), Sockets: listening("web 0.0.0.0:80"),
		},
		Packet{
			From: netip.MustParseAddr("8.8.8.8"), Destination: netip.MustParseAddr("198.51.100.10"),
			Port: 80, Protocol: firewall.TCP, Interface: "eth0",
		})
	if err != nil {
		t.Fatal(err)
	}
	if len(x.Steps) != 11 ||
		slices.ContainsFunc(x.Steps, func(s exposure.Step) bool { return s.Way > 0 }) {
		t.Errorf("%d steps: %+v", len(x.Steps), x.Steps)
	}
}

// Where every answer is lost, what loses them decides, and not that some sources can't be.
func TestLostAnswersDecide(t *testing.T) {
	r, err := Run(context.Background(), Input{
		Rules: rules(t, "*filter\n:INPUT ACCEPT [0:0]\n:OUTPUT DROP [0:0]\nCOMMIT\n"),
		Host:  world(), Now: time.Now(), Sockets: listening("web 0.0.0.0:80"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range r.Exposures {
		if want := []string{"answers are lost: ip filter chain OUTPUT: policy drop"}; x.Interface == "eth0" &&
			!slices.Equal(x.DecidedBy, want) {
			t.Errorf("decided by %q", x.DecidedBy)
		}
	}
}
