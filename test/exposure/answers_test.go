package exposure

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	ex "github.com/portgrave/portgrave/firewall/exposure"
)

// Rules at output and postrouting, and rules that the container's answers meet, may stop answers.
// SYN-ACKs show which sources certainly, and which possibly, connect.
func TestKernelAgreesOnAnswers(t *testing.T) {
	t.Parallel()
	n := setting("PORTGRAVE_RULESETS", defaultRulesets)
	for _, xt := range []string{"nft", "legacy"} {
		t.Run("iptables-"+xt, func(t *testing.T) {
			t.Parallel()
			j := newJudge(t, xt)
			j.answers = true
			j.run(n)
		})
	}
}

// Routing of answers: no route, routes and rules that refuse, tables by source, mark and port. The
// container's answers are routed and validated too.
func TestKernelAgreesOnReplyRoutes(t *testing.T) {
	t.Parallel()
	for name, commands := range map[string][]string{
		"no default route": {
			"route del default", "-6 route del default", "route add 20.0.0.0/9 via 198.51.100.1", "-6 route add 2600::/17 via 2001:db8:100::1",
		},
		"routes that refuse": {
			"route add blackhole 20.0.0.0/9", "route add unreachable 21.0.0.0/15", "route add prohibit 100.64.0.0/31",
			"route add throw 20.1.0.0/16", "-6 route add blackhole 2600::/48", "-6 route add unreachable 2601::/17", "-6 route add prohibit 3000::/16",
		},
		"a table by source": {
			"route add blackhole default table 100", "rule add from 198.51.100.10 to 20.0.0.0/9 table 100", "rule add from 172.17.0.2 to 20.0.0.0/8 prohibit",
			"-6 route add blackhole default table 100", "-6 rule add from 2001:db8:100::10 to 2600::/17 table 100",
		},
		"tables by mark": {
			"route add unreachable default table 100", "rule add fwmark 1/1 table 100", "rule add not fwmark 2/2 to 21.0.0.0/8 blackhole",
			"-6 route add unreachable default table 100", "-6 rule add fwmark 1/1 table 100",
		},
		"tables by the mark of what is answered": {
			"sysctl net.ipv4.tcp_fwmark_accept=1", "route add unreachable default table 100", "rule add fwmark 1/1 table 100",
			"-6 route add unreachable default table 100", "-6 rule add fwmark 1/1 table 100",
		},
		"validated answers of the container": {
			"sysctl net.ipv4.conf.docker0.rp_filter=1", "route add default via 198.51.100.1 table 100",
			"rule add from 20.0.0.0/8 to 172.17.0.2 table 100", "rule add from 21.0.0.0/8 to 172.17.0.2 iif eth0 table 100",
		},
		"a table for what comes in": {
			"rule add iif docker0 to 20.0.0.0/9 unreachable", "rule add iif lo to 21.0.0.0/8 prohibit", "-6 rule add iif docker0 to 2600::/17 unreachable",
		},
		"tables by protocol and port": {
			"route add default dev eth1 table 100", "rule add ipproto tcp dport 80 table 100",
			"rule add ipproto udp sport 81 table 100",
			"sysctl net.ipv4.conf.eth0.rp_filter=1", "rule add sport 1-1023 to 21.0.0.0/8 blackhole",
			"-6 route add unreachable default table 100",
			"-6 rule add ipproto tcp dport 80 table 100",
			"-6 rule add ipproto udp sport 8080 table 100",
		},
		"a main table without its default": {
			"route add unreachable 20.0.0.0/8 table 200", "rule add table main suppress_prefixlength 0 priority 10", "rule add table 200 priority 20",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJudge(t, "nft")
			for _, c := range commands {
				if words := strings.Fields(c); words[0] == "sysctl" {
					key, value, _ := strings.Cut(words[1], "=")
					j.w.Host.Sysctl(key, value)
				} else {
					j.w.Host.Run("ip", words...)
				}
			}
			j.host, j.answers, j.lostRoutes = readHost(t, j.w.Host), true, true
			if wrong := j.judge(&description{}, newGenerator(0)); len(wrong) > 0 {
				t.Fatalf("without rules: %d disagreements: %s", len(wrong), wrong[0])
			}
			j.run(max(4, setting("PORTGRAVE_RULESETS", defaultRulesets)/5))
		})
	}
}

var mirrors = map[string]string{
	"saddr":       "daddr",
	"daddr":       "saddr",
	"sport":       "dport",
	"dport":       "sport",
	"--dport":     "--sport",
	"--sport":     "--dport",
	"--dports":    "--sports",
	"--sports":    "--dports",
	"--src-range": "--dst-range",
	"--dst-range": "--src-range",
	"-s":          "-d",
	"-d":          "-s",
	"--dst-type":  "--src-type",
	"--src-type":  "--dst-type",
	"-o":          "-o",
}

var words = regexp.MustCompile(`-{0,2}[a-z][a-z-]*`)

var mirroredFields = map[ex.Field]ex.Field{
	ex.FieldSource4: ex.FieldDest4,
	ex.FieldDest4:   ex.FieldSource4,
	ex.FieldSource6: ex.FieldDest6,
	ex.FieldDest6:   ex.FieldSource6,
	ex.FieldSport:   ex.FieldDport,
	ex.FieldDport:   ex.FieldSport,
}

// mirrored is a rule for answers, with source and destination swapped. A rule without either, or
// one that reads the connection's addresses, is unchanged.
func mirrored(r *rule) *rule {
	if regexp.MustCompile(`ct original|ct reply|--ctorig|--ctrepl|--set |hash|flags|match-set|dnat|redirect|tproxy`).
		MatchString(r.text) {
		return r
	}
	out := &rule{text: words.ReplaceAllStringFunc(r.text, func(s string) string {
		if m, ok := mirrors[s]; ok {
			return m
		}
		return s
	})}
	for _, s := range r.model {
		switch s := s.(type) {
		case ex.Match:
			s.Key = mirroredKey(s.Key)
			out.model = append(out.model, s)
		case ex.VerdictMap:
			s.Key = mirroredKey(s.Key)
			out.model = append(out.model, s)
		case ex.Assign:
			s.Value = mirroredKey(s.Value)
			out.model = append(out.model, s)
		case ex.SetUpdate:
			s.Key = mirroredKey(s.Key)
			out.model = append(out.model, s)
		default:
			out.model = append(out.model, s)
		}
	}
	return out
}

func mirroredKey(key []ex.Operand) []ex.Operand {
	key = slices.Clone(key)
	for i, o := range key {
		if m, ok := mirroredFields[o.Field]; ok {
			key[i].Field = m
		}
		if o.Field == ex.FieldFib {
			key[i].Fib.Of = ex.FibDest - o.Fib.Of
		}
		if o.Field == ex.FieldMap {
			l := *o.Lookup
			l.Key = mirroredKey(l.Key)
			key[i].Lookup = &l
		}
	}
	return key
}
