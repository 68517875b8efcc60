package xt

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// OwnChain reports whether a chain bears a name of ours.
func OwnChain(name string) bool { return ours(name) }

// Rendering is the rules that enforce a State, as the host's programs would print them.
type Rendering struct {
	Tables []RenderedTable
	Sets   []RenderedSet
}

// RenderedTable is our part of a table.
type RenderedTable struct {
	Legacy bool // of legacy x_tables, not of nf_tables
	Family address.Family
	Name   string
	// Text is in the format of iptables-save, with the built-in chains that lead to ours.
	Text []byte
}

// RenderedSet is an ipset.
type RenderedSet struct {
	Name   string
	Header string // what stands behind its name in a line "create"
	Family address.Family
	// Sources are its elements, if it holds nothing else.
	Sources address.Set
	// Elements are those of other sets, as they stand behind the name in a line "add".
	Elements []string
}

// Render is the rules that enforce a State on a host whose rules were seen. It is pure.
func Render(want firewall.State, seen firewall.Observation, now time.Time) (*Rendering, error) {
	o, ok := seen.(observation)
	if !ok {
		return nil, fmt.Errorf("xt: a %T is not an observation of this backend", seen)
	}
	if err := errors.Join(limitErrors(want, o.host, now)...); err != nil {
		return nil, err
	}
	r := compile(want, now, slots{}, o.host)
	out := &Rendering{}
	for _, k := range keys(r, newRuleset()) {
		out.Tables = append(out.Tables, RenderedTable{
			Legacy: k.variant == legacy,
			Family: k.family,
			Name:   k.name,
			Text:   r.tables[k].text(k.name),
		})
	}
	for _, name := range sortedKeys(r.sets) {
		out.Sets = append(out.Sets, r.sets[name].rendered(now))
	}
	return out, nil
}

// text is the table as iptables-save prints it.
func (t *table) text(name string) []byte {
	var s iptsave.Script
	s.Begin(name)
	hooks, chains := sortedKeys(t.hooks), sortedKeys(t.chains)
	for _, c := range hooks {
		s = fmt.Appendf(s, ":%s ACCEPT [0:0]\n", c)
	}
	for _, c := range chains {
		s.Declare(c)
	}
	for _, c := range hooks {
		for _, h := range t.hooks[c] {
			s.Append(c, firewall.Counter{}, h.rule.text)
		}
	}
	for _, c := range chains {
		for _, r := range t.chains[c].rules {
			s.Append(c, firewall.Counter{}, r.text)
		}
	}
	s.Commit()
	return s
}

func (s *set) rendered(now time.Time) RenderedSet {
	var script iptsave.Script
	script.CreateSet(s.name, setType(s.kind, s.family, s.elements.len()))
	out := RenderedSet{
		Name:   s.name,
		Header: string(slices.Clip(script[len("create ")+len(s.name)+1 : len(script)-1])),
		Family: s.family,
	}
	if l, simple := s.elements.(lasting); simple {
		out.Sources = l.sources
		return out
	}
	for e := range s.elements.all() {
		text := e.prefix.String()
		if e.protocol != 0 {
			text = fmt.Sprintf("%s,%s:%d", e.prefix.Addr(), e.protocol, e.port)
		}
		if !e.until.IsZero() {
			text += fmt.Sprintf(" timeout %d", max(1, int(e.until.Sub(now).Seconds())))
		}
		out.Elements = append(out.Elements, text)
	}
	return out
}
