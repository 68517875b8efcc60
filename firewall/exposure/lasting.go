package exposure

// Lasting returns the rules as they are once each element that expires has expired. It is rs itself
// if none does. Data that maps hold keeps its elements.
func (rs *Ruleset) Lasting() *Ruleset {
	return rs.LastingIn(func(*Set) bool { return true })
}

// LastingIn returns the rules as they are once each element that expires has expired in some sets,
// while other sets keep theirs.
func (rs *Ruleset) LastingIn(sets func(*Set) bool) *Ruleset {
	x := lasting{sets: sets, known: map[*Set]*Set{}}
	if !x.any(rs) {
		return rs
	}
	out := &Ruleset{Missing: rs.Missing, Partly: rs.Partly}
	for _, t := range rs.Tables {
		kept := out.AddTable(t.withoutChains())
		for _, c := range t.Chains {
			chain := kept.AddChain(&Chain{Name: c.Name, Base: c.Base, Origin: c.Origin})
			for _, r := range c.Rules {
				rule := *r
				rule.Statements = x.statements(r.Statements)
				chain.AddRule(&rule)
			}
		}
	}
	return out
}

// withoutChains is a copy of a table without its chains.
func (t *Table) withoutChains() *Table {
	return &Table{
		System:  t.System,
		Family:  t.Family,
		Name:    t.Name,
		Dormant: t.Dormant,
		Sets:    t.Sets,
		Others:  t.Others,
		Origin:  t.Origin,
	}
}

// lasting drops the elements that expire.
type lasting struct {
	sets  func(*Set) bool // those that lose theirs
	known map[*Set]*Set   // the sets without these elements, or as they are
}

// any reports whether some set that rules look up has elements which expire.
func (x lasting) any(rs *Ruleset) (found bool) {
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				for _, s := range r.Statements {
					switch s := s.(type) {
					case Match:
						found = x.of(s.In) != s.In || found
					case VerdictMap:
						found = x.of(s.In) != s.In || found
					}
				}
			}
		}
	}
	return found
}

// statements returns statements that look up the lasting elements. It copies them only if some
// differ.
func (x lasting) statements(list []Statement) []Statement {
	var out []Statement
	for i, s := range list {
		var changed Statement
		switch s := s.(type) {
		case Match:
			if in := x.of(s.In); in != s.In {
				s.In = in
				changed = s
			}
		case VerdictMap:
			if in := x.of(s.In); in != s.In {
				s.In = in
				changed = s
			}
		}
		if changed == nil {
			continue
		}
		if out == nil {
			out = append(out, list...)
		}
		out[i] = changed
	}
	if out == nil {
		return list
	}
	return out
}

// of returns a set without the elements that expire, or the set itself if none does.
func (x lasting) of(s *Set) *Set {
	if s == nil || len(s.Notes) == 0 {
		return s
	}
	if known, ok := x.known[s]; ok {
		return known
	}
	x.known[s] = s
	if s.Expires() && x.sets(s) {
		x.known[s] = s.lasting()
	}
	return x.known[s]
}

// Expires reports whether some element of a set expires.
func (s *Set) Expires() bool {
	for _, n := range s.Notes {
		if !n.Expires.IsZero() {
			return true
		}
	}
	return false
}

// lasting is a set without the elements that expire.
func (s *Set) lasting() *Set {
	out := *s
	out.Keys, out.Flat, out.Verdicts, out.Data = nil, Ranges{}, nil, nil
	out.Notes = map[int]Note{}
	for i, box := range s.All() {
		note, noted := s.Notes[i]
		if !note.Expires.IsZero() {
			continue
		}
		if noted {
			out.Notes[out.Len()] = note
		}
		out.Keys = append(out.Keys, box...)
		if i < len(s.Verdicts) {
			out.Verdicts = append(out.Verdicts, s.Verdicts[i])
		}
		if s.DataWidth > 0 {
			out.Data = append(out.Data, s.Row(i)...)
		}
	}
	if s.Default { // the last one
		if n := s.Len(); n < len(s.Verdicts) {
			out.Verdicts = append(out.Verdicts, s.Verdicts[n])
		}
		if s.DataWidth > 0 {
			out.Data = append(out.Data, s.Row(s.Len())...)
		}
	}
	return &out
}
