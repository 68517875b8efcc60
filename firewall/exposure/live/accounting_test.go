package live

import (
	"errors"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// Objects of nfacct that can't be read leave their rules undecided, and say why; others count, or
// have a quota.
func TestReadAccounts(t *testing.T) {
	refused := errors.New("operation not permitted")
	for name, c := range map[string]struct {
		counts map[string]bool
		err    error
		want   string // a part of the statement's text; "" for no effect
	}{
		"counts":     {map[string]bool{"web": true}, nil, ""},
		"quota":      {map[string]bool{"web": false}, nil, "(a quota)"},
		"missing":    {map[string]bool{}, nil, "-m nfacct"},
		"unreadable": {nil, refused, "its object can't be read: operation not permitted"},
	} {
		statement := exposure.Unknown{Text: "-m nfacct --nfacct-name web", Account: "web"}
		chain := &exposure.Chain{Rules: []*exposure.Rule{
			{Statements: []exposure.Statement{statement}}, {Statements: []exposure.Statement{statement}},
		}}
		rs := &exposure.Ruleset{Tables: []*exposure.Table{{Chains: []*exposure.Chain{chain}}}}
		asked := 0
		readAccounts(rs, func() (map[string]bool, error) { asked++; return c.counts, c.err })
		if asked != 1 {
			t.Errorf("%s: asked %d times", name, asked)
		}
		for _, r := range chain.Rules {
			switch s := r.Statements[0].(type) {
			case exposure.NoEffect:
				if c.want != "" {
					t.Errorf("%s: no effect", name)
				}
			case exposure.Unknown:
				if c.want == "" || !strings.Contains(s.Text, c.want) || s.Account != "" {
					t.Errorf("%s: %+v", name, s)
				}
			}
		}
		if partly := strings.Join(rs.Partly, ""); strings.Contains(partly, "not permitted") !=
			(c.err != nil) {
			t.Errorf("%s: partly %q", name, partly)
		}
	}
}
