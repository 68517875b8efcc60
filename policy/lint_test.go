package policy

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// linted returns the warnings of Lint, one a line: rule, line, column and message.
func linted(t *testing.T, text string) []string {
	t.Helper()
	p := mustParse(t, text)
	c, err := p.Compile(t.Context(), &Networks{Now: testClock})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var out []string
	for _, w := range p.Lint(c, testClock()) {
		out = append(out, fmt.Sprintf("%s %d:%d %s", w.Rule, w.Line, w.Column, w.Message))
	}
	return out
}

func TestLint(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "list.txt")
	write(t, list, "10.0.0.0/8\n")
	for name, x := range map[string]struct {
		text string
		want []string // how each warning begins
	}{
		"fine": {"services:\n  - {name: web, port: 443, allow: [any], except: [192.0.2.0/24]}", nil},
		"empty allow": {
			"services:\n  - {name: web, port: 443}\n  - {name: dns, port: 53, allow: []}",
			[]string{
				`nobody-allowed 3:12 service "web" has an empty allow`,
				`nobody-allowed 4:34 service "dns" has an empty allow`,
			},
		},
		"nobody is left": {
			"services:\n  - {name: a, port: 1, allow: [10.0.0.0/8], except: [private]}\n" +
				"  - {name: b, port: 2, allow: [{cidr: 10.0.0.0/8, expires: 2026-01-01}]}",
			[]string{
				`nobody-allowed 3:31 service "a" lets nobody in`,
				`nobody-allowed 4:31 service "b" lets nobody in`,
			},
		},
		"except alone": {
			"services:\n  - {name: web, port: 443, except: [192.0.2.0/24]}",
			[]string{`except-without-allow 3:36 service "web" has except`},
		},
		"unused networks": {
			"networks:\n  a: [192.0.2.0/24]\n  b: [a]\n  c: [192.0.2.0/24]\n  d: [c]\n" +
				"services:\n  - {name: web, port: 443, allow: [b]}",
			[]string{
				`unused-network 5:3 no service uses the network "c"`,
				`unused-network 6:3 no service uses the network "d"`,
			},
		},
		"unused files": {
			"networks:\n  there: {file: " + list + "}\n  gone: {file: /nonexistent/list}",
			[]string{
				"unused-network 3:3 ",
				"unused-network 4:3 ",
				`missing-file 4:16 network "gone": /nonexistent/list: there is no such file`,
			},
		},
		"contained prefixes": {
			"services:\n  - {name: web, port: 443, allow: [10.1.0.0/16, 10.0.0.0/8, " +
				`10.1.2.3, "fd00::/8", "fd00::1", 192.0.2.1, 192.0.2.1]}`,
			[]string{
				"redundant-entry 3:36 10.1.0.0/16 is contained in 10.0.0.0/8 (policy.yaml:3:49)",
				"redundant-entry 3:61 10.1.2.3 is contained in 10.0.0.0/8",
				"redundant-entry 3:83 fd00::1 is contained in fd00::/8",
				"redundant-entry 3:105 192.0.2.1 is in allow twice, first at policy.yaml:3:94",
			},
		},
		"contained in a network": {
			"networks:\n  office: [10.0.0.0/8]\n  floor: [10.1.0.0/16]\nservices:\n" +
				"  - {name: web, port: 443, allow: [office, 10.2.3.4, floor, office]}",
			[]string{
				"redundant-entry 6:44 10.2.3.4 is contained in office",
				"redundant-entry 6:54 floor is contained in office",
				"redundant-entry 6:61 office is in allow twice",
			},
		},
		"equal networks": {
			"networks:\n  a: [10.0.0.0/8]\n  b: [10.0.0.0/8]\nservices:\n" +
				"  - {name: x, port: 1, allow: [a, b]}\n" +
				"  - {name: y, port: 2, allow: [a, 10.0.0.0/8]}\n" +
				"  - {name: z, port: 3, allow: [10.0.0.0/8, a]}",
			[]string{
				"redundant-entry 6:35 b is contained in a",
				"redundant-entry 7:35 10.0.0.0/8 is contained in a",
				"redundant-entry 8:32 10.0.0.0/8 is contained in a",
			},
		},
		"in networks": {
			"networks:\n  a: [10.0.0.0/8, private]\n" +
				"services:\n  - {name: x, port: 1, allow: [192.0.2.1], except: [a, 10.0.0.1]}",
			[]string{
				"redundant-entry 3:7 10.0.0.0/8 is contained in private (policy.yaml:3:19), which " +
					`is in network "a" too`,
				"redundant-entry 5:56 10.0.0.1 is contained in a (policy.yaml:5:53), which is in " +
					"except",
			},
		},
		"lists change": {
			"networks: {feed: {file: " + list + "}}\nservices:\n" +
				"  - {name: x, port: 1, allow: [feed, 10.0.0.1]}",
			nil,
		},
		"what lasts longer": {
			"services:\n  - {name: x, port: 1, allow: [{cidr: 10.0.0.0/8, expires: 2027-01-01}, " +
				"10.0.0.1]}\n" +
				"  - {name: y, port: 2, allow: [10.0.0.0/8, {cidr: 10.0.0.1, expires: 2027-01-01}]}\n" +
				"  - {name: z, port: 3, allow: [{cidr: 10.0.0.1, expires: 2027-01-01}, " +
				"{cidr: 10.0.0.1, expires: 2028-01-01}]}",
			[]string{
				"redundant-entry 4:44 10.0.0.1 is contained",
				"redundant-entry 5:32 10.0.0.1 is in allow twice",
			},
		},
		"any": {
			"services:\n  - {name: web, port: 443, allow: [192.0.2.1, any]}\n" +
				"  - {name: two, port: 444, allow: [192.0.2.1, {cidr: any, expires: 2027-01-01}]}",
			[]string{"any-beside-others 3:47 any is everyone"},
		},
		"assumed ports": {
			"services:\n  - {name: metrics, interfaces: [eth0], allow: [private]}\n" +
				"  - {name: ssh, interfaces: [eth1], allow: [private]}\n" +
				"  - {name: prometheus, interfaces: [eth2], allow: [private]}\n" +
				"  - {name: ntp, interfaces: [eth3], allow: [private]}\n" +
				"  - {name: router, protocol: vrrp, allow: [private]}",
			[]string{
				`port-assumed 3:12 service "metrics" leaves port out, and 9090 is assumed`,
				`other-port-assumed 4:12 service "ssh" leaves port out, so it is about ` +
					`port 9090 and NOT about 22: write port: 22`,
				`port-assumed 5:12 service "prometheus"`,
				`other-port-assumed 6:12 service "ntp" leaves port out, so it is about ` +
					`port 9090 and NOT about 123: write port: 123, and protocol: udp`,
			},
		},
		"admin ports": {
			"services:\n  - {name: ssh, port: 22, allow: [any]}\n" +
				"  - {name: db, port: [80, 5432], allow: [\"::/0\"], except: [\"2001:db8::/32\"]}\n" +
				"  - {name: all, port: \"2000-5000\", interfaces: [eth0], addresses: [192.0.2.1], " +
				"allow: [0.0.0.0/0]}\n" +
				"  - {name: cache, port: 11211, protocol: [tcp, udp], addresses: [192.0.2.2], " +
				"allow: [any]}\n",
			[]string{
				`admin-port-open 3:23 service "ssh" opens tcp/22 (SSH) to everyone`,
				`admin-port-open 4:27 service "db" opens tcp/5432 (PostgreSQL) to everyone`,
				`admin-port-open 5:23 service "all" opens tcp/3389 (RDP), tcp/2375 ` +
					`(Docker without TLS), tcp/2379-2380 (etcd), tcp/2049 (NFS), 1 more to everyone`,
				`admin-port-open 6:25 service "cache" opens tcp/11211 (memcached), ` +
					`udp/11211 (memcached) to everyone`,
			},
		},
		"admin ports of some": {
			"services:\n  - {name: ssh, port: 22, interfaces: [\"wg*\"], allow: [any]}\n" +
				"  - {name: db, port: 5432, allow: [private, 203.0.113.0/24]}\n" +
				"  - {name: old, port: 3306, allow: [{cidr: any, expires: 2026-01-01}, 192.0.2.1]}\n" +
				"  - {name: quic, port: 3306, protocol: udp, allow: [any]}\n",
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := linted(t, "version: 1\n"+x.text+"\n")
			if len(got) != len(x.want) {
				t.Fatalf("the warnings are\n%s", strings.Join(got, "\n"))
			}
			for i, want := range x.want {
				if !strings.HasPrefix(got[i], want) {
					t.Errorf("%s\ndoes not begin with\n%s", got[i], want)
				}
			}
		})
	}
}

