package nftjson

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// set is a set or map, with the kinds of its columns.
type set struct {
	model     *exposure.Set
	kinds     []string
	dataKinds []string // "" if unknown, as in anonymous maps
	isMap     bool
	// condition is what the set attaches to each new element: "limit rate …".
	condition condition
	// keys of elements added since finish, and all rows of a map: see finish.
	keys       collected[exposure.Range]
	rows       collected[row]
	fallback   *row   // the catch-all
	unfinished bool   // elements were added since finish
	wrong      string // why nft wouldn't load an element; "" if nothing is known

	verdicts map[exposure.Verdict]*exposure.Verdict // see shared
}

// Set is the declaration of a set or map.
type Set struct {
	Place
	Type, Map any
	IsMap     bool `json:"-"`
	Size      int
	Flags     any // a flag or a list of them
	Stmt      []map[string]any
	Line      int `json:"-"`
}

// AddSet adds a set or a map.
func (d *Document) AddSet(in Set) error {
	t, err := d.find("set", in.Place)
	if err != nil {
		return err
	}
	if t.sets[in.Name] != nil {
		return fmt.Errorf("set %s %s %s is there twice", in.Family, in.Table, in.Name)
	}
	if tooDeep(in.Type, maxDepth) || tooDeep(in.Map, maxDepth) || tooDeep(in.Stmt, maxDepth) {
		return fmt.Errorf(
			"set %s %s %s is nested deeper than nft nests", in.Family, in.Table, in.Name,
		)
	}
	s := &set{
		kinds:     kindsOfType(in.Type),
		dataKinds: kindsOfType(in.Map),
		isMap:     in.IsMap,
		condition: conditionOf(in.Stmt),
	}
	s.model = &exposure.Set{
		Name:    in.Name,
		Columns: s.kinds,
		Width:   len(s.kinds),
		Size:    max(in.Size, 0),
		Origin:  d.origin(in.Line),
	}
	for _, flag := range listOf(in.Flags) {
		s.model.Grows = s.model.Grows || flag == "dynamic"
	}
	t.sets[in.Name] = s
	t.Sets = append(t.Sets, s.model)
	if len(s.kinds) == 0 {
		s.model.Width = 1
		s.model.Unknown = fmt.Sprintf("a set of type %s has no model", text(in.Type))
		return nil
	}
	s.finish()
	return nil
}

// addSet adds a "set" or "map" object with its elements.
func (d *Document) addSet(o object) error {
	o, list := o.without("elem")
	in := Set{IsMap: o.kind == "map"}
	if err := o.decode(&in); err != nil {
		return err
	}
	if err := d.AddSet(in); err != nil {
		return &positionError{o.offset, err}
	}
	return d.addLists(o, in.Place, list)
}

// addElements adds an "element" object to its set. Most versions print elements within the set.
func (d *Document) addElements(o object) error {
	o, list := o.without("elem")
	var at Place
	if err := o.decode(&at); err != nil {
		return err
	}
	return d.addLists(o, at, list)
}

// addLists adds the elements of a list, decoded in portions.
func (d *Document) addLists(o object, at Place, list []byte) error {
	for part, err := range o.decodedLists(list) {
		if err != nil {
			return err
		}
		if err := d.AddElements(at, slices.Values(part)); err != nil {
			return &positionError{o.offset, err}
		}
	}
	return nil
}

// AddElements adds elements to an existing set.
func (d *Document) AddElements(in Place, list iter.Seq[any]) error {
	t, err := d.find("element", in)
	if err != nil {
		return err
	}
	s := t.sets[in.Name]
	if s == nil {
		return fmt.Errorf(
			"elements of set %s %s %s, which isn't in the listing: is something cut out?",
			in.Family, in.Table, in.Name,
		)
	}
	if len(s.kinds) > 0 {
		if s.add(list); s.wrong != "" {
			return fmt.Errorf("set %s %s %s: %s", in.Family, in.Table, in.Name, s.wrong)
		}
		if n := len(d.filled); n == 0 || d.filled[n-1] != s {
			d.filled = append(d.filled, s)
		}
	}
	return nil
}

// finishSets finishes the sets that elements were added to, once for many commands with an element
// each.
func (d *Document) finishSets() {
	for _, s := range d.filled {
		if s.unfinished {
			s.finish()
		}
	}
	d.filled = nil
}

// kindsOfType reads the type of a set: "ipv4_addr", ["ipv4_addr", "inet_service"], "ipv4_addr .
// inet_service", or from nft 1.1 on {"typeof": expression}. nil if it has no model.
func kindsOfType(v any) []string {
	switch v := v.(type) {
	case string:
		return strings.Split(v, " . ")
	case []any:
		var out []string
		for _, x := range v {
			out = append(out, kindsOfType(x)...)
		}
		return out
	case map[string]any:
		if of, ok := v["typeof"]; ok {
			r := ruleReader{table: &table{Table: &exposure.Table{}}}
			kinds := kindsOf(r.key(of))
			for _, k := range kinds {
				if k == "" {
					return nil
				}
			}
			return kinds
		}
	}
	return nil
}

// condition is an element's unknown condition: the text of its statements, and the first one's
// rate. Both are zero if the statements only count.
type condition struct {
	text string
	rate exposure.Rate
}

// conditionOf joins the conditions among an element's statements.
func conditionOf(statements []map[string]any) condition {
	var out condition
	var words []string
	for _, s := range statements {
		for name := range s {
			if name != "counter" && name != "last" {
				if words == nil {
					out.rate = rateOf(s)
				}
				words = append(words, text(s))
			}
		}
	}
	out.text = strings.Join(words, " ")
	return out
}
