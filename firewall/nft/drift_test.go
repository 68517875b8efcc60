package nft

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
)

// Every way in which another program can bend our table must be seen, named, and undone.
func TestDriftIsSeenAndRepaired(t *testing.T) {
	const svc = "inet portgrave svc/prometheus"
	for name, tt := range map[string]struct {
		script string
		want   string // the first change of the plan contains this
	}{
		"element deleted":             {"delete element inet portgrave svc/list/nets-ipv4 { 60.0.0.0/8 }", "add element of list ipv4: 60.0.0.0/8"},
		"element added":               {"add element inet portgrave svc/list/nets-ipv4 { 8.8.8.0/24 }", "remove element of list ipv4: 8.8.8.0/24"},
		"everyone added":              {"add element inet portgrave svc/list/nets-ipv4 { 0.0.0.0/5, 128.0.0.0/2 }", "remove element of list ipv4: 128.0.0.0/2"},
		"set flushed":                 {"flush set inet portgrave svc/list/nets-ipv6", "add element of list ipv6: 2001:200::/29"},
		"host added to a hash":        {"add element inet portgrave svc/many/hosts-ipv4 { 9.9.9.9 }", "remove element of many ipv4: 9.9.9.9/32"},
		"lease made longer":           {"delete element inet portgrave svc/lease/until-ipv4 { 203.0.113.7 }\nadd element inet portgrave svc/lease/until-ipv4 { 203.0.113.7 timeout 9h }", "remove element of lease ipv4: 203.0.113.7/32"},
		"port unlisted":               {"delete element inet portgrave ports-tcp { 9090 }", "add element of prometheus: port tcp/9090"},
		"port redirected":             {"delete element inet portgrave ports-tcp { 9090 }\nadd element inet portgrave ports-tcp { 9090 : goto svc/web }", "port tcp/9090"},
		"port accepted":               {"add element inet portgrave ports-tcp { 9091 : accept }", "remove element: port tcp/9091 → accept"},
		"chain flushed":               {"flush chain " + svc, "add element of prometheus ipv4: 10.20.0.0/16"},
		"chain of a set flushed":      {"flush chain inet portgrave svc/list", "add rule of list: chain svc/list: ip saddr"},
		"source in front":             {"insert rule " + svc + " ip saddr 8.8.8.0/24 counter name \"svc/prometheus/allowed-ipv4\" accept", "remove element of prometheus ipv4: 8.8.8.0/24"},
		"everyone in front":           {"insert rule " + svc + " meta nfproto ipv6 counter name \"svc/prometheus/allowed-ipv6\" accept", "remove element of prometheus ipv6: ::/0"},
		"source uncounted":            {"insert rule " + svc + " ip saddr 8.8.8.0/24 accept", "remove rule of prometheus: chain svc/prometheus: ip saddr 8.8.8.0/24 accept"},
		"source twice":                {"insert rule " + svc + " ip saddr 10.20.0.0/16 counter name \"svc/prometheus/allowed-ipv4\" accept", `remove rule of prometheus: chain svc/prometheus: ip saddr 10.20.0.0/16 counter name "svc/prometheus/allowed-ipv4" accept`},
		"set put before rules":        {"add set " + svc + "/nets-ipv4 { type ipv4_addr; flags interval; elements = { 9.0.0.0/8 }; }\ninsert rule " + svc + " ip saddr @svc/prometheus/nets-ipv4 accept", "remove element of prometheus ipv4: 9.0.0.0/8"},
		"base chain flushed":          {"flush chain inet portgrave prerouting", "add rule"},
		"rule appended":               {"add rule inet portgrave prerouting counter accept", "remove rule: chain prerouting: counter accept"},
		"rule before ours":            {"insert rule inet portgrave prerouting accept", "remove rule: chain prerouting: accept"},
		"rule by socket":              {"insert rule inet portgrave prerouting socket transparent 1 accept", "remove rule: chain prerouting: socket transparent 1 accept"},
		"limit added to a refusal":    {"insert rule inet portgrave svc/prometheus/refuse tcp dport 9090 return", "remove rule of prometheus: chain svc/prometheus/refuse: tcp dport 9090 return"},
		"chain added":                 {"add chain inet portgrave mine", "remove chain: chain mine"},
		"hook added":                  {"add chain inet portgrave mine { type filter hook input priority 0; policy drop; }", "remove hook: chain mine"},
		"chain of somebody, in use":   {"add chain inet portgrave mine\nadd rule inet portgrave mine accept\ninsert rule inet portgrave prerouting jump mine", "remove chain: chain mine"},
		"set added":                   {"add set inet portgrave mine { type ipv4_addr; }", "remove set ipv4: set mine"},
		"map to our chain":            {"add map inet portgrave mine { type inet_service : verdict; }\nadd element inet portgrave mine { 1 : goto svc/web }", "remove set: set mine"},
		"anonymous set in a rule":     {"insert rule inet portgrave prerouting tcp dport { 1, 2 } accept", "remove rule: chain prerouting: tcp dport { … } accept"},
		"quota added":                 {"add quota inet portgrave mine { over 1 mbytes; }", "remove set: object mine"},
		"counter added":               {"add counter inet portgrave mine", "remove rule: counter mine"},
		"own label set on everything": {"insert rule inet portgrave prerouting ct label set 90", "remove rule: chain prerouting: ct label set 90"},
		"input chain flushed":         {"flush chain inet portgrave input", "add rule: chain input: meta l4proto tcp ct original proto-dst vmap @ports-tcp"},
		"forward chain flushed":       {"flush chain inet portgrave forward", "add rule: chain forward: ct status dnat ct direction original jump translated"},
		"own source let in":           {"flush chain inet portgrave own-source", "add rule: chain own-source: fib saddr type local jump spoofed"},
		"policy turned to drop":       {"add chain inet portgrave prerouting { type filter hook prerouting priority -110; policy drop; }", "replace hook: chain prerouting"},
		"table deleted":               {"delete table inet portgrave", "add table: table inet portgrave"},
		"everything flushed":          {"flush ruleset", "add table: table inet portgrave"},
		"table emptied":               {"flush table inet portgrave", "add rule"},
		"rule and elements at once":   {"flush chain " + svc + "\nadd element inet portgrave svc/list/nets-ipv4 { 8.8.8.0/24 }", "prometheus"},
	} {
		t.Run(name, func(t *testing.T) {
			inNamespace(t)
			b, state := open(t), everything(t)
			apply(t, b, &state)
			nftProgram(t, strings.ReplaceAll(tt.script, "; ", "\n")+"\n", "-f", "-")
			p := planOf(t, b, &state)
			if p.InSync() {
				t.Fatal("the drift was not seen")
			}
			if !slices.ContainsFunc(
				p.Changes,
				func(c firewall.Change) bool { return strings.Contains(c.String(), tt.want) },
			) {
				t.Errorf("no change says %q:\n%s", tt.want, changesText(p))
			}
			apply(t, b, &state) // fails unless the read-back is in sync
		})
	}
}