// The policies that we ship have nothing to warn about.
func TestLintOurOwn(t *testing.T) {
	for _, text := range [][]byte{DefaultYAML(), ExampleYAML()} {
		if got := linted(t, string(text)); len(got) > 0 {
			t.Errorf("%s\n%s", strings.Join(got, "\n"), text)
		}
	}
}

// A long list doesn't take quadratic time.
func TestLintLongList(t *testing.T) {
	var b strings.Builder
	b.WriteString("version: 1\nservices:\n  - {name: x, port: 1, allow: [private, ")
	for i := range 60_000 {
		fmt.Fprintf(&b, "198.18.%d.%d, ", i>>8, i&255)
	}
	b.WriteString("]}\n")
	p := mustParse(t, b.String())
	c, err := p.Compile(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if got := p.Lint(c, testClock()); len(got) > 0 {
		t.Errorf("it warns %v", got[0])
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestLintSSH(t *testing.T) {
	listening := []netip.AddrPort{netip.MustParseAddrPort("[::]:22")}
	bound := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:22")}
	more := append(listening, netip.MustParseAddrPort("0.0.0.0:2222"))
	const deny = "unlisted: deny\nservices: ["
	for _, x := range []struct {
		text      string
		listening []netip.AddrPort
		warned    bool
	}{
		{"unlisted: deny", listening, true},
		{"unlisted: deny", nil, false},
		{"unlisted: ignore", listening, false},
		{deny + "{name: ssh, port: 22, allow: [private]}]", listening, false},
		{deny + "{name: ssh, port: 22, allow: []}]", listening, true},
		{deny + "{name: ssh, allow: [any]}]", listening, true},
		{deny + "{name: ssh, port: 22, allow: [{cidr: any, expires: 2026-01-01}]}]", listening,
			true},
		{deny + "{name: ssh, port: 22, addresses: [192.0.2.2], allow: [any]}]", bound, true},
		{deny + "{name: ssh, port: 22, addresses: [192.0.2.1], allow: [any]}]", bound, false},
		{deny + "{name: ssh, port: 22, interfaces: [eth1], allow: [any]}]", bound, false},
		{deny + "{name: ssh, port: 2222, allow: [any]}]", more, false},
	} {
		p := mustParse(t, "version: 1\n"+x.text+"\n")
		c, err := p.Compile(t.Context(), &Networks{Now: testClock})
		if err != nil {
			t.Fatal(err)
		}
		got := p.LintSSH(c, x.listening, testClock())
		if (len(got) > 0) != x.warned {
			t.Errorf("%s, listening at %v: %v", x.text, x.listening, got)
		}
		if x.warned && len(got) > 0 && (got[0].Line != 2 || got[0].Rule != RuleSSHUnreachable) {
			t.Errorf("%s: %v", x.text, got[0])
		}
	}
}

func TestEveryone(t *testing.T) {
	for text, want := range map[string]bool{
		"0.0.0.0/0": true, "0.0.0.0/1": true, "0.0.0.0/2": false, "10.0.0.0/8": false,
		"::/0": true, "2000::/3": true, "2000::/4": true, "2000::/5": false, "8000::/1": false,
	} {
		if got := isEveryone(prefixes(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if isEveryone(prefixes()) || len(adminPortsIn(firewall.Portless(firewall.VRRP))) > 0 {
		t.Error("nobody is everyone, or VRRP has ports")
	}
}

// Each warning has a rule that Rules lists, once.
func TestRules(t *testing.T) {
	seen := map[string]bool{}
	host := false
	for _, r := range Rules {
		if r.ID == "" || r.Text == "" || seen[r.ID] || host && !r.Host {
			t.Errorf("rule %+v", r)
		}
		seen[r.ID], host = true, r.Host
		if got, ok := RuleOf(Problem{Rule: r.ID}); !ok || got != r {
			t.Errorf("%s is %+v", r.ID, got)
		}
	}
	source, err := os.ReadFile("rules.go")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(source)) {
		if _, id, ok := strings.Cut(line, " = \""); ok && strings.HasPrefix(line, "\tRule") {
			if id, _, _ = strings.Cut(id, `"`); !seen[id] {
				t.Errorf("%s is not in Rules", id)
			}
		}
	}
	if _, ok := RuleOf(Problem{}); ok {
		t.Error("a mistake has a rule")
	}
}

// Networks that no service uses are named, and not put together to look for entries in them that
// have no effect: a chain of them would take memory that grows with the square of its length.
func TestLintOfUnusedNetworks(t *testing.T) {
	const networks, entries = 300, 100
	var text strings.Builder
	text.WriteString("version: 1\nnetworks:\n")
	for n := range networks {
		fmt.Fprintf(&text, "  n%d: [", n)
		if n > 0 {
			fmt.Fprintf(&text, "n%d, ", n-1)
		}
		for i := range entries {
			at := 2 * (n*entries + i)
			fmt.Fprintf(&text, "10.%d.%d.%d, ", at>>16, at>>8&255, at&255)
		}
		text.WriteString("]\n")
	}
	text.WriteString("services: [{name: web, port: 80, allow: [any]}]\n")
	p := mustParse(t, text.String())
	c, err := p.Compile(t.Context(), &Networks{Now: testClock})
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	problems := p.Lint(c, testClock())
	runtime.ReadMemStats(&after)
	unused := 0
	for _, x := range problems {
		if x.Rule == RuleUnusedNetwork {
			unused++
		}
	}
	if unused < maxProblems/2 {
		t.Errorf("%d networks are named as unused", unused)
	}
	if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 24 {
		t.Errorf("lint took %d MiB", took)
	}
}
