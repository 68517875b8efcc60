package effect

import (
	"fmt"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/nftables"
	"github.com/portgrave/portgrave/firewall/exposure/xtables"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/nft"
	"github.com/portgrave/portgrave/firewall/xt"
)

// Replaced is a host's rules as they will be once a plan is applied: everybody else's as they are,
// and ours as they are wanted, wherever they stood before. The rules that are given stay as they
// are.
func Replaced(rs *exposure.Ruleset, want host.Wanted, now time.Time) (*exposure.Ruleset, error) {
	out := &exposure.Ruleset{Missing: rs.Missing, Partly: rs.Partly}
	before := map[string]*exposure.Base{} // of our base chains in nf_tables
	for _, t := range rs.Tables {
		if t.System == exposure.NFTables && t.Family == exposure.FamilyInet && nft.OwnTable(t.Name) {
			for _, c := range t.Chains {
				if c.Base != nil && before[c.Name] == nil {
					before[c.Name] = c.Base
				}
			}
			continue
		}
		out.AddTable(withoutOurs(t))
	}
	err := addOurs(out, want, before, now)
	out.MarkDynamic()
	return out, err
}

func addOurs(
	rs *exposure.Ruleset, want host.Wanted, before map[string]*exposure.Base, now time.Time,
) error {
	if want.IPTables != nil {
		return addIPTables(rs, *want.IPTables, now)
	}
	d := &nftables.Dump{At: now}
	err := nft.Messages(want.State, now, func(kind int, attributes []byte) error {
		return d.Add(exposure.FamilyInet, kind, attributes)
	})
	if err != nil {
		return fmt.Errorf("the rules that would be written: %w", err)
	}
	tables, err := nftables.Decode(d, nftables.Options{})
	if err != nil {
		return fmt.Errorf("the rules that would be written: %w", err)
	}
	for _, t := range tables {
		for _, c := range t.Chains {
			if c.Base == nil {
				continue
			}
			if b := before[c.Name]; b != nil && sameHook(b, c.Base) {
				c.Base.Rank, c.Base.RankKnown = b.Rank, b.RankKnown
			} else {
				registerNow(rs, c.Base)
			}
		}
		rs.AddTable(t)
	}
	return nil
}

func sameHook(a, b *exposure.Base) bool {
	return a.Hook == b.Hook && a.Priority == b.Priority && a.Type == b.Type
}

// registerNow ranks a base chain before all others of its priority, as the kernel does with a new
// one (nf_hook_entries_grow in net/netfilter/core.c).
func registerNow(rs *exposure.Ruleset, b *exposure.Base) {
	b.Rank, b.RankKnown = 0, true
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			if c.Base != nil {
				b.Rank = min(b.Rank, c.Base.Rank-1)
			}
		}
	}
}

// withoutOurs is a table of others without the chains of ours that stand in it, and without what
// leads to them. It is the table itself if nothing of ours is in it.
func withoutOurs(t *exposure.Table) *exposure.Table {
	if !slices.ContainsFunc(t.Chains, func(c *exposure.Chain) bool { return xt.OwnChain(c.Name) }) {
		return t
	}
	return copied(t, nil)
}

// copied is a copy of a table without our chains, and with more rules before those of its base
// chains.
func copied(t *exposure.Table, first map[string][]*exposure.Rule) *exposure.Table {
	out := &exposure.Table{
		System: t.System, Family: t.Family, Name: t.Name, Dormant: t.Dormant,
		Sets: t.Sets, Others: t.Others, Origin: t.Origin,
	}
	for _, c := range t.Chains {
		if xt.OwnChain(c.Name) {
			continue
		}
		to := out.AddChain(&exposure.Chain{Name: c.Name, Base: c.Base, Origin: c.Origin})
		for _, r := range first[c.Name] {
			to.AddRule(r)
		}
		for _, r := range c.Rules {
			if leadsToOurs(r) {
				continue
			}
			same := *r
			same.Number = len(to.Rules) + 1
			to.AddRule(&same)
		}
	}
	return out
}

// leadsToOurs reports whether a rule leads to one of our chains.
func leadsToOurs(r *exposure.Rule) bool {
	return slices.ContainsFunc(r.Statements, func(s exposure.Statement) bool {
		v, ok := s.(exposure.Verdict)
		return ok && xt.OwnChain(v.Chain)
	})
}

// prioritySecurityNFT is where iptables-nft hooks in table security (iptables/nft.c, xtables_ipv4);
// legacy's is at exposure.PrioritySecurity.
const prioritySecurityNFT = 150

// addIPTables adds our part of iptables' tables.
func addIPTables(rs *exposure.Ruleset, want xt.Rendering, now time.Time) error {
	sets := xtables.NewSets()
	for _, s := range want.Sets {
		if s.Elements == nil && s.Sources.Len() > 0 {
			sets.AddSources(s.Name, s.Header, exposure.SourcesOf(s.Sources, s.Family))
			continue
		}
		if err := sets.AddElements(s.Name, s.Header, s.Elements, now); err != nil {
			return fmt.Errorf("the ipsets that would be written: %w", err)
		}
	}
	for _, x := range want.Tables {
		ours := &exposure.Ruleset{}
		family, system := exposure.FamilyIPv4, exposure.NFTables
		if x.Family == address.IPv6 {
			family = exposure.FamilyIPv6
		}
		if x.Legacy {
			system = exposure.XTables
		}
		name := fmt.Sprintf("table %s %s as it would be written", family, x.Name)
		if err := xtables.ReadWritten(name, family, x.Text, sets, ours); err != nil {
			return err
		}
		for _, t := range ours.Tables {
			t.System = system
			for _, c := range t.Chains {
				if c.Base != nil && t.Name == "security" && !x.Legacy {
					c.Base.Priority = prioritySecurityNFT
				}
			}
			addTable(rs, t)
		}
	}
	return nil
}

// addTable adds our part of a table to what others have in it.
func addTable(rs *exposure.Ruleset, ours *exposure.Table) {
	n := slices.IndexFunc(rs.Tables, func(t *exposure.Table) bool {
		return t.System == ours.System && t.Family == ours.Family && t.Name == ours.Name
	})
	if n < 0 {
		for _, c := range ours.Chains {
			if c.Base != nil {
				registerNow(rs, c.Base)
			}
		}
		rs.AddTable(ours)
		return
	}
	first := map[string][]*exposure.Rule{}
	for _, c := range ours.Chains {
		if c.Base != nil {
			first[c.Name] = c.Rules
		}
	}
	out := copied(rs.Tables[n], first)
	for _, c := range ours.Chains {
		if c.Base == nil {
			out.AddChain(c)
		} else if out.Chain(c.Name) == nil {
			registerNow(rs, c.Base)
			out.AddChain(c)
		}
	}
	rs.Tables[n] = out
}
