package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/cmd/portgrave/daemon"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/systemd/installer"
)

// Whatever a verb prints with -o json, a list in it is [] when it is empty, and never null. Each
// result is tried with nothing in it, and with one element without anything in each of its lists.
func TestListsAreNeverNull(t *testing.T) {
	for _, result := range []any{
		checkResult{}, host.Difference{}, host.Applied{}, host.Confirmed{}, host.Opened{}, host.Closed{},
		host.Leases{}, host.History{}, host.TornDown{}, host.Booted{}, host.LastBooted("", ""), statusResult{},
		audit.Explanation{}, installer.Result{}, api.Reloaded{}, daemon.Event{},
		struct {
			Events  []daemon.Event `json:"events"`
			Unknown []unknownRule  `json:"unknown"`
		}{},
	} {
		for _, v := range []any{result, oneOfEach(reflect.ValueOf(result), 6).Interface()} {
			var out bytes.Buffer
			s := &screen{out: &output{to: &out}}
			if err := s.object(v); err != nil {
				t.Fatalf("%T: %v", v, err)
			}
			wantLists(t, fmt.Sprintf("%T", v), reflect.TypeOf(v), out.Bytes())
		}
	}
	report := oneOfEach(reflect.ValueOf(audit.Report{}), 6).Interface().(audit.Report)
	for _, r := range []audit.Report{{}, report} {
		var out bytes.Buffer
		if err := writeReport(&out, r); err != nil {
			t.Fatal(err)
		}
		wantLists(t, "audit.Report", reflect.TypeOf(r), out.Bytes())
	}
}

func marshalsItself(t reflect.Type) bool {
	_, ok := reflect.New(t).Interface().(json.Marshaler)
	return ok
}

// oneOfEach is a value with one element in each of its lists, and something behind each pointer.
func oneOfEach(v reflect.Value, depth int) reflect.Value {
	t := v.Type()
	if depth == 0 || marshalsItself(t) {
		return v
	}
	out := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			if t.Field(i).IsExported() {
				out.Field(i).Set(oneOfEach(v.Field(i), depth-1))
			}
		}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return v
		}
		out.Set(reflect.Append(out, oneOfEach(reflect.Zero(t.Elem()), depth-1)))
	case reflect.Pointer:
		out.Set(reflect.New(t.Elem()))
		out.Elem().Set(oneOfEach(reflect.Zero(t.Elem()), depth-1))
	default:
		return v
	}
	return out
}

// wantLists fails for each list of a type that is null in its JSON.
func wantLists(t *testing.T, path string, typ reflect.Type, text []byte) {
	t.Helper()
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if marshalsItself(typ) {
		return
	}
	isNull := string(bytes.TrimSpace(text)) == "null"
	switch typ.Kind() {
	case reflect.Slice:
		if isNull {
			t.Errorf("%s is null", path)
		}
		var items []json.RawMessage
		if typ.Elem().Kind() != reflect.Uint8 && json.Unmarshal(text, &items) == nil {
			for i, item := range items {
				wantLists(t, fmt.Sprintf("%s[%d]", path, i), typ.Elem(), item)
			}
		}
	case reflect.Struct:
		var object map[string]json.RawMessage
		if isNull || json.Unmarshal(text, &object) != nil {
			return
		}
		for _, f := range reflect.VisibleFields(typ) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if member, there := object[name]; there && !f.Anonymous {
				wantLists(t, path+"."+name, f.Type, member)
			}
		}
	}
}
