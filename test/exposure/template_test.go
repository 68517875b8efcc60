package exposure

import (
	"testing"

	ex "github.com/portgrave/portgrave/firewall/exposure"
)

// A template, which any CT target attaches, keeps later rules from untracking the packet. In the
// opposite order, nft tracks an untracked packet again, and x_tables doesn't; the evaluator leaves
// that open.
func TestKernelAgreesOnTemplates(t *testing.T) {
	t.Parallel()
	zone := func(text string, n uint64) *rule {
		return &rule{
			[]ex.Statement{
				ex.Assign{To: ex.FieldCTZone, Value: []ex.Operand{ex.Const(ex.Number(n))}},
			},
			text,
		}
	}
	untrack := func(text string) *rule { return &rule{[]ex.Statement{ex.NoTrack{}}, text} }
	refuse := func(text string) *rule {
		return &rule{
			[]ex.Statement{ex.AnyBit(ex.FieldCTState, 64), ex.Verdict{Kind: ex.VerdictDrop}},
			text,
		}
	}
	legacy := func(rules ...*rule) []*table {
		var out []*table
		for _, f := range []ex.Family{ex.FamilyIPv4, ex.FamilyIPv6} {
			out = append(
				out,
				&table{
					legacy: true,
					family: f,
					name:   "raw",
					chains: []*chain{
						{
							name:  "PREROUTING",
							base:  ex.XTablesBase("raw", "PREROUTING", ex.VerdictAccept),
							rules: append([]*rule{pass(passXT)}, rules...),
						},
					},
				},
				&table{
					legacy: true,
					family: f,
					name:   "filter",
					chains: []*chain{
						{name: "INPUT", base: ex.XTablesBase("filter", "INPUT", ex.VerdictAccept),
							rules: []*rule{
								pass(passXT),
								refuse("-m conntrack --ctstate UNTRACKED -j DROP"),
							}},
					},
				},
			)
		}
		return out
	}
	nft := func(rules ...*rule) []*table {
		return []*table{{family: ex.FamilyInet, name: "t", chains: []*chain{
			{
				name:  "raw",
				hook:  "prerouting",
				base:  &ex.Base{Hook: ex.HookPrerouting, Priority: -300, Policy: ex.VerdictAccept},
				rules: append([]*rule{pass(passNFT)}, rules...),
			},
			{
				name:  "in",
				hook:  "input",
				base:  &ex.Base{Hook: ex.HookInput, Policy: ex.VerdictAccept},
				rules: []*rule{pass(passNFT), refuse("ct state untracked drop")},
			},
		}}}
	}
	for _, xt := range []string{"nft", "legacy"} {
		j := newJudge(t, xt)
		for name, tables := range map[string][]*table{
			"x_tables":           legacy(zone("-j CT --ctevents new", 0), untrack("-j CT --notrack")),
			"x_tables, a zone":   legacy(zone("-j CT --zone-orig 1", 1), untrack("-j CT --notrack")),
			"x_tables, reversed": legacy(untrack("-j CT --notrack"), zone("-j CT --zone-orig 1", 1)),
			"nft":                nft(zone("ct original zone set 1", 1), untrack("notrack")),
			"nft, reversed":      nft(untrack("notrack"), zone("ct original zone set 1", 1)),
		} {
			if wrong := j.judge(&description{tables: tables}, newGenerator(1)); len(wrong) > 0 {
				t.Errorf(
					"%s with iptables-%s: %d disagreements, the first:\n%s",
					name,
					xt,
					len(wrong),
					wrong[0],
				)
			}
		}
		t.Logf(
			"iptables-%s: %d probes, %d got through, %d undecided",
			xt,
			j.probes,
			j.open,
			j.undecided,
		)
	}
}
