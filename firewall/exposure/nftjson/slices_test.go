package nftjson

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// A listing cut into slices is the same as one that encoding/json decodes.
func TestSlicedObjects(t *testing.T) {
	texts := map[string]string{
		"none":    `{"nftables": []}`,
		"spaces":  " {\n\t\"nftables\" : [ { \"table\" : { \"name\":\"a\" , \"x\":[1 , 2.5e3,null] } } , {\"rule\":\"]}\\\"{[\"}]\n} ",
		"escaped": `{"nftables":[{"t\u0061ble":{"n\"ame":"\\"}},{"set":{"elem":["a",{"b":[]}]}}]}`,
	}
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = string(text)
	}
	for name, text := range texts {
		got, ok := slicedObjects([]byte(text))
		if !ok {
			t.Errorf("%s: not read", name)
			continue
		}
		var want struct{ Nftables []map[string]json.RawMessage }
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want.Nftables) {
			t.Fatalf("%s: %d objects, not %d", name, len(got), len(want.Nftables))
		}
		for i, o := range got {
			if body := want.Nftables[i][o.kind]; string(body) != string(o.body) {
				t.Errorf("%s: object %d is %s %s, not %s", name, i, o.kind, o.body, body)
			}
		}
	}
	for _, text := range []string{
		``, `{`, `[]`, `{}`, `{"nftables":{}}`, `{"nftables":[],"x":1}`, `{"x":[]}`, `{"nftables":[1]}`,
		`{"nftables":[{}]}`, `{"nftables":[{"a":1,"b":2}]}`, `{"nftables":[]} x`,
	} {
		if got, ok := slicedObjects([]byte(text)); ok {
			t.Errorf("%s: read as %v", text, got)
		}
	}
}

// However many elements there are, each is decoded.
func TestElementsByTheThousand(t *testing.T) {
	for _, n := range []int{0, 1, maxDecoded - 1, maxDecoded, maxDecoded + 1, 3*maxDecoded + 5} {
		var list []string
		want := []exposure.Range{}
		for i := range n {
			list = append(
				list,
				fmt.Sprintf(`{"elem": {"val": "10.%d.%d.1", "comment": "],["}}`, i>>8, i&255),
			)
			want = append(want, exposure.One(exposure.Number(uint64(10<<24+i<<8+1))))
		}
		text := fmt.Sprintf(`{"nftables": [{"table": {"family": "ip", "name": "t"}},
			{"set": {"family": "ip", "table": "t", "name": "s", "elem": [%s], "type": "ipv4_addr"}}]}`, strings.Join(list, ","))
		rs := &exposure.Ruleset{}
		if err := ReadJSON("x", strings.NewReader(text), rs); err != nil {
			t.Fatal(err)
		}
		if s := rs.Tables[0].Sets[0]; s.Unknown != "" ||
			!reflect.DeepEqual(append([]exposure.Range{}, s.Keys...), want) {
			t.Errorf("%d elements: %d are there, %s", n, s.Len(), s.Unknown)
		}
	}
}

func TestTooManyRules(t *testing.T) {
	rule := `,{"rule": {"family": "ip", "table": "t", "chain": "c", "expr": []}}`
	text := `{"nftables": [{"table": {"family": "ip", "name": "t"}}, {"chain": {"family": "ip", "table": "t", "name": "c"}}` +
		strings.Repeat(
			rule,
			exposure.MaxFileRules+1,
		) + `]}`
	err := ReadJSON("x", strings.NewReader(text), &exposure.Ruleset{})
	if err == nil || !strings.Contains(err.Error(), exposure.TooManyRules) {
		t.Error(err)
	}
}

// Names are read in either case, by the part that takes long lists apart too.
func TestNamesInEitherCase(t *testing.T) {
	rest, list := object{body: []byte(`{"Elem":[1],"name":"s"}`)}.without("elem")
	if string(list) != "[1]" || string(rest.body) != `{"name":"s"}` {
		t.Errorf("%s, %s", list, rest.body)
	}
}
