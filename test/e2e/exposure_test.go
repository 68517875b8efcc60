package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/test/lab"
)

// foreign are firewalls that other programs leave on a host, each as the commands that make it.
var foreign = map[string]func(w *lab.World){
	"none": func(*lab.World) {},
	"ufw, with a published port that it believes closed": func(w *lab.World) {
		restore(w, "iptables-nft-restore", `*filter
:INPUT DROP [0:0]
:ufw-before-input - [0:0]
:ufw-user-input - [0:0]
-A INPUT -j ufw-before-input
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -j ufw-user-input
-A ufw-user-input -p tcp -m tcp --dport 22 -s 192.88.99.0/24 -j ACCEPT
-A ufw-user-input -p tcp -m multiport --dports 9090,9091 ! -s 64.0.0.0/2 -j ACCEPT
COMMIT
`)
		restore(w, "ip6tables-nft-restore", `*filter
:INPUT DROP [0:0]
:ufw6-user-input - [0:0]
-A INPUT -j ufw6-user-input
-A INPUT -p ipv6-icmp -j ACCEPT
-A ufw6-user-input -p tcp -m tcp --dport 22 -s 2001:db8:4000::/36 -j ACCEPT
COMMIT
`)
	},
	"fail2ban, with sets": func(w *lab.World) {
		w.Host.NFT(`table inet f2b-table {
 set addr-set-sshd { type ipv4_addr; flags interval; elements = { 192.88.99.7, 192.0.2.0/25 } }
 set addr6-set-sshd { type ipv6_addr; flags interval; elements = { 2001:db8:4000::/36 } }
 chain f2b-chain {
  type filter hook input priority filter - 1; policy accept;
  tcp dport { 22, 9090 } ip saddr @addr-set-sshd reject with icmp type port-unreachable
  tcp dport 22 ip6 saddr @addr6-set-sshd drop
 }
}
`)
	},
	"legacy and nft side by side": func(w *lab.World) {
		w.Host.Run(
			"iptables-legacy",
			"-A",
			"INPUT",
			"-p",
			"tcp",
			"--dport",
			"9090",
			"-s",
			"64.0.0.0/3",
			"-j",
			"DROP",
		)
		w.Host.Run(
			"ip6tables-legacy",
			"-A",
			"INPUT",
			"-p",
			"tcp",
			"-m",
			"multiport",
			"--dports",
			"22,9091",
			"-m",
			"addrtype",
			"--dst-type",
			"LOCAL",
			"-j",
			"REJECT",
		)
		w.Host.NFT(
			"table inet filter {\n chain input {\n type filter hook input priority 0\n tcp dport 9091 ip saddr != 192.0.2.0/24 drop\n tcp dport 9090 ip6 saddr 2001:db8:8000::/33 drop\n }\n}\n",
		)
	},
	"marks, maps and jumps": func(w *lab.World) {
		w.Host.NFT(`table ip m {
 map who { type ipv4_addr : mark; flags interval; elements = { 32.0.0.0/3 : 1, 192.0.2.0/24 : 2, 192.88.99.128/25 : 3 } }
 chain pre {
  type filter hook prerouting priority mangle
  meta mark set ip saddr map @who
 }
 chain two {
  tcp dport 22 drop
  tcp dport 9090 return
  meta mark set meta mark and 0xfffffffd
 }
 chain in {
  type filter hook input priority filter
  meta mark vmap { 1 : drop, 2 : jump two, 3 : goto two }
  meta mark 2 tcp dport 9091 accept
  tcp dport 9091 meta mark 0x0 ip saddr 128.0.0.0/2 reject
  tcp dport 9091 meta mark 0x1 drop
 }
}
`)
	},
	"ipsets": func(w *lab.World) {
		restore(
			w,
			"ipset",
			"create friends hash:net family inet\nadd friends 192.0.2.0/24\nadd friends 192.88.99.0/26\nadd friends 192.0.2.64/26 nomatch\ncreate pairs hash:net,port family inet\nadd pairs 128.0.0.0/2,tcp:9090\n",
			"restore",
		)
		restore(
			w,
			"iptables-nft-restore",
			"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp --dport 22 -m set ! --match-set friends src -j DROP\n-A INPUT -m set --match-set pairs src,dst -j DROP\nCOMMIT\n",
		)
	},
}

func restore(w *lab.World, program, text string, args ...string) {
	cmd := w.Host.Command(context.Background(), program, args...)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%s: %v: %s", program, err, out))
	}
}

// verb runs a verb that may end with exit code 2, and returns what it printed.
func (i *installation) verb(args ...string) string {
	i.t.Helper()
	cmd := i.w.Host.Command(
		context.Background(),
		i.program,
		append([]string{"--config", i.policy}, args...)...)
	cmd.Env = append(
		os.Environ(),
		"PORTGRAVE_STATE_DIR="+i.state,
		"PORTGRAVE_RUN_DIR="+filepath.Join(i.dir, "run"),
	)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	var ended *exec.ExitError
	if err != nil && (!errors.As(err, &ended) || ended.ExitCode() != 2) {
		i.t.Fatalf("portgrave %s: %v\n%s%s", strings.Join(args, " "), err, out, complaint.String())
	}
	return string(out)
}

