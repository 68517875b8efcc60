package manual

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Language is the manual page of a file format that a JSON Schema describes.
type Language struct {
	Name, Summary string // the page's
	Source        string // program and version
	Schema        []byte
	Example       string   // a whole file
	Chapters      []string // Markdown, as page.markdown takes it
	// Lists are fragments of a file that read what others publish, each with what it is.
	Lists   []Entry
	Files   []Entry
	SeeAlso []string
}

const listsText = "These networks read lists that others publish, in the form that these lists " +
	"have today. A list whose form changes fails, and its last good content stays in force."

// schema is what the page needs of a JSON Schema.
type schema struct {
	Title             string            `json:"title"`
	Description       string            `json:"description"`
	Type              string            `json:"type"`
	Enum              []string          `json:"enum"`
	Default           any               `json:"default"`
	Properties        properties        `json:"properties"`
	PatternProperties map[string]schema `json:"patternProperties"`
	Required          []string          `json:"required"`
	Items             *schema           `json:"items"`
	AnyOf             []schema          `json:"anyOf"`
	OneOf             []schema          `json:"oneOf"` // one of them is required
}

// properties are the keys of an object in the order of the document.
type properties []property

type property struct {
	name   string
	schema schema
}

func (p *properties) UnmarshalJSON(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("properties are no object: %v %w", t, err)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var s schema
		if err := d.Decode(&s); err != nil {
			return err
		}
		*p = append(*p, property{name.(string), s})
	}
	return nil
}

// Page writes the page.
func (l Language) Page(date time.Time) ([]byte, error) {
	var s schema
	if err := json.Unmarshal(l.Schema, &s); err != nil {
		return nil, fmt.Errorf("manual: reading the JSON Schema: %w", err)
	}
	if len(s.Properties) == 0 {
		return nil, fmt.Errorf("manual: the JSON Schema of %s has no properties", l.Name)
	}
	p := newPage(l.Name, 5, date, l.Source, "File Formats Manual", l.Summary)
	p.section("Description")
	p.text(s.Description, true)
	p.section("Keys")
	p.keys(s, "")
	p.section("Example")
	p.verbatim(l.Example, true)
	for _, chapter := range l.Chapters {
		if err := p.markdown(chapter); err != nil {
			return nil, err
		}
	}
	if len(l.Lists) > 0 {
		p.section("Published lists")
		p.text(listsText, true)
	}
	for _, list := range l.Lists {
		p.item(sentence(list.Text), "")
		p.verbatim(list.Term, true)
	}
	p.section("Files")
	for _, f := range l.Files {
		p.item(bold(f.Term), sentence(f.Text))
	}
	p.section("See also")
	p.seeAlso(l.SeeAlso)
	return p.bytes(), nil
}

// keys adds the keys of an object, then, each below a heading of its own, those of the objects in
// them.
func (p *page) keys(s schema, path string) {
	for _, k := range s.Properties {
		text := k.schema.Description
		if w := k.schema.words(); len(k.schema.Enum)+len(k.schema.Properties) == 0 && w != "" &&
			!strings.Contains(strings.ToLower(text), strings.ToLower(w)) {
			text += " The value is " + w + "."
		}
		switch {
		case slices.Contains(s.Required, k.name):
			text += " The key is required."
		case s.alternatives(k.name) != "":
			text += " " + s.alternatives(k.name)
		case k.schema.Default != nil:
			text += fmt.Sprintf(" The default is %s.", shown(k.schema.Default))
		}
		term := bold(k.name + ":")
		if len(k.schema.Enum) > 0 {
			term += " " + italic(strings.Join(k.schema.Enum, " | "))
		}
		p.item(term, text)
	}
	for _, k := range s.Properties {
		for _, o := range k.schema.objects(strings.TrimPrefix(path+"."+k.name, ".")) {
			p.subsection(o.name)
			p.text(capital(o.schema.Title)+" has these keys.", true)
			p.keys(o.schema, o.name)
		}
	}
}

// alternatives names the keys beside this one that exclude each other: exactly one is required.
func (s schema) alternatives(name string) string {
	var names []string
	for _, o := range s.OneOf {
		names = append(names, o.Required...)
	}
	if !slices.Contains(names, name) {
		return ""
	}
	return "Exactly one of " + listed(names, "and") + " is required."
}

// objects are the objects with keys that a value may be made of, with the way to them: services[]
// are the entries of a list, networks.NAME those of a mapping with names of one's own.
func (s schema) objects(path string) (found []property) {
	if len(s.Properties) > 0 {
		return []property{{path, s}}
	}
	for _, a := range s.AnyOf {
		found = append(found, a.objects(path)...)
	}
	if s.Items != nil {
		found = append(found, s.Items.objects(path+"[]")...)
	}
	for _, v := range s.PatternProperties {
		found = append(found, v.objects(path+".NAME")...)
	}
	return found
}

// words say what a value looks like.
func (s schema) words() string {
	switch {
	case len(s.Enum) > 0:
		return listed(s.Enum, "or")
	case s.Type == "object" && len(s.Properties) > 0:
		return s.Title
	case s.Title == "text": // says nothing
		return ""
	case s.Title != "":
		return s.Title
	}
	var all []string
	for _, a := range s.AnyOf {
		w := a.words()
		if n := len(all); n > 0 && strings.HasPrefix(w, all[n-1]) {
			all[n-1] = w // says the same and more
			continue
		}
		all = append(all, w)
	}
	return strings.Join(all, ", or ")
}

// shown is a value as YAML has it.
func shown(v any) string {
	if f, ok := v.(float64); ok {
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprint(v)
}

// listed is a list in a sentence.
func listed(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	n := len(words) - 1
	return strings.Join(words[:n], ", ") + " " + last + " " + words[n]
}

func capital(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	if size == 0 {
		return s
	}
	return string(unicode.ToUpper(r)) + s[size:]
}