// Another hook of the same name can only be made by deleting ours; the rebuilt one must be ours
// again.
func TestBaseChainOnAnotherHookIsReplaced(t *testing.T) {
	inNamespace(t)
	b, state := open(t), everything(t)
	apply(t, b, &state)
	nftProgram(
		t,
		"flush chain inet portgrave prerouting\ndelete chain inet portgrave prerouting\nadd chain inet portgrave prerouting {\n type filter hook input priority 5\n policy accept\n}\n",
		"-f",
		"-",
	)
	apply(t, b, &state)
	if got := nftProgram(t, "", "list", "chain", "inet", "portgrave", "prerouting"); !strings.Contains(
		got,
		"hook prerouting priority dstnat - 10",
	) {
		t.Errorf("the base chain is not back on its hook:\n%s", got)
	}
}

func TestReshapedSetIsReplaced(t *testing.T) {
	inNamespace(t)
	b, state := open(t), everything(t)
	apply(t, b, &state)
	// The set with our name becomes one without intervals: rules must go first.
	nftProgram(
		t,
		"flush chain inet portgrave svc/list\ndelete set inet portgrave svc/list/nets-ipv4\nadd set inet portgrave svc/list/nets-ipv4 {\n type ipv4_addr\n}\n",
		"-f",
		"-",
	)
	apply(t, b, &state)
	// And a map of ports, which base chains and service chains hang from.
	flush := "flush chain inet portgrave input\nflush chain inet portgrave forward\nflush chain inet portgrave translated\n" +
		"flush chain inet portgrave untracked\n"
	nftProgram(
		t,
		flush+"delete map inet portgrave ports-tcp\nadd map inet portgrave ports-tcp {\n type inet_proto : verdict\n}\n",
		"-f",
		"-",
	)
	apply(t, b, &state)
}

