package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Schema returns the JSON Schema (draft 2020-12) of a policy file, indented. It accepts what Read
// accepts, except that only Read checks what depends on several values, such as references between
// names and ports claimed twice.
func Schema() []byte {
	s := policyShape.schema()
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "Portgrave policy"
	s["description"] = languageDoc
	text, err := encode(s, "  ")
	if err != nil {
		// Only strings, numbers, lists and maps are in the schema.
		panic(fmt.Sprintf("policy: the schema can't be encoded: %v", err))
	}
	return text
}

func encode(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // patterns stay readable
	e.SetIndent("", indent)
	err := e.Encode(v)
	return b.Bytes(), err
}

// orderedProperties are the properties of an object in the order of the language. Editors and the
// manual use that order.
type orderedProperties []property

type property struct {
	name   string
	schema map[string]any
}

func (o orderedProperties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, p := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := encode(p.name, "")
		if err != nil {
			return nil, err
		}
		text, err := encode(p.schema, "")
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(text)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
