package xt

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/backendtest"
)

var variants = []variant{nfVariant, legacy}

// onBoth runs a test for each variant in a namespace of its own.
func onBoth(t *testing.T, test func(*testing.T, variant)) {
	for _, v := range variants {
		t.Run(string(v), func(t *testing.T) {
			backendtest.Isolate(t)
			test(t, v)
		})
	}
}

func open(t testing.TB, v variant) *Backend {
	t.Helper()
	b, err := New(context.Background(), string(v))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run runs a line of shell words: "iptables -t mangle -F". The plain names stand for the variant's.
func run(t testing.TB, v variant, line string) string {
	t.Helper()
	return backendtest.Program(t, "", "sh", "-ec", variantNames(v, line))
}

func variantNames(v variant, script string) string {
	suffix := "-nft"
	if v == legacy {
		suffix = "-legacy"
	}
	return regexp.MustCompile(`\bip6?tables\b`).
		ReplaceAllStringFunc(script, func(name string) string { return name + suffix })
}

var passing = regexp.MustCompile(`(?m)^#.*\n| timeout [1-9]\d*|initval \S+|\[\d+:\d+\]`)

// emptyBuiltIn is a built-in chain without rules, as the nft variant makes them when it first uses
// a table, and keeps them: to packets, and to iptables, it is the same as none.
var emptyBuiltIn = regexp.MustCompile(`\s*chain [A-Z]+ \{\s*type [^\n]*policy accept;\s*\}`)

// snapshot prints all rules and sets, without what changes by itself: counters, remaining times,
// dates.
func snapshot(t testing.TB) string {
	t.Helper()
	all := backendtest.Program(t, "", "sh", "-ec", `
		nft list ruleset 2>/dev/null | sed 's/counter packets [0-9]* bytes [0-9]*//'
		for names in ip_tables_names ip6_tables_names; do
			if [ -s /proc/thread-self/net/$names ]; then
				[ $names = ip_tables_names ] && iptables-legacy-save || ip6tables-legacy-save
			fi
		done
		ipset save`)
	return emptyBuiltIn.ReplaceAllString(passing.ReplaceAllString(all, ""), "")
}

func TestSuite(t *testing.T) {
	for _, v := range variants {
		t.Run(string(v), func(t *testing.T) {
			backendtest.Suite(t, backendtest.Subject{
				Open:     func(t testing.TB) firewall.Backend { return open(t, v) },
				Before:   func(t testing.TB) { others(t, v) },
				Snapshot: snapshot,
			})
		})
	}
}

// others makes rules and sets as other programs make them, with quotes, comments and counters, in
// every table that we use.
func others(t testing.TB, v variant) {
	t.Helper()
	for _, program := range []string{"iptables", "ip6tables"} {
		run(
			t,
			v,
			program+` -t mangle -N "it's-odd" ; `+program+` -t mangle -A PREROUTING -p tcp -m comment --comment 'PORTGRAVE said: it'"'"'s "odd" \ or not' -j "it's-odd" 
			`+program+` -t mangle -A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
			`+program+` -A INPUT -m mark --mark 0x8 -m comment --comment "a -j PORTGRAVE in a comment" -j DROP
			`+program+` -A FORWARD -j ACCEPT; `+program+` -t security -A INPUT -m mark --mark 0x99 -j ACCEPT`,
		)
	}
	run(
		t,
		v,
		`ipset create theirs hash:net; ipset add theirs 10.0.0.0/8 nomatch; ipset create PORTGRAVE-theirs hash:ip,port comment; ipset add PORTGRAVE-theirs 10.0.0.1,tcp:80 comment "add 'x' y"
		iptables -A INPUT -m set --match-set theirs src -j ACCEPT`,
	)
}

// Every way in which another program can bend our rules must be seen, named, and undone.
func TestDriftIsSeenAndRepaired(t *testing.T) {
	for name, tt := range map[string]struct {
		script string
		want   string // a change of the plan contains this
	}{
		"source deleted":             {"iptables -t filter -D PORTGRAVE-S-prometheus -s 10.20.0.0/16 -g PORTGRAVE-A-prometheus", "add element of prometheus ipv4: 10.20.0.0/16"},
		"source added":               {"iptables -t filter -I PORTGRAVE-S-prometheus -s 8.8.8.0/24 -g PORTGRAVE-A-prometheus", "remove element of prometheus ipv4: 8.8.8.0/24"},
		"everyone added":             {"ip6tables -t filter -I PORTGRAVE-S-prometheus -g PORTGRAVE-A-prometheus", "remove element of prometheus ipv6: ::/0"},
		"chain flushed":              {"ip6tables -t filter -F PORTGRAVE-S-prometheus", "add element of prometheus ipv6: 2001:db8::/32"},
		"element added":              {"ipset add PORTGRAVE-N4-many 8.8.8.0/24", "remove element of many ipv4: 8.8.8.0/24"},
		"element deleted":            {"ipset del PORTGRAVE-N4-many 100.64.0.0", "add element of many ipv4: 100.64.0.0/32"},
		"exception added":            {"ipset add PORTGRAVE-N4-many 10.9.9.0/24 nomatch", "replace set of many ipv4"},
		"set flushed":                {"ipset flush PORTGRAVE-N4-many", "add element of many ipv4"},
		"set replaced by another":    {"ipset create x hash:net maxelem 100000 comment; ipset swap x PORTGRAVE-N4-many; ipset destroy x", "replace set of many ipv4"},
		"lease made longer":          {"ipset add -exist PORTGRAVE-U4-lease 203.0.113.7 timeout 99999", "add element of lease ipv4: 203.0.113.7/32"},
		"lease made lasting":         {"ipset add -exist PORTGRAVE-U4-lease 203.0.113.7 timeout 0", "add element of lease ipv4: 203.0.113.7/32"},
		"set added":                  {"ipset create PORTGRAVE-N4-mine hash:net", "remove set of mine ipv4"},
		"port unlisted":              {"iptables -t filter -D PORTGRAVE-P-tcp -p tcp -m tcp --dport 9090 -g PORTGRAVE-S-prometheus", "add element of prometheus ipv4: port tcp/9090"},
		"port redirected":            {"iptables -t filter -R PORTGRAVE-P-tcp 1 -p tcp -m tcp --dport 22 -g PORTGRAVE-S-web", "remove element of web ipv4: port tcp/22"},
		"port accepted":              {"iptables -t filter -I PORTGRAVE-P-tcp -p tcp --dport 9091 -j RETURN", "remove element ipv4: port tcp/9091 → RETURN"},
		"rule before ours":           {"iptables -t filter -I PORTGRAVE -j ACCEPT", "remove rule ipv4: chain PORTGRAVE: -j ACCEPT"},
		"rule with unknown match":    {"iptables -t filter -I PORTGRAVE -m u32 --u32 '0=0' -j RETURN", "remove rule ipv4: chain PORTGRAVE: -m u32"},
		"loopback turned round":      {"iptables -t filter -R PORTGRAVE 1 ! -i lo -m comment --comment x -j RETURN", "add rule ipv4: chain PORTGRAVE: -i lo"},
		"refusal softened":           {"iptables -t filter -I PORTGRAVE-R-prometheus -p tcp --dport 9090 -j RETURN", "remove rule of prometheus ipv4"},
		"rate raised":                {"iptables -t filter -D PORTGRAVE-A-ssh-in 1", "add rule of ssh-in ipv4: chain PORTGRAVE-A-ssh-in: -m conntrack"},
		"chain added":                {"iptables -t filter -N PORTGRAVE-mine", "remove chain ipv4: chain PORTGRAVE-mine"},
		"chain added and used":       {"iptables -t filter -N PORTGRAVE-mine; iptables -t filter -A PORTGRAVE-mine -j ACCEPT; iptables -t filter -I PORTGRAVE -j PORTGRAVE-mine", "remove chain ipv4: chain PORTGRAVE-mine"},
		"hook deleted":               {"iptables -t mangle -F PREROUTING", "add hook ipv4: iptables-VARIANT table mangle, first rule of PREROUTING"},
		"hook no longer first":       {"iptables -t mangle -I PREROUTING -p tcp -j ACCEPT", "replace hook ipv4: iptables-VARIANT table mangle, first rule of PREROUTING (now rule 2)"},
		"hook narrowed":              {"iptables -t filter -R INPUT 1 -i eth7 -j PORTGRAVE", "replace hook ipv4"},
		"hook twice":                 {"iptables -A FORWARD -j PORTGRAVE-F", "replace hook ipv4: iptables-VARIANT table filter, first rule of FORWARD (now 2 jumps)"},
		"hook elsewhere":             {"iptables -A OUTPUT -j PORTGRAVE-A-web", "remove hook ipv4"},
		"labels lost":                {"ip6tables -t mangle -F PORTGRAVE-L", "add rule ipv6: chain PORTGRAVE-L: -m addrtype"},
		"label of another":           {"iptables -t mangle -R PORTGRAVE-L 1 -m addrtype --dst-type LOCAL -m connlabel --label 91 --set", "remove rule ipv4: chain PORTGRAVE-L: -m addrtype --dst-type LOCAL -m connlabel --label \"91\" --set"},
		"DNAT not looked through":    {"iptables -D PORTGRAVE -m conntrack --ctstate DNAT --ctdir ORIGINAL -g PORTGRAVE-D", "add rule ipv4: chain PORTGRAVE: -m conntrack --ctstate DNAT"},
		"rejection no longer first":  {"iptables -I INPUT -j ACCEPT", "replace hook ipv4: iptables-VARIANT table filter, first rule of INPUT (now rule 2)"},
		"filter flushed":             {"ip6tables -F", "add hook ipv6: ip6tables-VARIANT table filter, first rule of INPUT"},
		"safety net cut":             {"iptables -t security -F PORTGRAVE", "add rule ipv4: chain PORTGRAVE: -i lo"},
		"everything flushed":         {"for t in mangle filter security; do iptables -t $t -F; iptables -t $t -X; ip6tables -t $t -F; ip6tables -t $t -X; done; ipset -X", "add table ipv4: chains PORTGRAVE* of iptables-VARIANT table mangle"},
		"rules flushed, sets stay":   {"iptables -t mangle -F; iptables -t mangle -X; ipset add PORTGRAVE-N4-many 8.8.8.0/24", "remove element of many ipv4: 8.8.8.0/24"},
		"rules and elements at once": {"iptables -t filter -F PORTGRAVE-S-many; ipset add PORTGRAVE-N4-many 8.8.8.0/24", "remove element of many ipv4: 8.8.8.0/24"},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, v variant) {
				b, state := open(t, v), backendtest.Everything(t)
				backendtest.Apply(t, b, &state)
				run(t, v, tt.script)
				p := backendtest.Plan(t, b, &state)
				if p.InSync() {
					t.Fatal("the drift was not seen")
				}
				want := strings.ReplaceAll(
					tt.want,
					"VARIANT",
					map[variant]string{legacy: "legacy", nfVariant: "nft"}[v],
				)
				if !strings.Contains(backendtest.Changes(p), want) {
					t.Errorf("no change says %q:\n%s", want, backendtest.Changes(p))
				}
				backendtest.Apply(t, b, &state) // fails unless the read-back is in sync
			})
		})
	}
}