func (i *installation) audit() (r audit.Report) {
	i.t.Helper()
	if err := json.Unmarshal([]byte(i.verb("audit", "-o", "json", "--no-probe")), &r); err != nil {
		i.t.Fatal(err)
	}
	return r
}

// elsewhere are sources that do not come from the internet in a lab, or from nowhere.
var elsewhere = address.Must(
	"0.0.0.0/8",
	"10.20.0.0/16",
	"127.0.0.0/8",
	"169.254.0.0/16",
	"172.17.0.0/16",
	"172.18.0.0/24", // a container network of Docker: answers go there
	"198.51.100.0/24",
	"203.0.113.0/24",
	"224.0.0.0/3",
	"::/8",
	"2001:db8:100::/64",
	"2001:db8:113::/64",
	"fd00:17::/64",
	"fd00:20::/48",
	"fe80::/10",
	"ff00::/8",
)

// beside are the sources at and beside each end of some prefixes, and one amid each.
func beside(sets ...address.Set) (out []netip.Addr) {
	add := func(a netip.Addr) {
		if a.IsValid() && !elsewhere.Contains(a) && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	for _, set := range sets {
		for p := range set.All() {
			first, last := p.Addr(), lastAddress(p)
			for _, a := range []netip.Addr{first.Prev(), first, first.Next(), last.Prev(), last, last.Next()} {
				add(a)
			}
		}
	}
	for _, a := range []string{"1.1.1.1", "65.1.2.3", "129.0.0.1", "192.0.2.70", "192.88.99.130", "2001:db8:4000::1", "2001:db8:9000::1", "2a00::1"} {
		add(netip.MustParseAddr(a))
	}
	return out
}

func lastAddress(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for n := p.Bits(); n < len(b)*8; n++ {
		b[n/8] |= 0x80 >> (n % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Whatever firewall is there, audit says who gets in, and packets agree; and the policy that import
// writes changes none of it.
func TestAuditAgreesWithPackets(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	probes, open := 0, 0
	for name, load := range foreign {
		t.Run(name, func(t *testing.T) {
			w := lab.New(t)
			for _, port := range []uint16{22, 9090, 9091} {
				w.Host.ListenTCP(port)
			}
			w.Container.ListenTCP(80)
			w.Publish("tcp", 8080, 80)
			load(w)
			i := install(t, w, "version: 1\nservices: []\n")
			report := i.audit()
			asked := agree(t, w, report)
			probes, open = probes+asked.probes, open+asked.open
			for _, x := range report.Exposures {
				if x.Interface == "eth0" && x.Protocol == "tcp" &&
					!x.Reachable.Certain.Equal(x.Reachable.Possible) {
					t.Errorf(
						"port %d: nothing here is unknowable, but certain and possible differ: %+v",
						x.Port,
						x,
					)
				}
			}
			if asked.ports != 4 {
				t.Errorf("%d ports on eth0: %+v", asked.ports, report.Exposures)
			}
			if strings.HasPrefix(name, "ufw") &&
				!slices.ContainsFunc(
					report.Findings,
					func(f audit.Finding) bool { return f.Kind == audit.Bypass && f.Port == 8080 },
				) {
				t.Errorf("nothing says that 8080 goes past ufw: %+v", report.Findings)
			}
			importChangesNothing(t, i, report)
		})
	}
	t.Logf("%d probes, %d of them got in", probes, open)
}

// asked is what came of asking the ports of a report.
type asked struct{ ports, probes, open int }

// agree asks each TCP port that a report has on eth0 from the internet, from sources at and beside
// all the borders that the report names: nobody gets in who possibly can't, and everybody who
// certainly can.
func agree(t *testing.T, w *lab.World, report audit.Report) (a asked) {
	t.Helper()
	var questions []lab.Question
	var about [][]audit.Exposure
	// one source asks a port once: a second SYN for the same connection is answered differently
	at := map[lab.Question]int{}
	for _, x := range report.Exposures {
		if x.Interface != "eth0" || x.Protocol != "tcp" ||
			x.Direct { // nobody in the lab has a route to a target
			continue
		}
		a.ports++
		bound, err := netip.ParseAddr(x.Address)
		for _, source := range beside(x.Reachable.Certain, x.Reachable.Possible) {
			to := w.Host.At(x.Port, source.Is6())
			if err == nil && !bound.IsUnspecified() {
				to = netip.AddrPortFrom(bound, x.Port)
			}
			// A listener of one family says nothing of the other; "::" is both, unless 0.0.0.0 has
			// a row of its own.
			if to.Addr().Is4() != source.Is4() || x.Address == "0.0.0.0" && source.Is6() ||
				x.Address == "::" && source.Is4() && has(report, x, "0.0.0.0") {
				continue
			}
			q := lab.Question{Source: source, To: to}
			n, asked := at[q]
			if !asked {
				n = len(questions)
				at[q], questions, about = n, append(questions, q), append(about, nil)
			}
			about[n] = append(about[n], x)
		}
	}
	for n, answer := range w.ProbeEach(w.Internet, questions) {
		source, got := questions[n].Source, answer == lab.Open
		a.probes++
		if got {
			a.open++
		}
		for _, x := range about[n] {
			if got && !possible(report, x).Contains(source) ||
				!got && x.Reachable.Certain.Contains(source) {
				t.Errorf(
					"%v at %s from %s is %s; audit says certain %v, possible %v (%v)",
					questions[n].To,
					x.Address,
					source,
					answer,
					x.Reachable.Certain.Strings(),
					x.Reachable.Possible.Strings(),
					x.DecidedBy,
				)
			}
		}
	}
	return a
}

// has tells whether a report has a row for the same port at another address.
func has(r audit.Report, like audit.Exposure, address string) bool {
	return slices.ContainsFunc(r.Exposures, func(x audit.Exposure) bool {
		return x.Port == like.Port && x.Protocol == like.Protocol &&
			x.Interface == like.Interface &&
			x.Address == address
	})
}

// possible are those who may get to a port in any way: to a listener or, past it, to where the port
// is published.
func possible(r audit.Report, like audit.Exposure) (all address.Set) {
	for _, x := range r.Exposures {
		if x.Port == like.Port && x.Protocol == like.Protocol && x.Interface == like.Interface {
			all = all.Union(x.Reachable.Possible)
		}
	}
	return all
}

// importChangesNothing applies the policy that import writes: who reaches what stays as it was in a
// report, and nothing is left to be found but what the policy can't change.
func importChangesNothing(t *testing.T, i *installation, before audit.Report) {
	t.Helper()
	// What can't be known is taken in: without that, the policy lets in those who surely get in.
	i.write(i.verb("import", "--include-unknown"))
	i.run("apply")
	if s := i.run("plan"); !strings.Contains(s, "In sync") {
		t.Error(s)
	}
	after := i.audit()
	for _, f := range after.Findings {
		if f.Kind != audit.NotListening && f.Kind != audit.Undecided &&
			f.Kind != audit.RateLimited {
			t.Errorf("after import: %+v", f)
		}
	}
	if diff := cmp.Diff(reached(before), reached(after)); diff != "" {
		t.Errorf("import changed who reaches what (-before +after):\n%s", diff)
	}
}

// nobodys are sources that no packet has, the host's own among them: whether a row counts them in
// depends on how it is shorter.
var nobodys = address.Must(
	"0.0.0.0/8",
	"127.0.0.0/8",
	"224.0.0.0/3",
	"::/8",
	"ff00::/8",
	"2001:db8:100::10/127",
	"fd00:17::1/128",
	"fd00:20::1/128",
)

// reached is who gets to what; services behind which nobody is have no interface. The direct way to
// a target is not told of: a policy closes it.
func reached(r audit.Report) map[string][]string {
	out := map[string][]string{}
	for _, x := range r.Exposures {
		if x.Interface == "" || x.Direct {
			continue
		}
		out[fmt.Sprintf("%s/%d %s %s", x.Protocol, x.Port, x.Address, x.Interface)] = x.Reachable.Possible.Minus(nobodys).
			Strings()
	}
	return out
}

// The four reasons for "can't connect" are distinguished, with who decided.
func TestExplainTellsWhy(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	w := lab.New(t)
	w.Host.ListenTCP(9090)
	if _, err := w.Host.Listen("tcp", "127.0.0.1:5432"); err != nil {
		t.Fatal(err)
	}
	foreign["ufw, with a published port that it believes closed"](w)
	i := install(
		t,
		w,
		"version: 1\nservices:\n  - {name: metrics, port: 9090, allow: [192.88.99.0/24]}\n  - {name: db, port: 5432, allow: [any]}\n",
	)
	i.run("apply")
	w.Host.Run(
		"iptables-nft",
		"-I",
		"ufw-user-input",
		"-p",
		"tcp",
		"-m",
		"multiport",
		"--dports",
		"5432,7000",
		"-j",
		"ACCEPT",
	)
	for _, tt := range []struct {
		from, port string
		says       []string
	}{
		{"192.88.99.7", "9090", []string{"connects", "upstream", "tcp dport { 9090, 9091 } counter accept"}},
		{"8.8.8.8", "9090", []string{"dropped-here", "Refused by service metrics, ", "policy.yaml:3", "svc/metrics", "add 8.8.8.8 to allow"}},
		{"192.88.99.7", "22", []string{"nothing-listens"}},
		{"8.8.8.8", "22", []string{"dropped-here", "chain INPUT: policy drop"}},
		{"8.8.8.8", "5432", []string{"bound-elsewhere", "127.0.0.1"}},
		{"8.8.8.8", "7000", []string{"nothing-listens"}},
	} {
		out := i.explained("--from", tt.from, "--port", tt.port)
		for _, want := range tt.says {
			if !strings.Contains(out, want) {
				t.Errorf(
					"explain --from %s --port %s does not say %q:\n%s",
					tt.from,
					tt.port,
					want,
					out,
				)
			}
		}
	}
}
