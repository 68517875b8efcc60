package audit

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/sockets"
	"github.com/portgrave/portgrave/firewall/exposure/xtables"
	"github.com/portgrave/portgrave/firewall/process"
	"github.com/portgrave/portgrave/policy"
)

// A host with an interface to the world, one to containers, and the rules of a test.
func world() *exposure.Host {
	p := netip.MustParsePrefix
	h := &exposure.Host{IPForward: true, Interfaces: []exposure.Interface{
		{
			Name:      "lo",
			Index:     1,
			Up:        true,
			Loopback:  true,
			Addresses: []netip.Prefix{p("127.0.0.1/8"), p("::1/128")},
		},
		{
			Name:      "eth0",
			Index:     2,
			Up:        true,
			Ethernet:  true,
			Addresses: []netip.Prefix{p("198.51.100.10/24"), p("2001:db8::10/64")},
		},
		{
			Name:      "br0",
			Index:     3,
			Up:        true,
			Ethernet:  true,
			Kind:      "bridge",
			Addresses: []netip.Prefix{p("172.17.0.1/16")},
		},
		{Name: "veth1", Index: 4, Up: true, Ethernet: true, Kind: "veth", Master: 3},
		{Name: "down0", Index: 5},
	}}
	for i := range h.Interfaces {
		h.Interfaces[i].Sysctls.Forwarding4 = true
	}
	local := func(a string, i int) exposure.Route {
		return exposure.Route{
			Table:    255,
			Type:     exposure.RouteLocal,
			Dest:     p(a),
			NextHops: []exposure.NextHop{{Index: i}},
		}
	}
	unicast := func(a string, i int) exposure.Route {
		return exposure.Route{
			Table:    254,
			Type:     exposure.RouteUnicast,
			Dest:     p(a),
			NextHops: []exposure.NextHop{{Index: i}},
		}
	}
	h.Routes = []exposure.Route{
		local("127.0.0.0/8", 1),
		local("::1/128", 1),
		local("198.51.100.10/32", 2),
		local("2001:db8::10/128", 2),
		local("172.17.0.1/32", 3),
		unicast(
			"0.0.0.0/0",
			2,
		),
		unicast("198.51.100.0/24", 2),
		unicast("172.17.0.0/16", 3),
		unicast("::/0", 2),
		unicast("2001:db8::/64", 2),
		unicast("fe80::/64", 2),
		unicast("fe80::/64", 3),
	}
	return h
}

func rules(t *testing.T, save4 string) *exposure.Ruleset {
	t.Helper()
	return savedRules(t, "rules.v4", exposure.FamilyIPv4, save4)
}

func rules6(t *testing.T, save6 string) *exposure.Ruleset {
	t.Helper()
	return savedRules(t, "rules.v6", exposure.FamilyIPv6, save6)
}

func savedRules(t *testing.T, name string, f exposure.Family, save string) *exposure.Ruleset {
	t.Helper()
	rs := &exposure.Ruleset{}
	if err := xtables.ReadSave(name, f, strings.NewReader(save), xtables.NewSets(), rs); err != nil {
		t.Fatal(err)
	}
	rs.MarkDynamic()
	return rs
}

func listening(list ...string) sockets.Snapshot {
	here := sockets.Namespace{Inode: 1, Current: true, Host: true}
	var s sockets.Snapshot
	for n, words := range list {
		// "nginx 0.0.0.0:80", "dnsmasq udp:[::]:53", or with its number "python3#7 0.0.0.0:9001".
		f := strings.Fields(words)
		name, number, _ := strings.Cut(f[0], "#")
		pid := 100 + n
		if x, err := strconv.Atoi(number); err == nil {
			pid = x
		}
		proto, at := firewall.TCP, f[1]
		if rest, ok := strings.CutPrefix(at, "udp:"); ok {
			proto, at = firewall.UDP, rest
		}
		ap := netip.MustParseAddrPort(at)
		s.Listeners = append(
			s.Listeners,
			sockets.Listener{
				Namespace: here,
				Protocol:  proto,
				Address:   ap.Addr(),
				Port:      ap.Port(),
				Sockets:   1,
				Owners: []sockets.Owner{
					{Process: process.Process{PID: pid, Name: name}, PIDs: []int{pid}},
				},
			},
		)
	}
	return s
}

