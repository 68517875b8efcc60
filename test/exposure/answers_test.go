package exposure

import (
	"regexp"
	"slices"
	"testing"

	ex "github.com/portgrave/portgrave/firewall/exposure"
)

// Rules at output and postrouting, and those that answers of the container meet elsewhere, may keep
// answers from coming back: who surely connects, and who possibly, is what SYN-ACKs show.
func TestKernelAgreesOnAnswers(t *testing.T) {
	n := setting("PORTGRAVE_RULESETS", defaultRulesets)
	for _, xt := range []string{"nft", "legacy"} {
		t.Run("iptables-"+xt, func(t *testing.T) {
			j := newJudge(t, xt)
			j.answers = true
			j.run(n)
		})
	}
}

var mirrors = map[string]string{"saddr": "daddr", "daddr": "saddr", "sport": "dport", "dport": "sport",
	"--dport": "--sport", "--dports": "--sports", "--src-range": "--dst-range", "-s": "-d", "-d": "-s",
	"--dst-type": "--src-type", "--src-type": "--dst-type", "-o": "-o"}

var words = regexp.MustCompile(`-{0,2}[a-z][a-z-]*`)

var mirroredFields = map[ex.Field]ex.Field{ex.FieldSource4: ex.FieldDest4, ex.FieldDest4: ex.FieldSource4,
	ex.FieldSource6: ex.FieldDest6, ex.FieldDest6: ex.FieldSource6, ex.FieldSport: ex.FieldDport, ex.FieldDport: ex.FieldSport}

// mirrored is a rule for answers: source and destination change places. A rule that isn't about
// either, or reads the connection's addresses, stays.
func mirrored(r *rule) *rule {
	if regexp.MustCompile(`ct original|ct reply|--ctorig|--ctrepl|--set |hash|flags|match-set|dnat|redirect|tproxy`).MatchString(r.text) {
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
