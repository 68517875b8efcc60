package firewall

import (
	"fmt"
	"slices"
)

// Action is what a Change does to an object.
type Action string

const (
	Add     Action = "add"
	Remove  Action = "remove"
	Replace Action = "replace"
)

// Object is the kind of thing a Change touches.
type Object string

const (
	ObjectElement Object = "element" // a source, address, port or interface in a set
	ObjectRule    Object = "rule"
	ObjectSet     Object = "set"
	ObjectChain   Object = "chain"
	ObjectTable   Object = "table"
	ObjectHook    Object = "hook" // where and when the kernel calls us
)

// Change is one line of a Plan. The JSON shape is a contract.
type Change struct {
	Action  Action `json:"action"`
	Object  Object `json:"object"`
	Service string `json:"service"` // "" for what serves all of them
	Family  string `json:"family"`  // "ipv4", "ipv6", "" for both
	Detail  string `json:"detail"`  // the element ("10.0.0.0/8"), or the object's name and meaning
	Count   int    `json:"count"`   // how many of them; 1 unless Detail is a summary
}

func (c Change) String() string {
	s := fmt.Sprintf("%s %s", c.Action, c.Object)
	if c.Service != "" {
		s += " of " + c.Service
	}
	if c.Family != "" {
		s += " " + c.Family
	}
	return s + ": " + c.Detail
}

// Plan is the ordered difference between a State and what the kernel holds. The zero Plan is
// empty: nothing to do. Only the backend that made a Plan can apply it.
type Plan struct {
	Backend string
	Changes []Change
	// Program is the backend's own translation of Changes into kernel steps, opaque to others.
	Program any
}

// InSync reports whether the kernel already holds the State.
func (p Plan) InSync() bool { return len(p.Changes) == 0 }

// Count is how many objects the plan changes; a summarised Change counts for all it stands for.
func (p Plan) Count() int {
	n := 0
	for _, c := range p.Changes {
		n += c.Count
	}
	return n
}

// Begins reports whether the plan makes rules where none of ours stood.
func (p Plan) Begins() bool {
	return slices.ContainsFunc(p.Changes, func(c Change) bool {
		return c.Object == ObjectTable && c.Action == Add
	})
}
