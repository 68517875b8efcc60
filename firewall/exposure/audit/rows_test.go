package audit

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/sockets"
)

// withAddresses is a host with more addresses on eth0.
func withAddresses(more ...string) *exposure.Host {
	h := world()
	for _, s := range more {
		p := netip.MustParsePrefix(s)
		h.Interfaces[1].Addresses = append(h.Interfaces[1].Addresses, p)
		h.Routes = append(h.Routes, exposure.Route{
			Table: 255, Type: exposure.RouteLocal, Dest: netip.PrefixFrom(p.Addr(), p.Addr().BitLen()),
			NextHops: []exposure.NextHop{{Index: 2}},
		})
	}
	return h
}

func audited(t *testing.T, in Input) Report {
	t.Helper()
	in.Now = time.Now()
	r, err := Run(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func onEth0(r Report) (out Report) {
	for _, x := range r.Exposures {
		if x.Interface == "eth0" {
			out.Exposures = append(out.Exposures, x)
		}
	}
	return out
}

func TestRowForEachAddress(t *testing.T) {
	filter := func(rules ...string) string {
		return "*filter\n:INPUT DROP [0:0]\n" + strings.Join(rules, "\n") + "\nCOMMIT\n"
	}
	for name, c := range map[string]struct {
		rules string
		bound string
		want  []string
	}{
		"one of three addresses": {
			filter("-A INPUT -d 198.51.100.20/32 -p tcp --dport 22 -j ACCEPT"), "0.0.0.0:22",
			[]string{"tcp/22 172.17.0.1", "tcp/22 198.51.100.10", "tcp/22 198.51.100.20 0.0.0.0/0"},
		},
		"no address is told apart": {
			filter("-A INPUT -s 10.0.0.0/8 -p tcp --dport 22 -j ACCEPT"), "0.0.0.0:22",
			[]string{"tcp/22 0.0.0.0 10.0.0.0/8"},
		},
		"told apart without a difference": {
			filter("-A INPUT -d 198.51.100.20/32 -p tcp --dport 22 -j ACCEPT",
				"-A INPUT -p tcp --dport 22 -j ACCEPT"), "0.0.0.0:22",
			[]string{"tcp/22 0.0.0.0 0.0.0.0/0"},
		},
		"the loopback address": {
			filter("-A INPUT -d 127.0.0.0/8 ! -i lo -j REJECT", "-A INPUT -p tcp --dport 22 -j ACCEPT"),
			"0.0.0.0:22", []string{"tcp/22 0.0.0.0 0.0.0.0/0"},
		},
		"bound to one": {
			filter("-A INPUT -d 198.51.100.20/32 -p tcp --dport 22 -j ACCEPT"), "198.51.100.10:22",
			[]string{"tcp/22 198.51.100.10"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := audited(t, Input{
				Rules:   rules(t, c.rules),
				Host:    withAddresses("198.51.100.20/24"),
				Sockets: listening("sshd " + c.bound),
			})
			if diff := cmp.Diff(c.want, rowsOf(onEth0(r))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A finding about a socket marks all its rows. Its sentence names the address in full.
func TestFindingsOfAddresses(t *testing.T) {
	r := audited(t, Input{
		Rules: rules(t, "*filter\n:INPUT DROP [0:0]\n"+
			"-A INPUT -d 198.51.100.20/32 -p tcp --dport 22 -m time --timestart 08:00 -j ACCEPT\nCOMMIT\n"),
		Host:    withAddresses("198.51.100.20/24"),
		Sockets: listening("sshd 0.0.0.0:22"),
	})
	i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Kind == Undecided })
	if i < 0 || !strings.HasPrefix(
		r.Findings[i].Detail,
		"who reaches tcp/22 (sshd) at 198.51.100.20 depends on what can't be decided in advance: ip filter",
	) {
		t.Errorf("%+v", r.Findings)
	}
}

// With many addresses, one question covers all that nothing distinguishes.
func TestManyAddresses(t *testing.T) {
	var more []string
	for i := range 500 {
		more = append(more, fmt.Sprintf("203.0.%d.%d/24", i/250, 1+i%250))
	}
	h := withAddresses(more...)
	rs := rules(
		t,
		"*filter\n:INPUT DROP [0:0]\n-A INPUT -d 203.0.1.7/32 -p tcp --dport 22 -j ACCEPT\nCOMMIT\n",
	)
	e := exposure.NewEvaluator(rs, h)
	var all []netip.Addr
	for _, p := range h.Interfaces[1].Addresses {
		if p.Addr().Is4() {
			all = append(all, p.Addr())
		}
	}
	if groups := e.GroupAddresses(address.IPv4, firewall.TCP, 22, all); len(groups) != 2 {
		t.Errorf("%d groups", len(groups))
	}
	if groups := e.GroupAddresses(address.IPv4, firewall.TCP, 80, all); len(groups) != 1 {
		t.Errorf("%d groups", len(groups))
	}
	r := onEth0(audited(t, Input{Rules: rs, Host: h, Sockets: listening("sshd 0.0.0.0:22")}))
	if len(r.Exposures) != 2 || r.Exposures[0].Address != "0.0.0.0" ||
		len(r.Exposures[0].Addresses) != 501 || r.Exposures[1].Address != "203.0.1.7" {
		t.Errorf("%d rows: %v", len(r.Exposures), rowsOf(r))
	}
}

// A row doesn't name rules that decide about none of its sources.
func TestRowsNameOnlyDecidingRules(t *testing.T) {
	r := onEth0(audited(t, Input{
		Rules: rules(
			t,
			"*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -m limit --limit 1/s -j LOG\n"+
				"-A PREROUTING -m time --timestart 08:00 -j RETURN\nCOMMIT\n"+
				"*filter\n:INPUT DROP [0:0]\n:web - [0:0]\n-A INPUT -i lo -j ACCEPT\n"+
				"-A INPUT -s 127.0.0.0/8 -j ACCEPT\n-A INPUT -p tcp --dport 80 -j web\n"+
				"-A web -p tcp -m comment --comment x\n-A web -s 10.0.0.0/8 -j ACCEPT\nCOMMIT\n",
		),
		Host:    world(),
		Sockets: listening("nginx 0.0.0.0:80"),
	}))
	want := []string{"ip filter chain web, rules.v4:13: -A web -s 10.0.0.0/8 -j ACCEPT"}
	if len(r.Exposures) != 1 || !slices.Equal(r.Exposures[0].DecidedBy, want) {
		t.Errorf("%+v", r.Exposures)
	}
}

// inContainer are sockets of a container with an address.
func inContainer(address string, list ...string) sockets.Snapshot {
	s := listening(list...)
	for i := range s.Listeners {
		s.Listeners[i].Namespace = sockets.Namespace{Inode: 7}
	}
	s.Addresses = map[uint64][]netip.Addr{7: {netip.MustParseAddr(address)}}
	return s
}

// A program bound to its container's 127.0.0.1 doesn't get packets of published ports.
func TestBoundElsewhereInAContainer(t *testing.T) {
	in := Input{
		Rules:   rules(t, closed+docker),
		Host:    world(),
		Sockets: inContainer("172.17.0.2", "app 127.0.0.1:80"),
	}
	has := func(r Report) bool {
		return slices.ContainsFunc(r.Findings, func(f Finding) bool {
			return f.Kind == BoundInside && f.Port == 8080 &&
				strings.Contains(f.Detail, "app (process 100)")
		})
	}
	open := docker[:strings.Index(docker, "COMMIT")] +
		"-A FORWARD -d 172.17.0.2/32 -j ACCEPT\n" + docker[strings.Index(docker, "COMMIT"):]
	for name, policy := range map[string]*firewall.State{
		"no policy":    nil,
		"it allows":    state(t, "services: [{name: app, port: 8080, allow: [any]}]"),
		"it refuses":   state(t, "services: [{name: app, port: 8080, allow: []}]"),
		"another port": state(t, "services: [{name: app, port: 9999, allow: [any]}]"),
	} {
		for _, text := range []string{closed + docker, closed + open} {
			in.Policy, in.Rules = policy, rules(t, text)
			r := audited(t, in)
			if !has(r) {
				t.Errorf("%s: %+v", name, r.Findings)
			}
			for _, x := range r.Exposures {
				if x.Target == "" && !x.Direct {
					continue
				}
				if x.Direct || x.Finding != BoundInside || x.Reachable.Possible.Len() > 0 ||
					x.Reachable.Certain.Len() > 0 || x.Process != "app" {
					t.Errorf("%s: %+v", name, x)
				}
			}
		}
	}
	in.Policy, in.Rules = nil, rules(t, closed+docker)
	p, err := Locate(
		in.Host,
		Packet{From: netip.MustParseAddr("8.8.8.8"), Port: 8080, Protocol: firewall.TCP},
	)
	if err != nil {
		t.Fatal(err)
	}
	if x, err := Explain(in, p); err != nil || x.Reason != BoundElsewhere {
		t.Errorf("%s: %s, %v", x.Reason, x.Summary, err)
	}
	in.Sockets = inContainer("172.17.0.2", "app 0.0.0.0:80", "metrics 127.0.0.1:81")
	if r := audited(t, in); has(r) {
		t.Errorf("%+v", r.Findings)
	}
}

// Neighbouring ports without a listener make one finding.
func TestNotListeningOnARange(t *testing.T) {
	for ports, want := range map[string][]string{
		`["5000-5999"]`:             {"5000-5999"},
		`[5000, 5001, 5002, 6000]`:  {"5000-5002", "6000-0"},
		`[5000, "5001-5010", 5011]`: {"5000-5011"},
	} {
		r := audited(t, Input{
			Rules:   rules(t, closed+docker),
			Host:    world(),
			Sockets: listening("nginx 0.0.0.0:80"),
			Policy:  state(t, "services: [{name: many, port: "+ports+", allow: [any]}]"),
		})
		var got []string
		for _, f := range r.Findings {
			if f.Kind == NotListening {
				got = append(got, fmt.Sprintf("%d-%d", f.Port, f.PortLast))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v", ports, got)
		}
	}
}

// A rule that can't be decided is named once, also where several rules jump to its chain.
func TestRowsNameRulesOnce(t *testing.T) {
	r := onEth0(audited(t, Input{
		Rules: rules(
			t,
			"*filter\n:INPUT DROP [0:0]\n:web - [0:0]\n-A INPUT -s 10.0.0.0/8 -j web\n"+
				"-A INPUT -s 11.0.0.0/8 -j web\n"+
				"-A web -p tcp --dport 80 -m time --timestart 08:00 -j ACCEPT\nCOMMIT\n",
		),
		Host:    world(),
		Sockets: listening("nginx 0.0.0.0:80"),
	}))
	want := []string{
		"unknown: ip filter chain web, rules.v4:6: -A web -p tcp --dport 80 -m time " +
			"--timestart 08:00 -j ACCEPT",
	}
	if len(r.Exposures) != 1 || !slices.Equal(r.Exposures[0].DecidedBy, want) {
		t.Errorf("%+v", r.Exposures)
	}
}
