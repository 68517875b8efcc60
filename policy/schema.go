package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Schema is the JSON Schema (draft 2020-12) of a policy file, indented. It accepts what Read
// accepts, as far as one value can be judged without the others: references between names, ports claimed
// twice and the like are Read's alone.
func Schema() []byte {
	s := policyShape.schema()
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "Portgrave policy"
	s["description"] = "Which ports of a Linux host may open to which networks. See portgrave-policy(5)."
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // patterns stay readable
	e.SetIndent("", "  ")
	if err := e.Encode(s); err != nil {
		// Only strings, numbers, lists and maps are in there.
		panic(fmt.Sprintf("policy: the schema can't be encoded: %v", err))
	}
	return b.Bytes()
}
