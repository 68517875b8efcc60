package api

import (
	"encoding"
	"encoding/json"
	"reflect"
)

// WithLists is a value for encoding/json with an empty list wherever a list in it is nil: a list in
// our JSON is [] when there is nothing in it, and never null. The value itself stays as it is.
func WithLists(v any) any {
	if v == nil {
		return nil
	}
	return withLists(reflect.ValueOf(v)).Interface()
}

func withLists(v reflect.Value) reflect.Value {
	t := v.Type()
	if !mayHaveLists(t, nil) {
		return v
	}
	switch t.Kind() {
	case reflect.Interface, reflect.Pointer:
		if v.IsNil() {
			return v
		}
		filled := withLists(v.Elem())
		if t.Kind() == reflect.Interface {
			return filled
		}
		p := reflect.New(t.Elem())
		p.Elem().Set(filled)
		return p
	case reflect.Slice:
		list := reflect.MakeSlice(t, v.Len(), v.Len())
		for i := range v.Len() {
			list.Index(i).Set(withLists(v.Index(i)))
		}
		return list
	case reflect.Map:
		if v.IsNil() {
			return v
		}
		m := reflect.MakeMapWithSize(t, v.Len())
		for i := v.MapRange(); i.Next(); {
			m.SetMapIndex(i.Key(), withLists(i.Value()))
		}
		return m
	}
	s := reflect.New(t).Elem() // a struct
	s.Set(v)
	for i := range t.NumField() {
		if t.Field(i).IsExported() {
			s.Field(i).Set(withLists(v.Field(i)))
		}
	}
	return s
}

// mayHaveLists reports whether values of a type can hold a list that encoding/json writes. above
// are the types that it is part of.
func mayHaveLists(t reflect.Type, above []reflect.Type) bool {
	for _, a := range above {
		if a == t {
			return false
		}
	}
	above = append(above, t)
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Slice:
		return t.Elem().Kind() != reflect.Uint8 && !writesItself(t) // else text in base64
	case reflect.Pointer, reflect.Map:
		return !writesItself(t) && mayHaveLists(t.Elem(), above)
	case reflect.Struct:
		if writesItself(t) {
			return false
		}
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && mayHaveLists(f.Type, above) {
				return true
			}
		}
	}
	return false
}

// writesItself reports whether a type has its own form in JSON.
func writesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Marshaler]()) ||
		p.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}
