package nftjson

import (
	"fmt"
	"iter"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// row is a map's data for an element: a verdict, or parts that are each a value or a range.
type row struct {
	verdict *exposure.Verdict
	parts   []exposure.Range
}

// fill adds elements. One that can't be read makes the whole set unknown.
func (s *set) fill(list iter.Seq[any]) {
	s.add(list)
	s.finish()
}

func (s *set) add(list iter.Seq[any]) {
	s.unfinished = true
	for e := range list {
		if tooDeep(e, maxDepth) {
			s.model.Unknown = "an element nested too deeply to read"
			break
		}
		if err := s.element(e); err != nil && s.model.Unknown == "" {
			s.model.Unknown = err.Error()
			s.wrong = s.impossible(e)
		}
	}
}

// impossible says what is wrong about an element that wasn't understood.
func (s *set) impossible(e any) string {
	if pair, ok := e.([]any); ok && s.isMap && len(pair) == 2 {
		if why := impossibleTuple(s.dataKinds, pair[1]); why != "" {
			return why
		}
		e = pair[0]
	}
	return impossibleTuple(s.kinds, e)
}

func (s *set) element(e any) error {
	key, data := e, any(nil)
	if s.isMap {
		pair, ok := e.([]any)
		if !ok || len(pair) != 2 {
			return fmt.Errorf("%s is no pair of key and value", text(e))
		}
		key, data = pair[0], pair[1]
	}
	var note exposure.Note
	if m, ok := key.(map[string]any); ok {
		if inner, ok := m["elem"].(map[string]any); ok {
			key = inner["val"]
			note = noteOf(inner)
		}
	}
	var d row
	if s.isMap {
		var err error
		if d, err = s.data(data); err != nil {
			return err
		}
	}
	if key == "*" { // catch-all
		if s.isMap {
			own := d // on the heap, unlike d
			s.fallback = &own
			return nil
		}
		for _, kind := range s.kinds {
			s.keys.add(exposure.Full(widthOf(kind)))
		}
		return nil
	}
	var buffer [4]exposure.Range
	box, ok := s.box(key, buffer[:0])
	if !ok {
		return fmt.Errorf("its element %s has no model", text(key))
	}
	if note != (exposure.Note{}) {
		if s.model.Notes == nil {
			s.model.Notes = map[int]exposure.Note{}
		}
		s.model.Notes[s.model.Len()+s.keys.n/len(s.kinds)] = note
	}
	for _, r := range box {
		s.keys.add(r)
	}
	if s.isMap {
		s.rows.add(d)
	}
	return nil
}

func noteOf(inner map[string]any) exposure.Note {
	n := exposure.Note{Comment: textOf(inner["comment"])}
	var conditions []map[string]any
	// nft 1.0 prints it beside the value
	for _, name := range []string{"limit", "quota", "ct count"} {
		if v, ok := inner[name]; ok {
			conditions = append(conditions, map[string]any{name: v})
		}
	}
	for _, v := range listOf(inner["stmt"]) { // nft 1.1 prints a list
		if m, ok := v.(map[string]any); ok {
			conditions = append(conditions, m)
		}
	}
	n.Condition = conditionOf(conditions).text
	return n
}

// box reads a key: a range for each column, appended to box.
func (s *set) box(key any, box []exposure.Range) ([]exposure.Range, bool) {
	one := [1]any{key}
	parts := one[:]
	if m, ok := key.(map[string]any); ok {
		if list, ok := m["concat"].([]any); ok {
			parts = list
		}
	}
	if len(parts) != len(s.kinds) {
		return nil, false
	}
	for i, p := range parts {
		r, ok := rangeOf(s.kinds[i], p)
		if !ok {
			return nil, false
		}
		box = append(box, r)
	}
	return box, true
}

// data reads a map's data for an element.
func (s *set) data(v any) (row, error) {
	m, _ := v.(map[string]any)
	if verdict, ok := verdictOf(m); ok {
		return row{verdict: s.shared(verdict)}, nil
	}
	parts := []any{v}
	if list, ok := m["concat"].([]any); ok {
		parts = list
	}
	var d row
	for i, p := range parts {
		kind := ""
		if i < len(s.dataKinds) {
			kind = s.dataKinds[i]
		}
		r, ok := rangeOf(kind, p)
		if !ok {
			return row{}, fmt.Errorf("its value %s has no model", text(v))
		}
		d.parts = append(d.parts, r)
	}
	return d, nil
}

// maxSharedVerdicts is the most verdicts that the elements of a map share.
const maxSharedVerdicts = 1024

// shared is a verdict that equal ones share: a million elements mostly have one of a few.
func (s *set) shared(v exposure.Verdict) *exposure.Verdict {
	if known := s.verdicts[v]; known != nil {
		return known
	}
	if s.verdicts == nil {
		s.verdicts = map[exposure.Verdict]*exposure.Verdict{}
	}
	own := v // on the heap, unlike v
	if len(s.verdicts) < maxSharedVerdicts {
		s.verdicts[v] = &own
	}
	return &own
}

// finish stores a map's data in columns: one for each part or, if a value is a range, two, first
// and last.
func (s *set) finish() {
	s.unfinished = false
	s.model.Keys = s.keys.moveTo(s.model.Keys)
	if !s.isMap {
		return
	}
	s.model.Verdicts, s.model.Data, s.model.DataWidth, s.model.Default = nil, nil, 0, false
	if s.model.Unknown != "" {
		return
	}
	rows := s.rows.n
	all := s.rows.all()
	if s.fallback != nil {
		rows++
		all = func(yield func(*row) bool) {
			for d := range s.rows.all() {
				if !yield(d) {
					return
				}
			}
			yield(s.fallback)
		}
	}
	if rows == 0 {
		if len(s.dataKinds) > 0 && s.dataKinds[0] != "verdict" {
			s.model.DataWidth = len(s.dataKinds)
		}
		return
	}
	ranged := false
	var first *row
	for d := range all {
		if first == nil {
			first = d
		}
		if (d.verdict == nil) != (first.verdict == nil) || len(d.parts) != len(first.parts) {
			s.model.Unknown = "its values are of several kinds"
			return
		}
		for _, p := range d.parts {
			ranged = ranged || p.From != p.To
		}
	}
	s.model.Default = s.fallback != nil
	if first.verdict != nil {
		s.model.Verdicts = make([]exposure.Verdict, 0, rows)
	} else if n := len(first.parts); ranged {
		s.model.Data = make([]exposure.Value, 0, 2*n*rows)
	} else {
		s.model.Data = make([]exposure.Value, 0, n*rows)
	}
	for d := range all {
		if d.verdict != nil {
			s.model.Verdicts = append(s.model.Verdicts, *d.verdict)
			continue
		}
		for _, p := range d.parts {
			s.model.Data = append(s.model.Data, p.From)
			if ranged {
				s.model.Data = append(s.model.Data, p.To)
			}
		}
	}
	if first.verdict == nil {
		s.model.DataWidth = len(s.model.Data) / rows
	}
}
