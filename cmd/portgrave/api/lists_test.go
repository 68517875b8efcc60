package api

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
)

func TestWithLists(t *testing.T) {
	type Inner struct {
		Names []string          `json:"names"`
		Bytes []byte            `json:"bytes"`
		Map   map[string]string `json:"map"`
	}
	type outer struct {
		Inner
		Inners  []Inner            `json:"inners"`
		Pointer *Inner             `json:"pointer"`
		Any     any                `json:"any"`
		Rest    []string           `json:"rest,omitempty"`
		Sources address.Set        `json:"sources"`
		At      time.Time          `json:"at"`
		ByName  map[string][]Inner `json:"by_name"`
		hidden  []string
	}
	at := time.Unix(0, 0).UTC()
	for _, x := range []struct {
		value any
		want  string
	}{
		{nil, `null`},
		{[]string(nil), `[]`},
		{map[string]any{"a": []int(nil), "b": nil}, `{"a":[],"b":null}`},
		{(*Inner)(nil), `null`},
		{&Inner{}, `{"names":[],"bytes":null,"map":null}`},
		{
			outer{At: at, hidden: nil},
			`{"names":[],"bytes":null,"map":null,"inners":[],"pointer":null,"any":null,` +
				`"sources":[],"at":"1970-01-01T00:00:00Z","by_name":null}`,
		},
		{
			outer{At: at, Inners: make([]Inner, 1), Pointer: &Inner{}, Any: Inner{Names: []string{"x"}},
				ByName: map[string][]Inner{"a": nil}},
			`{"names":[],"bytes":null,"map":null,"inners":[{"names":[],"bytes":null,"map":null}],` +
				`"pointer":{"names":[],"bytes":null,"map":null},` +
				`"any":{"names":["x"],"bytes":null,"map":null},` +
				`"sources":[],"at":"1970-01-01T00:00:00Z","by_name":{"a":[]}}`,
		},
	} {
		got, err := json.Marshal(WithLists(x.value))
		if err != nil || string(got) != x.want {
			t.Errorf("%s (%v), want\n%s", got, err, x.want)
		}
	}
	given := outer{Inners: make([]Inner, 1)}
	WithLists(given)
	if given.Names != nil || given.Inners[0].Names != nil {
		t.Error("the value itself was changed")
	}
}
