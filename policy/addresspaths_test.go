package policy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// jsonGenerator makes documents with addresses, and with what may stand beside them.
func jsonGenerator(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		kind := rapid.IntRange(0, 9).Draw(t, "kind")
		switch {
		case depth > 0 && kind < 3:
			return rapid.SliceOfN(jsonGenerator(depth-1), 0, 3).Draw(t, "array")
		case depth > 0 && kind < 7:
			names := rapid.SampledFrom([]string{"ip", "prefix", "length", "a", "b-c", "hosts", "",
				"start", "end", "mask", "'", "2"})
			return rapid.MapOfN(names, jsonGenerator(depth-1), 0, 3).Draw(t, "object")
		}
		return rapid.SampledFrom([]any{"192.0.2.0", "192.0.2.7", "2001:db8::", "192.0.2.0/24",
			"192.0.2.0", "192.0.2.7", "255.255.255.0", nil, 24, 32, "DE", ""}).Draw(t, "value")
	})
}

var offeredSelects = regexp.MustCompile(`add select: ("(?:[^"\\]|\\.)*"|\S+)`)

// TestSelectHintsCanBePasted checks that a list is read with the select that a hint offers, without
// addresses that a length or a mask beside them turns into CIDRs.
func TestSelectHintsCanBePasted(t *testing.T) {
	offered := 0
	rapid.Check(t, func(t *rapid.T) {
		var lines []string
		for _, v := range rapid.SliceOfN(jsonGenerator(3), 1, 3).Draw(t, "documents") {
			line, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, string(line))
		}
		text := strings.Join(lines, "\n")
		read := func(selects *selectPath) (listContent, error) {
			o := listReader{name: "list", limit: 1000, selects: selects}
			return o.read(strings.NewReader(text))
		}
		_, err := read(nil)
		found := offeredSelects.FindStringSubmatch(fmt.Sprint(err))
		if found == nil || strings.HasPrefix(found[1], "and") {
			return
		}
		path := found[1]
		if unquoted, err := strconv.Unquote(path); err == nil {
			path = unquoted
		}
		selects, err := parseSelect(path)
		if err != nil {
			t.Fatal(err)
		}
		offered++
		list, err := read(selects)
		if err != nil || list.entries == 0 {
			t.Fatalf("%s in\n%s\nleads to %v", path, text, err)
		}
	})
	if offered == 0 {
		t.Error("no path was offered")
	}
}
