package nftjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// ReadJSON reads the output of one or several `nft -j list ruleset` and adds the tables to rs.
// Errors and origins contain name.
//
//	{"nftables": [{"metainfo": {…}}, {"table": {…}}, {"chain": {…}}, {"rule": {…}}, …]}
//
// Errors read "name:line:column: what is wrong, and what to do". After an error, rs is unchanged.
func ReadJSON(name string, r io.Reader, rs *exposure.Ruleset) error {
	text, err := exposure.ReadText(name, r,
		"list the tables that matter one by one (`nft -j list table …`)")
	if err != nil {
		return err
	}
	objects, err := objectsOf(text)
	if err == nil {
		err = build(name, objects, rs)
	}
	if err != nil {
		offset := int64(0)
		if at := (*positionError)(nil); errors.As(err, &at) {
			offset = at.offset
		}
		line, column := position(text, offset)
		return fmt.Errorf("%s:%d:%d: %w", name, line, column, err)
	}
	return nil
}

// object is one member of the list: {"rule": {…}}.
type object struct {
	kind   string
	body   json.RawMessage
	offset int64
}

type positionError struct {
	offset int64
	err    error
}

func (e *positionError) Error() string { return e.err.Error() }
func (e *positionError) Unwrap() error { return e.err }

func (o object) errorf(format string, args ...any) error {
	return &positionError{o.offset, fmt.Errorf(format, args...)}
}

// decode reads the body. Numbers stay as written.
func (o object) decode(into any) error {
	d := json.NewDecoder(bytes.NewReader(o.body))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return o.errorf("%s: %w", o.kind, err)
	}
	return nil
}

const notListing = "this is no output of `nft -j list ruleset`"

// objectsOf returns the objects of all listings in a text.
func objectsOf(text []byte) (out []object, err error) {
	for at := 0; ; {
		end := min(skipValue(text, at), len(text)) // it may end within a string
		list, err := listingOf(text[at:end])
		if err != nil {
			if wrong := (*positionError)(nil); errors.As(err, &wrong) {
				wrong.offset += int64(at)
			}
			return nil, err
		}
		for i := range list {
			list[i].offset += int64(at)
		}
		out = append(out, list...)
		if at = skipSpace(text, end); at == len(text) {
			return out, nil
		}
		if text[at] != '{' {
			return nil, &positionError{
				int64(at),
				errors.New("this follows the listing and isn't a listing: " +
					"leave it out, or give it as a file of its own"),
			}
		}
	}
}

// listingOf returns the objects of one listing.
func listingOf(text []byte) ([]object, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	fail := func(err error) ([]object, error) {
		offset := d.InputOffset()
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			// A Decoder's offset counts from the current value, Unmarshal's from the beginning.
			if whole := json.Unmarshal(text, &json.RawMessage{}); errors.As(whole, &syntax) {
				offset = max(syntax.Offset-1, 0)
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("it ends in the middle: is it cut off? Take it again")
			offset = int64(len(text))
		}
		return nil, &positionError{offset, err}
	}
	for _, want := range []json.Token{json.Delim('{'), "nftables", json.Delim('[')} {
		got, err := d.Token()
		if err != nil {
			return fail(err)
		}
		if got != want {
			return fail(fmt.Errorf("%s: found %v instead of %v", notListing, got, want))
		}
	}
	if out, ok := slicedObjects(text); ok {
		return out, nil
	}
	var out []object
	for d.More() {
		start := d.InputOffset()
		var member map[string]json.RawMessage
		if err := d.Decode(&member); err != nil {
			return fail(err)
		}
		if len(member) != 1 {
			return fail(
				fmt.Errorf(
					"%s: an object with %d names, where there has to be one", notListing,
					len(member),
				),
			)
		}
		for kind, body := range member {
			out = append(out, object{kind, body, start})
		}
	}
	for range 2 {
		if _, err := d.Token(); err != nil {
			return fail(err)
		}
	}
	return out, nil
}

// position turns an offset into line and column, from 1.
func position(text []byte, offset int64) (line, column int) {
	before := text[:min(max(offset, 0), int64(len(text)))]
	line = 1 + bytes.Count(before, []byte("\n"))
	return line, len(before) - bytes.LastIndexByte(before, '\n')
}
