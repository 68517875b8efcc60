package nftjson

import (
	"bytes"
	"encoding/json"
	"iter"
	"strings"
)

// A listing may hold a set of a million elements. encoding/json would copy its text for each level
// of nesting, and build a tree ten times as large. So this file cuts a valid text into slices and
// decodes only a few thousand elements at a time.

// maxDecoded is the most elements of a list that are decoded at a time.
const maxDecoded = 4096

// slicedObjects returns the objects of a listing as slices of its text. It is false for other
// texts; objectsOf then says why.
func slicedObjects(text []byte) ([]object, bool) {
	if !json.Valid(text) {
		return nil, false
	}
	first := true
	var list []byte
	for name, value := range membersOf(text) {
		if !first || name != "nftables" || value.text[0] != '[' {
			return nil, false
		}
		first, list = false, value.text
	}
	if list == nil {
		return nil, false
	}
	base := cap(text) - cap(list) // the list's offset in the text
	var out []object
	before := 1 // the end of the object before
	for v := range valuesOf(list) {
		if v.text[0] != '{' {
			return nil, false
		}
		count := 0
		for kind, body := range membersOf(v.text) {
			out = append(out, object{kind, json.RawMessage(body.text), int64(base + before)})
			count++
		}
		if count != 1 {
			return nil, false
		}
		before = v.at + len(v.text)
	}
	return out, true
}

// slice is a value's text, and its offset in the surrounding text.
type slice struct {
	text []byte
	at   int
}

// valuesOf yields the values of a valid list.
func valuesOf(list []byte) iter.Seq[slice] {
	return func(yield func(slice) bool) {
		for i := skipSpace(list, 1); i < len(list) && list[i] != ']'; {
			end := skipValue(list, i)
			if !yield(slice{list[i:end], i}) {
				return
			}
			if i = skipSpace(list, end); i < len(list) && list[i] == ',' {
				i = skipSpace(list, i+1)
			}
		}
	}
}

// membersOf yields the names and values of a valid object. For other values it yields nothing.
func membersOf(text []byte) iter.Seq2[string, slice] {
	return func(yield func(string, slice) bool) {
		i := skipSpace(text, 0)
		if i >= len(text) || text[i] != '{' {
			return
		}
		for i = skipSpace(text, i+1); i < len(text) && text[i] != '}'; {
			end := skipValue(text, i)
			var name string
			if json.Unmarshal(text[i:end], &name) != nil {
				return
			}
			i = skipSpace(text, skipSpace(text, end)+1) // after the colon
			end = skipValue(text, i)
			if !yield(name, slice{text[i:end], i}) {
				return
			}
			if i = skipSpace(text, end); i < len(text) && text[i] == ',' {
				i = skipSpace(text, i+1)
			}
		}
	}
}

func skipSpace(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\n' || text[i] == '\t' || text[i] == '\r') {
		i++
	}
	return i
}

// skipValue is the end of the value that begins at i.
func skipValue(text []byte, i int) int {
	for depth := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		case ',', ':', ' ', '\n', '\t', '\r':
			continue
		default: // a number or a word
			for i+1 < len(text) && bytes.IndexByte([]byte(",:]} \n\t\r"), text[i+1]) < 0 {
				i++
			}
		}
		if depth == 0 {
			return i + 1
		}
	}
	return len(text)
}

// without removes a member from an object, and returns its value; nil if there is none.
func (o object) without(name string) (object, []byte) {
	rest := []byte{'{'}
	var cut []byte
	for n, v := range membersOf(o.body) {
		if strings.EqualFold(n, name) { // as in encoding/json
			cut = v.text
			continue
		}
		key, _ := json.Marshal(n)
		if len(rest) > 1 {
			rest = append(rest, ',')
		}
		rest = append(append(append(rest, key...), ':'), v.text...)
	}
	if o.body[0] == '{' {
		o.body = append(rest, '}')
	}
	return o, cut
}

// decodedLists yields the values of a list in portions. Another value counts as a list of one, null
// as an empty list.
func (o object) decodedLists(list []byte) iter.Seq2[[]any, error] {
	decode := func(text []byte) ([]any, error) {
		var out []any
		part := o
		part.body = text
		err := part.decode(&out)
		return out, err
	}
	return func(yield func([]any, error) bool) {
		switch {
		case len(list) == 0 || list[0] == 'n':
			return
		case list[0] != '[':
			yield(decode(append(append([]byte{'['}, list...), ']')))
			return
		}
		text := []byte{'['}
		count := 0
		for v := range valuesOf(list) {
			if count == maxDecoded {
				if out, err := decode(append(text, ']')); !yield(out, err) || err != nil {
					return
				}
				text, count = text[:1], 0
			}
			if count++; count > 1 {
				text = append(text, ',')
			}
			text = append(text, v.text...)
		}
		yield(decode(append(text, ']')))
	}
}
