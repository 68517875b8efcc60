package audit

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// A source without an answer doesn't reach a TCP port, but its datagrams take effect.
func TestAnswersInRows(t *testing.T) {
	for rule, want := range map[string][]string{
		"-P OUTPUT DROP": {
			"tcp/80 eth0 web 10.0.0.0/8 undeclared", "udp/53 eth0 dns 0.0.0.0/0 certain 10.0.0.0/8 undeclared",
		},
		"ESTABLISHED": {"tcp/80 eth0 web 0.0.0.0/0 undeclared", "udp/53 eth0 dns 0.0.0.0/0 undeclared"},
		"limit": {
			"tcp/80 eth0 web 0.0.0.0/0 certain 10.0.0.0/8 undeclared", "udp/53 eth0 dns 0.0.0.0/0 certain 10.0.0.0/8 undeclared",
		},
	} {
		save := "*filter\n:OUTPUT DROP [0:0]\n-A OUTPUT -d 10.0.0.0/8 -j ACCEPT\n"
		switch rule {
		case "ESTABLISHED":
			save += "-A OUTPUT -m state --state RELATED,ESTABLISHED -j ACCEPT\n"
		case "limit":
			save += "-A OUTPUT -m limit --limit 5/sec -j ACCEPT\n"
		}
		r, err := Run(
			context.Background(),
			Input{Rules: rules(t, save+"COMMIT\n"), Host: world(), Now: time.Now(),
				Sockets: listening("web 198.51.100.10:80", "dns udp:198.51.100.10:53")},
		)
		if err != nil {
			t.Fatal(err)
		}
		rows, _ := summaryOf(r)
		rows = slices.DeleteFunc(rows, func(s string) bool { return !strings.Contains(s, "eth0") })
		for i, s := range rows {
			rows[i] = strings.ReplaceAll(s, "0.0.0.0/0,::/0", "0.0.0.0/0")
		}
		slices.Sort(rows)
		slices.Sort(want)
		if diff := cmp.Diff(want, rows); diff != "" {
			t.Errorf("%s: rows (-want +got):\n%s", rule, diff)
		}
		limited := 0
		for _, f := range r.Findings {
			if f.Kind == RateLimited {
				limited++
			}
			said := map[string]string{
				"-P OUTPUT DROP": "answers to some of them are lost: ip filter chain OUTPUT: policy drop",
				"limit":          "answers to some of them may be lost: ip filter chain OUTPUT, ",
			}[rule]
			if f.Protocol != "udp" || f.Kind != Undeclared {
				continue
			}
			if rule == "ESTABLISHED" && strings.Contains(f.Detail, "lost") ||
				!strings.Contains(f.Detail, said) {
				t.Errorf("%s: %s", rule, f.Detail)
			}
		}
		if (limited > 0) != (rule == "limit") {
			t.Errorf("%s: %d limited: %+v", rule, limited, r.Findings)
		}
	}
}

// A port that is published to several targets is one row that names each.
func TestSeveralTargetsInRows(t *testing.T) {
	r, err := Run(context.Background(), Input{
		Rules: rules(
			t,
			"*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 80-81\n"+
				"-A PREROUTING -p tcp --dport 3001 -m statistic --mode random --probability 0.5 -j DNAT --to-destination 172.17.0.2:80\n"+
				"-A PREROUTING -p tcp --dport 3001 -j DNAT --to-destination 172.17.0.3:80\nCOMMIT\n",
		),
		Host: world(), Now: time.Now(), Sockets: listening("web 198.51.100.10:80")})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, x := range r.Exposures {
		if x.Interface == "eth0" && x.Target != "" {
			got[x.Target] = strings.Join(x.DecidedBy, "; ")
		}
	}
	for target, says := range map[string]string{
		"198.51.100.10:80, 198.51.100.10:81": "nothing listens at 198.51.100.10:81, one of 2 targets",
		"172.17.0.2:80, 172.17.0.3:80":       "",
	} {
		if by, ok := got[target]; !ok || !strings.Contains(by, says) {
			t.Errorf("no row goes to %s: %v", target, got)
		}
	}
}

