package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/host"
)

// decode reads exactly one JSON object, or nothing. A key that it does not know may be one that
// restricts the request.
func decode(body []byte, q any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	err := d.Decode(q)
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return host.Usagef("the request is not JSON: it breaks off")
	case errors.As(err, &syntax):
		return host.Usagef("the request is not JSON: %w, at byte %d", err, syntax.Offset)
	case err != nil:
		return host.UsageError{Err: mistake(body, reflect.TypeOf(q).Elem(), err)}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return host.Usagef("the request: something follows the object")
	}
	return nil
}

// mistake says which key of a request has a value that the decoder refused, and what it takes: the
// decoder's own words name types of this program, or no key at all.
func mistake(body []byte, request reflect.Type, refused error) error {
	var first json.RawMessage
	if json.NewDecoder(bytes.NewReader(body)).Decode(&first) == nil {
		if err := misfit("", first, request); err != nil {
			return err
		}
	}
	return fmt.Errorf("the request: %w", refused)
}

// misfit is the first mistake in a value at a path that should be of a type; nil if there is none.
func misfit(path string, value json.RawMessage, t reflect.Type) error {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	err := json.Unmarshal(value, reflect.New(t).Interface())
	switch {
	case readsItself(t):
	case t.Kind() == reflect.Struct:
		return misfitInObject(path, value, t)
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		var items []json.RawMessage
		if json.Unmarshal(value, &items) != nil {
			break
		}
		for i, item := range items {
			if err := misfit(fmt.Sprintf("%s[%d]", path, i), item, t.Elem()); err != nil {
				return err
			}
		}
		return nil
	}
	if err == nil {
		return nil
	}
	return takes(path, value, t, err)
}

func misfitInObject(path string, value json.RawMessage, t reflect.Type) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(value, &object); err != nil {
		return takes(path, value, t, err)
	}
	keys := map[string]reflect.Type{}
	var known []string
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.Anonymous && name != "" && name != "-" {
			keys[name], known = f.Type, append(known, name)
		}
	}
	slices.Sort(known)
	var given []string
	for key := range object {
		given = append(given, key)
	}
	slices.Sort(given)
	for _, key := range given {
		// Like the decoder, which takes "Force" for "force".
		i := slices.IndexFunc(known, func(name string) bool { return strings.EqualFold(name, key) })
		if i < 0 {
			return fmt.Errorf("the request: unknown key %q%s; known are %s", key, inside(path),
				strings.Join(known, ", "))
		}
		below := strings.TrimPrefix(path+"."+known[i], ".")
		if err := misfit(below, object[key], keys[known[i]]); err != nil {
			return err
		}
	}
	return nil
}

func inside(path string) string {
	if path == "" {
		return ""
	}
	return " in " + path
}

// readsItself reports whether a type has its own form in JSON.
func readsItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) ||
		p.Implements(reflect.TypeFor[interface{ UnmarshalText([]byte) error }]())
}

// maxShownValue is how many bytes of a wrong value a message shows.
const maxShownValue = 60

// takes says what the value at a path has to be. Types of ours say themselves what is wrong with
// one that has the right form.
func takes(path string, value json.RawMessage, t reflect.Type, err error) error {
	var form *json.UnmarshalTypeError
	words, known := typeWords[t]
	if !known && !errors.As(err, &form) {
		return fmt.Errorf("the request: %s: %w", path, err)
	}
	if !known {
		words = kindWords(t)
	}
	if len(value) > maxShownValue {
		value = append(slices.Clone(value[:maxShownValue]), "…"...)
	}
	where := "the request"
	if path != "" {
		where += ": " + path
	}
	return fmt.Errorf("%s takes %s, not %s", where, words, strings.ToValidUTF8(string(value), ""))
}

// typeWords are the types whose form is not that of their kind.
var typeWords = map[reflect.Type]string{
	reflect.TypeFor[[]byte]():                  `a text in base64`,
	reflect.TypeFor[netip.AddrPort]():          `an address and port such as "192.0.2.1:22"`,
	reflect.TypeFor[netip.Prefix]():            `a CIDR such as "10.0.0.0/8"`,
	reflect.TypeFor[address.Set]():             `a list of CIDRs such as ["10.0.0.0/8"]`,
	reflect.TypeFor[time.Time]():               `a time such as "2027-01-31T12:00:00Z"`,
	reflect.TypeFor[firewall.Essentials]():     `a list of names such as ["echo"]`,
	reflect.TypeFor[firewall.PortRange]():      `an object with protocol, first and last`,
	reflect.TypeFor[firewall.Protocol]():       `the name of a protocol such as "tcp"`,
	reflect.TypeFor[firewall.VirtualService](): `a text such as "tcp/10.96.0.1:443"`,
}

// kindWords is what a value of a kind is in JSON.
func kindWords(t reflect.Type) string {
	switch k := t.Kind(); k {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return fmt.Sprintf("a whole number from 0 to %d", uint64(1)<<t.Bits()-1)
	case reflect.Slice:
		return "a list"
	}
	return "an object"
}