func state(t *testing.T, document string) *firewall.State {
	t.Helper()
	p, err := policy.Parse("policy.yaml", []byte("version: 1\n"+document))
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Compile(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &c.State
}

// summaryOf is a report in short form: "tcp/80 eth0 nginx 0.0.0.0/0 ok".
func summaryOf(r Report) (rows, findings []string) {
	for _, x := range r.Exposures {
		s := fmt.Sprintf(
			"%s/%d %s %s %s",
			x.Protocol,
			x.Port,
			x.Interface,
			x.Process,
			strings.Join(x.Reachable.Possible.Strings(), ","),
		)
		if !x.Reachable.Certain.Equal(x.Reachable.Possible) {
			s += " certain " + strings.Join(x.Reachable.Certain.Strings(), ",")
		}
		if x.Target != "" {
			s += " → " + x.Target
		}
		rows = append(rows, s+" "+string(x.Finding))
	}
	for _, f := range r.Findings {
		findings = append(
			findings,
			strings.TrimSpace(
				fmt.Sprintf(
					"%s %s/%d %s %s",
					f.Kind,
					f.Protocol,
					f.Port,
					f.Interface,
					strings.Join(f.Sources.Strings(), ","),
				),
			),
		)
	}
	return rows, findings
}

const (
	closed = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n-A INPUT -p tcp --dport 22 -s 203.0.113.0/24 -j ACCEPT\n"
	docker = "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -o br0 -d 172.17.0.2/32 -p tcp --dport 80 -j ACCEPT\nCOMMIT\n*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n" +
		"-A DOCKER ! -i br0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80\nCOMMIT\n"
)

func TestAudit(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		rules, policy  string
		sockets        []string
		rows, findings []string
	}{
		"a closed firewall, and what it lets through": {
			rules: closed + "COMMIT\n", policy: "services: [{name: ssh, port: 22, allow: [203.0.113.0/24]}]", sockets: []string{"sshd 0.0.0.0:22", "db 0.0.0.0:5432", "local 127.0.0.1:6379"},
			rows: []string{"tcp/22 eth0 sshd 203.0.113.0/24 ok", "tcp/22 br0 sshd 203.0.113.0/24 ok", "tcp/5432 eth0 db  ok", "tcp/5432 br0 db  ok", "tcp/6379 eth0 local  ok", "tcp/6379 br0 local  ok"},
		},
		"no firewall": {
			sockets:  []string{"db 0.0.0.0:5432", "web [::]:80"},
			rows:     []string{"tcp/80 eth0 web 0.0.0.0/0,::/0 undeclared", "tcp/80 br0 web 0.0.0.0/0,::/0 undeclared", "tcp/5432 eth0 db 0.0.0.0/0 undeclared", "tcp/5432 br0 db 0.0.0.0/0 undeclared"},
			findings: []string{"undeclared tcp/80 eth0 0.0.0.0/0,::/0", "undeclared tcp/80 br0 0.0.0.0/0,::/0", "undeclared tcp/5432 eth0 0.0.0.0/0", "undeclared tcp/5432 br0 0.0.0.0/0"},
		},
		"wider than the policy, on one interface": {
			policy: "services: [{name: ssh, port: 22, interfaces: [br0], allow: [0.0.0.0/0]}]", sockets: []string{"sshd 198.51.100.10:22"},
			rows:     []string{"tcp/22 eth0 sshd 0.0.0.0/0 wider-than-policy", "tcp/22 br0 sshd 0.0.0.0/0 ok"},
			findings: []string{"wider-than-policy tcp/22 eth0 0.0.0.0/0"},
		},
		"blocked elsewhere": {
			rules: closed + "COMMIT\n", policy: "services: [{name: ssh, port: 22, interfaces: [eth0], allow: [203.0.113.0/24, 192.0.2.0/24]}]", sockets: []string{"sshd 198.51.100.10:22"},
			rows:     []string{"tcp/22 eth0 sshd 203.0.113.0/24 blocked-elsewhere", "tcp/22 br0 sshd 203.0.113.0/24 wider-than-policy"},
			findings: []string{"wider-than-policy tcp/22 br0 203.0.113.0/24", "blocked-elsewhere tcp/22 eth0 192.0.2.0/24"},
		},
		"published past the host's firewall": {
			rules: closed + docker, policy: "services: []",
			rows:     []string{"tcp/80 eth0  0.0.0.0/0 bypass", "tcp/8080 eth0  0.0.0.0/0 → 172.17.0.2:80 bypass"},
			findings: []string{"bypass tcp/80 eth0 0.0.0.0/0", "bypass tcp/8080 eth0 0.0.0.0/0"},
		},
		"a container's own address, past a port for a few": {
			rules:    "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING ! -i br0 -p tcp --dport 9090 -j DNAT --to-destination 172.17.0.2:80\nCOMMIT\n*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n-A FORWARD -m conntrack --ctstate DNAT ! -s 203.0.113.0/24 -j DROP\nCOMMIT\n",
			policy:   "services: [{name: metrics, port: 9090, allow: [203.0.113.0/24]}]",
			rows:     []string{"tcp/80 eth0  0.0.0.0/0 bypass", "tcp/9090 eth0  203.0.113.0/24 → 172.17.0.2:80 ok"},
			findings: []string{"bypass tcp/80 eth0 0.0.0.0/1"},
		},
		"a container's own address, published on this host alone": {
			rules:    "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 127.0.0.1 ! -i br0 -p tcp --dport 9090 -j DNAT --to-destination 172.17.0.2:80\nCOMMIT\n",
			policy:   "services: [{name: metrics, port: 9090, allow: [203.0.113.0/24]}]",
			rows:     []string{"tcp/80 eth0  0.0.0.0/0 bypass", "tcp/9090    not-listening"},
			findings: []string{"bypass tcp/80 eth0 0.0.0.0/1", "not-listening tcp/9090"},
		},
		"a virtual IP that only DNAT knows": {
			rules:    "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 10.96.0.1 -p tcp --dport 9090 -j DNAT --to-destination 198.51.100.10:6443\nCOMMIT\n",
			policy:   "services: [{name: metrics, port: 9090, allow: [203.0.113.0/24]}]",
			rows:     []string{"tcp/9090 eth0  0.0.0.0/0 → 198.51.100.10:6443 wider-than-policy", "tcp/9090 br0  0.0.0.0/0 → 198.51.100.10:6443 wider-than-policy"},
			findings: []string{"wider-than-policy tcp/9090 eth0 0.0.0.0/1", "wider-than-policy tcp/9090 br0 0.0.0.0/1"},
		},
		"published, with dockerd's own listener on the port": {
			rules: closed + docker, policy: "services: [{name: web, port: 8080, interfaces: [eth0], allow: [0.0.0.0/0]}]", sockets: []string{"docker-proxy 0.0.0.0:8080"},
			rows: []string{"tcp/8080 eth0 docker-proxy  ok", "tcp/8080 br0 docker-proxy  ok", "tcp/8080 eth0  0.0.0.0/0 → 172.17.0.2:80 ok"},
		},
		"published, as the policy says": {
			rules: closed + docker, policy: "services: [{name: web, port: 8080, allow: [0.0.0.0/0]}]", rows: []string{"tcp/8080 eth0  0.0.0.0/0 → 172.17.0.2:80 ok"},
		},
		"published to nobody on the host": {
			rules: strings.Replace(closed, ":FORWARD DROP", ":FORWARD ACCEPT", 1) + "COMMIT\n*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p udp --dport 53 -j REDIRECT --to-ports 5353\nCOMMIT\n", policy: "services: []",
			sockets:  []string{"dns udp:0.0.0.0:5353"},
			rows:     []string{"udp/5353 eth0 dns  ok", "udp/5353 br0 dns  ok"},
			findings: nil,
		},
		"a published range, in which one port is refused and another listed": {
			rules:  "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p tcp -m conntrack --ctorigdstport 3005 -j DROP\nCOMMIT\n*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -i eth0 -p tcp --dport 3000:3099 -j DNAT --to-destination 172.17.0.2:80\nCOMMIT\n",
			policy: "services: [{name: in, port: 3010, allow: [0.0.0.0/0]}]",
			rows: []string{"tcp/3000 eth0  0.0.0.0/0 → 172.17.0.2:80 undeclared", "tcp/3006 eth0  0.0.0.0/0 → 172.17.0.2:80 undeclared", "tcp/3010 eth0  0.0.0.0/0 → 172.17.0.2:80 ok",
				"tcp/3011 eth0  0.0.0.0/0 → 172.17.0.2:80 undeclared"},
			findings: []string{"undeclared tcp/3000 eth0 0.0.0.0/0", "undeclared tcp/3006 eth0 0.0.0.0/0", "undeclared tcp/3011 eth0 0.0.0.0/0"},
		},
		"redirected to a socket": {
			rules: "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -i eth0 -p udp --dport 53 -j REDIRECT --to-ports 5353\nCOMMIT\n", policy: "services: [{name: dns, port: 53, protocol: udp, allow: [any]}, {name: real, port: 5353, protocol: udp, allow: [any]}]",
			sockets: []string{"dns udp:198.51.100.10:5353"},
			rows:    []string{"udp/53 eth0 dns 0.0.0.0/0 → 198.51.100.10:5353 ok", "udp/5353 eth0 dns 0.0.0.0/0 ok", "udp/5353 br0 dns 0.0.0.0/0 ok"},
		},
		"what can't be known": {
			rules:  "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp --dport 22 -s 10.0.0.0/8 -j ACCEPT\n-A INPUT -p tcp --dport 22 -m recent --rcheck -j ACCEPT\nCOMMIT\n",
			policy: "services: [{name: ssh, port: 22, allow: [0.0.0.0/0]}]", sockets: []string{"sshd 198.51.100.10:22"},
			rows:     []string{"tcp/22 eth0 sshd 0.0.0.0/0 certain 10.0.0.0/8 undecided", "tcp/22 br0 sshd 0.0.0.0/0 certain 10.0.0.0/8 undecided"},
			findings: []string{"undecided tcp/22 eth0 0.0.0.0/5", "undecided tcp/22 br0 0.0.0.0/5"},
		},
		"nobody listens, bound wider, ended": {
			policy: "services:\n- {name: gone, port: 9100, allow: [10.0.0.0/8]}\n- {name: nobody, port: 9200, allow: []}\n- {name: shut, port: 22, addresses: [198.51.100.10], interfaces: [eth0, br0], allow: [0.0.0.0/0]}\n" +
				"- {name: ends, port: 81, allow: [{cidr: 192.0.2.0/24, expires: 2026-11-27, reason: x}, {cidr: 192.0.3.0/24, expires: 2026-11-01, reason: x}]}\n",
			sockets:  []string{"sshd 0.0.0.0:22", "ends 198.51.100.10:81"},
			rows:     []string{"tcp/22 eth0 sshd 0.0.0.0/0 bound-wider", "tcp/22 br0 sshd 0.0.0.0/0 bound-wider", "tcp/81 eth0 ends 0.0.0.0/0 wider-than-policy", "tcp/81 br0 ends 0.0.0.0/0 wider-than-policy", "tcp/9100    not-listening"},
			findings: []string{"wider-than-policy tcp/81 eth0 0.0.0.0/1", "wider-than-policy tcp/81 br0 0.0.0.0/1", "not-listening tcp/9100", "expired /0  192.0.3.0/24", "expiring /0  192.0.2.0/24", "bound-wider tcp/22"},
		},
		"everything else refused": {
			policy: "unlisted: deny", sockets: []string{"db 198.51.100.10:5432"},
			rows:     []string{"tcp/5432 eth0 db 0.0.0.0/0 wider-than-policy", "tcp/5432 br0 db 0.0.0.0/0 wider-than-policy"},
			findings: []string{"wider-than-policy tcp/5432 eth0 0.0.0.0/0", "wider-than-policy tcp/5432 br0 0.0.0.0/0"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{
				Rules:   rules(t, tt.rules),
				Host:    world(),
				Sockets: listening(tt.sockets...),
				Now:     now,
			}
			if tt.policy != "" {
				in.Policy = state(t, tt.policy)
			}
			r, err := Run(context.Background(), in)
			if err != nil {
				t.Fatal(err)
			}
			got, findings := summaryOf(r)
			if diff := cmp.Diff(tt.rows, got); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			// Only the first of a finding's sources is compared.
			for i, f := range findings {
				if n := strings.Index(f, ",1"); n > 0 && strings.Count(f, ",") > 2 {
					findings[i] = f[:strings.Index(f, ",")]
				}
			}
			if diff := cmp.Diff(tt.findings, findings); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

type fakeProber map[string]error

func (p fakeProber) TLS(_ context.Context, at netip.AddrPort) error { return p["tls "+at.String()] }
func (p fakeProber) Health(_ context.Context, at netip.AddrPort, path string, tls bool) error {
	return p[fmt.Sprintf("health %s%s %v", at, path, tls)]
}

func TestServicesAreProbedForTLSAndHealth(t *testing.T) {
	in := Input{
		Rules:   rules(t, ""),
		Host:    world(),
		Sockets: listening("web 0.0.0.0:443", "app 198.51.100.10:8080"),
		Now:     time.Now(),
		Policy: state(
			t,
			"services: [{name: web, port: 443, allow: [0.0.0.0/0]}, {name: app, port: 8080, allow: [0.0.0.0/0]}]",
		),
		Wants: map[string]Wants{"web": {TLS: true, Health: "/ok"}, "app": {Health: "/ok"}},
		Prober: fakeProber{
			"tls 127.0.0.1:443":                  errors.New("it speaks something else"),
			"health 198.51.100.10:8080/ok false": errors.New("it answers 500"),
		},
	}
	r, err := Run(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	rows, _ := summaryOf(r)
	want := []string{
		"tcp/443 eth0 web 0.0.0.0/0 no-tls",
		"tcp/443 br0 web 0.0.0.0/0 no-tls",
		"tcp/8080 eth0 app 0.0.0.0/0 unhealthy",
		"tcp/8080 br0 app 0.0.0.0/0 unhealthy",
	}
	if diff := cmp.Diff(want, rows); diff != "" || len(r.Findings) != 2 {
		t.Errorf("%s\n%+v", diff, r.Findings)
	}
}

func TestExplain(t *testing.T) {
	in := Input{
		Rules:   rules(t, closed+docker),
		Host:    world(),
		Sockets: listening("sshd 198.51.100.10:22", "local 127.0.0.1:8000"),
		Now:     time.Now(),
	}
	for name, tt := range map[string]struct {
		packet  Packet
		reason  Reason
		summary string
	}{
		"gets there":         {Packet{From: netip.MustParseAddr("203.0.113.7"), Port: 22, Protocol: firewall.TCP}, Connects, "sshd (process 100) listens"},
		"dropped":            {Packet{From: netip.MustParseAddr("8.8.8.8"), Port: 22, Protocol: firewall.TCP}, DroppedHere, "ip filter chain INPUT"},
		"published":          {Packet{From: netip.MustParseAddr("8.8.8.8"), Port: 8080, Protocol: firewall.TCP}, Connects, "172.17.0.2:80"},
		"published, not for": {Packet{From: netip.MustParseAddr("172.17.0.2"), Port: 8080, Protocol: firewall.TCP}, DroppedHere, "INPUT"},
		"another address":    {Packet{From: netip.MustParseAddr("203.0.113.7"), Destination: netip.MustParseAddr("172.17.0.1"), Port: 22, Protocol: firewall.TCP}, BoundElsewhere, "sshd (process 100) on 198.51.100.10"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Locate(in.Host, tt.packet)
			if err != nil {
				t.Fatal(err)
			}
			x, err := Explain(in, p)
			if err != nil || x.Reason != tt.reason || !strings.Contains(x.Summary, tt.summary) {
				t.Errorf("%s: %s, %v", x.Reason, x.Summary, err)
			}
			if len(x.Steps) == 0 {
				t.Error("no steps")
			}
		})
	}
	in.Sockets = sockets.Snapshot{}
	p, _ := Locate(
		in.Host,
		Packet{From: netip.MustParseAddr("203.0.113.7"), Port: 22, Protocol: firewall.TCP},
	)
	if x, err := Explain(in, p); err != nil || x.Reason != NothingListens {
		t.Errorf("%+v, %v", x, err)
	}
	for _, bad := range []Packet{{From: netip.MustParseAddr("10.0.0.1"), Interface: "nowhere"}, {From: netip.MustParseAddr("10.0.0.1"), Destination: netip.MustParseAddr("2001:db8::10")},
		{From: netip.MustParseAddr("fe80::1"), Interface: "br0"}} {
		if _, err := Locate(in.Host, bad); err == nil {
			t.Errorf("%+v was located", bad)
		}
	}
}

func TestPublishedPortsAreFound(t *testing.T) {
	rs := rules(
		t,
		"*nat\n:PREROUTING ACCEPT [0:0]\n:A - [0:0]\n:B - [0:0]\n:unused - [0:0]\n-A PREROUTING -p tcp -j A\n-A A -p tcp -m multiport --dports 80,443 -j B\n-A A -p tcp --dport 3000:3999 -j REDIRECT --to-ports 1\n"+
			"-A B -p tcp ! --dport 443 -j DNAT --to-destination 10.0.0.1\n-A unused -p tcp --dport 7 -j DNAT --to-destination 10.0.0.1\n-A PREROUTING -p udp --dport 53 -j DNAT --to-destination 10.0.0.1\nCOMMIT\n",
	)
	ports, cut := published(rs, nil)
	want := []portRange{{firewall.TCP, 80, 80}, {firewall.TCP, 3000, 3999}, {firewall.UDP, 53, 53}}
	if cut || !slices.Equal(ports, want) {
		t.Errorf("%v, %v", ports, cut)
	}
}

// A verdict map that isn't known in full may lead to any chain of its table.
func TestPublishedBehindAMapThatIsntKnown(t *testing.T) {
	for name, change := range map[string]func(*exposure.Set){
		"unknown": func(s *exposure.Set) { s.Unknown = "cut short" },
		"growing": func(s *exposure.Set) { s.Grows = true },
		"known":   func(*exposure.Set) {},
	} {
		rs := &exposure.Ruleset{}
		table := rs.AddTable(&exposure.Table{Family: exposure.FamilyIPv4, Name: "t"})
		pre := table.AddChain(&exposure.Chain{Name: "pre", Base: &exposure.Base{
			Type: exposure.TypeNAT, Hook: exposure.HookPrerouting, Policy: exposure.VerdictAccept,
		}})
		verdicts := &exposure.Set{Width: 1}
		change(verdicts)
		key := []exposure.Operand{exposure.Of(exposure.FieldDport)}
		pre.AddRule(&exposure.Rule{Statements: []exposure.Statement{
			exposure.VerdictMap{Key: key, In: verdicts},
		}})
		to := exposure.Const(exposure.Number(0x0a000001))
		table.AddChain(&exposure.Chain{Name: "web"}).AddRule(
			&exposure.Rule{Statements: []exposure.Statement{
				exposure.In(exposure.Of(exposure.FieldProtocol),
					exposure.One(exposure.Number(uint64(firewall.TCP)))),
				exposure.In(key[0], exposure.One(exposure.Number(80))),
				exposure.NAT{
					Kind: exposure.NATDestination, Family: exposure.FamilyIPv4, Addr: &to,
				},
			}})
		var want []portRange
		if name != "known" {
			want = []portRange{{firewall.TCP, 80, 80}}
		}
		if ports, cut := published(rs, nil); cut || !slices.Equal(ports, want) {
			t.Errorf("%s: %v, want %v", name, ports, want)
		}
	}
}

// A port may be published at some of the host's addresses. The row names them, and only they are
// compared with the policy.
func TestPublishedAtAnAddress(t *testing.T) {
	for rule, want := range map[string]string{
		"-p tcp --dport 8080":                             "* ok",
		"-d 198.51.100.10 -p tcp --dport 8080":            "198.51.100.10 ok",
		"-d 172.17.0.1 -p tcp --dport 8080":               "172.17.0.1 bypass",
		"! -d 203.0.113.0/24 -i eth0 -p tcp --dport 8080": "* ok",
	} {
		save := closed + strings.Replace(docker, "! -i br0 -p tcp --dport 8080", rule, 1)
		r, err := Run(
			context.Background(),
			Input{
				Rules: rules(t, save),
				Host:  world(),
				Policy: state(
					t,
					"services: [{name: web, port: 8080, addresses: [198.51.100.10], allow: [0.0.0.0/0]}]",
				),
				Now: time.Now(),
			},
		)
		if err != nil {
			t.Fatal(err)
		}
		n := slices.IndexFunc(r.Exposures, func(x Exposure) bool { return x.Interface == "eth0" })
		if n < 0 {
			t.Errorf("%s: %+v", rule, r)
			continue
		}
		if got := r.Exposures[n].Address + " " + string(r.Exposures[n].Finding); got != want {
			t.Errorf("%s: %s, want %s", rule, got, want)
		}
	}
}

// Where an unknown rule may change the destination, sources may reach the target's own address too.
func TestDirectTargetsBehindUnknownRules(t *testing.T) {
	for extra, want := range map[string]string{
		"":                           "certain critical",
		"-A FORWARD -j FROBNICATE\n": "possible warning",
	} {
		r, err := Run(context.Background(), Input{
			Rules: rules(
				t,
				"*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 198.51.100.10/32 -p tcp --dport 8080 -j DNAT "+
					"--to-destination 172.17.0.2:80\nCOMMIT\n*filter\n:FORWARD ACCEPT [0:0]\n"+extra+"COMMIT\n",
			),
			Host: world(), Now: time.Now(), Sockets: listening("web 198.51.100.10:80"),
		})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, x := range r.Exposures {
			switch {
			case !x.Direct || x.Address != "172.17.0.2" || x.Interface != "eth0":
			case x.Reachable.Certain.Len() == 0:
				got = "possible " + string(x.Severity)
			default:
				got = "certain " + string(x.Severity)
			}
		}
		if got != want {
			t.Errorf("%q: 172.17.0.2 is %q by eth0, want %q", extra, got, want)
		}
	}
}

// What the host sends to itself comes by loopback, unless --interface says otherwise.
func TestLocateFromTheHostItself(t *testing.T) {
	own := netip.MustParseAddr("198.51.100.10")
	p, err := Locate(world(), Packet{From: own, Port: 22, Protocol: firewall.TCP})
	if err != nil || p.Interface != "lo" || p.Destination != own {
		t.Errorf("%+v, %v", p, err)
	}
	p, err = Locate(world(), Packet{From: own, Port: 22, Protocol: firewall.TCP, Interface: "eth0"})
	if err != nil || p.Interface != "eth0" {
		t.Errorf("%+v, %v", p, err)
	}
}