func TestExplainSeveralTargets(t *testing.T) {
	in := Input{
		Rules: rules(
			t,
			"*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp --dport 8080 -j REDIRECT --to-ports 80-81\n"+
				"-A PREROUTING -p tcp --dport 8081 -j DNAT --to-destination 172.17.0.2-172.17.0.3:80\n"+
				"-A PREROUTING -p tcp --dport 8083 -j DNAT --to-destination 172.17.0.4-172.17.0.5:80\n"+
				"-A PREROUTING -p tcp --dport 8082 -j DNAT --to-destination 172.17.0.2-172.17.9.3:80\nCOMMIT\n"+
				"*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -s 172.17.0.3 -j DROP\nCOMMIT\n",
		),
		Host: world(), Now: time.Now(), Sockets: listening("web 198.51.100.10:80")}
	for port, want := range map[uint16]struct {
		reason  Reason
		targets string
	}{
		8080: {NothingListens, "198.51.100.10:80 connects, 198.51.100.10:81 nothing-listens"},
		8081: {ReplyLost, "172.17.0.2:80 connects, 172.17.0.3:80 reply-lost"},
		8083: {Connects, "172.17.0.4:80 connects, 172.17.0.5:80 connects"},
		8082: {Unclear, "172.17.0.2-172.17.9.3:80 undecided"},
	} {
		p, err := Locate(
			in.Host,
			Packet{From: netip.MustParseAddr("8.8.8.8"), Port: port, Protocol: firewall.TCP},
		)
		if err != nil {
			t.Fatal(err)
		}
		x, err := Explain(in, p)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, target := range x.Targets {
			got = append(got, target.Address+" "+target.Reason)
			if target.Connects != (target.Reason == "connects") {
				t.Errorf("%+v", target)
			}
		}
		says := !x.Connects || strings.HasSuffix(
			x.Summary,
			"that isn't known: 172.17.0.4:80, 172.17.0.5:80; if it can't connect, look there",
		)
		if s := strings.Join(got, ", "); x.Reason != want.reason || !says ||
			x.Connects != (want.reason == Connects) || s != want.targets {
			t.Errorf("port %d: %s, connects %v, %s: %s", port, x.Reason, x.Connects, s, x.Summary)
		}
	}
}

// Without an interface given, packets come by the only one, even if no route leads back.
func TestLocateWithoutARoute(t *testing.T) {
	address := netip.MustParsePrefix("192.0.2.10/24")
	h := &exposure.Host{
		Interfaces: []exposure.Interface{
			{Name: "eth0", Index: 1, Up: true, Addresses: []netip.Prefix{address}},
		},
	}
	p, err := Locate(
		h,
		Packet{From: netip.MustParseAddr("8.8.8.8"), Port: 80, Protocol: firewall.TCP},
	)
	if err != nil || p.Interface != "eth0" || p.Destination != address.Addr() {
		t.Errorf("%+v, %v", p, err)
	}
}

// An answer that leaves by another interface than the packet came by is mentioned.
func TestExplainNamesOutgoingInterface(t *testing.T) {
	in := Input{
		Rules:   rules(t, ""),
		Host:    world(),
		Now:     time.Now(),
		Sockets: listening("web 0.0.0.0:80"),
	}
	p, err := Locate(in.Host, Packet{
		From: netip.MustParseAddr("8.8.8.8"), Destination: netip.MustParseAddr("172.17.0.1"),
		Port: 80, Protocol: firewall.TCP,
	})
	if err != nil {
		t.Fatal(err)
	}
	x, err := Explain(in, p)
	if err != nil || !x.Connects || x.Interface != "br0" ||
		!strings.Contains(x.Summary, "the answer leaves by eth0, though the packet comes by br0") {
		t.Errorf("%s by %s: %s, %v", x.Reason, x.Interface, x.Summary, err)
	}
}

// Without rules, no decider is named for a packet that is let in.
func TestExplainWithoutARule(t *testing.T) {
	in := Input{
		Rules:   rules(t, ""),
		Host:    world(),
		Now:     time.Now(),
		Sockets: listening("web 0.0.0.0:80"),
	}
	p, err := Locate(
		in.Host,
		Packet{From: netip.MustParseAddr("8.8.8.8"), Port: 80, Protocol: firewall.TCP},
	)
	if err != nil {
		t.Fatal(err)
	}
	if x, err := Explain(in, p); err != nil || !strings.Contains(x.Summary, "as no rule stops it") {
		t.Errorf("%s, %v", x.Summary, err)
	}
}
