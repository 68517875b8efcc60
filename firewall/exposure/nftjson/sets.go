package nftjson

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// set is a set or map, with the kinds of its columns.
type set struct {
	model     *exposure.Set
	kinds     []string
	dataKinds []string // "" where it isn't known: in anonymous maps
	isMap     bool
	// condition is what every new element gets that can't be known: a set with "limit rate …" of its own.
	condition string
	// rows of a map, until all are there: see finish.
	rows     []row
	fallback *row // the catch-all
}

func (d *document) set(o object) error {
	var in struct {
		place
		Type, Map any
		Size      int
		Flags     any
		Stmt      []map[string]any
	}
	o, list := o.without("elem")
	if err := o.decode(&in); err != nil {
		return err
	}
	t, err := d.find(o, in.place)
	if err != nil {
		return err
	}
	if t.sets[in.Name] != nil {
		return o.errorf("set %s %s %s is there twice", in.Family, in.Table, in.Name)
	}
	if deep(in.Type, mostDepth) || deep(in.Map, mostDepth) || deep(in.Stmt, mostDepth) {
		return o.errorf("set %s %s %s is nested deeper than nft nests", in.Family, in.Table, in.Name)
	}
	s := &set{kinds: kindsOfType(in.Type), dataKinds: kindsOfType(in.Map), isMap: o.kind == "map", condition: conditionOf(in.Stmt)}
	s.model = &exposure.Set{Name: in.Name, Columns: s.kinds, Width: len(s.kinds), Size: max(in.Size, 0), Origin: exposure.Origin{File: d.name}}
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
	return s.fill(o, list)
}

// elements adds an "element" object to its set. Listings have the elements in the set; some versions print them apart.
func (d *document) elements(o object) error {
	var in struct {
		place
	}
	o, list := o.without("elem")
	if err := o.decode(&in); err != nil {
		return err
	}
	t, err := d.find(o, in.place)
	if err != nil {
		return err
	}
	s := t.sets[in.Name]
	if s == nil {
		return o.errorf("elements of set %s %s %s, which isn't in the listing: is something cut out?", in.Family, in.Table, in.Name)
	}
	return s.fill(o, list)
}

// kindsOfType reads the type of a set: "ipv4_addr", ["ipv4_addr", "inet_service"], "ipv4_addr . inet_service", or from nft 1.1 on
// {"typeof": expression}. nil if it has no model.
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

// conditionOf is what statements of an element make of it: nothing for a counter, something that can't be known for a limit.
func conditionOf(statements []map[string]any) string {
	var out []string
	for _, s := range statements {
		for name := range s {
			if name != "counter" && name != "last" {
				out = append(out, text(s))
			}
		}
	}
	return strings.Join(out, " ")
}