func TestForeignTableIsKept(t *testing.T) {
	inNamespace(t)
	nftProgram(
		t,
		"table inet portgrave {\n chain theirs {\n type filter hook input priority 0\n }\n }\n",
		"-f",
		"-",
	)
	before := nftProgram(t, "", "list", "ruleset")
	b, state := open(t), simple(t)
	for _, want := range []*firewall.State{&state, nil} {
		if _, err := reconciler(b).Apply(context.Background(), want, false); !errors.Is(
			err,
			firewall.ErrForeign,
		) {
			t.Fatalf("apply over a foreign table: %v", err)
		}
	}
	if after := nftProgram(t, "", "list", "ruleset"); after != before {
		t.Errorf("the foreign table was changed:\n%s", after)
	}
	if _, err := reconciler(b).Apply(context.Background(), &state, true); err != nil {
		t.Fatalf("apply with force: %v", err)
	}
	if after := nftProgram(t, "", "list", "ruleset"); strings.Contains(after, "theirs") {
		t.Errorf("the foreign chain survived --force:\n%s", after)
	}
}

// One CIDR more is one element more, and no counter moves.
func TestOneCIDRIsOneElement(t *testing.T) {
	inNamespace(t)
	b, state := open(t), everything(t)
	apply(t, b, &state)
	next := state
	next.Services = slices.Clone(state.Services)
	i := slices.IndexFunc(next.Services, func(s firewall.Service) bool { return s.Name == "list" })
	next.Services[i].Sources = next.Services[i].Sources.Union(address.Must("172.16.0.0/12"))
	out := apply(t, b, &next)
	want := []firewall.Change{
		{
			Action:  firewall.Add,
			Object:  firewall.ObjectElement,
			Service: "list",
			Family:  "ipv4",
			Detail:  "172.16.0.0/12",
			Count:   1,
		},
	}
	if !slices.Equal(out.Plan.Changes, want) {
		t.Errorf("got %s", changesText(out.Plan))
	}
	program := out.Plan.Program.(program)
	if len(program.prepare) != 0 || len(program.switchOver) != 1 {
		t.Errorf("one element took %d + %d commands", len(program.prepare), len(program.switchOver))
	}
}

// Sources and rules of one service change together: the sources are loaded under the other name.
func TestRulesAndSourcesTogetherUseAFreshSet(t *testing.T) {
	inNamespace(t)
	b, state := open(t), simple(t)
	apply(t, b, &state)
	for i, step := range []struct {
		interfaces []string
		sources    int
		fresh      string
	}{{[]string{"eth0"}, 20, "svc/prometheus/nets-ipv4"}, {nil, 21, "svc/prometheus/nets-ipv4.2"}, {[]string{"eth0"}, 22, "svc/prometheus/nets-ipv4"}} {
		next := state
		next.Services = slices.Clone(state.Services)
		next.Services[0].Interfaces, next.Services[0].Sources = step.interfaces, backendtest.List(
			t,
			step.sources,
		)
		out := apply(t, b, &next)
		if !slices.ContainsFunc(
			out.Plan.Program.(program).prepare,
			func(o op) bool { s, ok := o.(addSet); return ok && s.name == step.fresh },
		) {
			t.Errorf("step %d: %s was not loaded beforehand", i, step.fresh)
		}
		if p := planOf(t, b, &next); !p.InSync() {
			t.Errorf("step %d: not in sync:\n%s", i, changesText(p))
		}
	}
}
