package firewall

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
)

// The binary form of a State, for what has a million sources: requests to the daemon, the history,
// digests.
//
//	JSON of the State without addresses and sources, its length before it ·
//	number of distinct sets · each set as AppendBinary writes it ·
//	for each service the numbers of its addresses and of its sources
//
// All numbers are uvarints. A set that a thousand services have stands there once, and they share
// it again when it is read. Equal canonical States have the same form, wherever their sets came
// from, so a digest of it tells States apart.

// setTable numbers the distinct sets of a State in the order in which they come first.
type setTable struct {
	sets  []address.Set
	alike map[address.Outline][]int // the numbers of sets that may be equal
	known map[address.Identity]int  // those whose number is known without looking at their content
}

func (t *setTable) number(p address.Set) int {
	at := p.Identity()
	if i, known := t.known[at]; known {
		return i
	}
	i, shape := len(t.sets), p.Outline()
	equal := func(i int) bool { return t.sets[i].Equal(p) }
	if same := slices.IndexFunc(t.alike[shape], equal); same >= 0 {
		i = t.alike[shape][same]
	} else {
		t.alike[shape] = append(t.alike[shape], i)
		t.sets = append(t.sets, p)
	}
	t.known[at] = i
	return i
}

// numbered is the table of a State's sets, and their numbers: two for each service.
func (s State) numbered() (t setTable, numbers []int) {
	t = setTable{alike: map[address.Outline][]int{}, known: map[address.Identity]int{}}
	for _, svc := range s.Services {
		numbers = append(numbers, t.number(svc.Addresses), t.number(svc.Sources))
	}
	return t, numbers
}

// skeleton is a State's JSON without the sets that stand elsewhere.
func (s State) skeleton() ([]byte, error) {
	bare := s
	bare.Services = make([]Service, len(s.Services))
	for i, svc := range s.Services {
		svc.Addresses, svc.Sources = address.Set{}, address.Set{}
		bare.Services[i] = svc
	}
	return json.Marshal(bare)
}

// WriteBinary writes the binary form, a piece at a time. The error is w's.
func (s State) WriteBinary(w io.Writer) error {
	return s.WriteBinaryWith(w, func(w io.Writer, p address.Set) error { return p.WriteBinary(w) })
}

// WriteBinaryWith is WriteBinary with another form of the sets.
func (s State) WriteBinaryWith(w io.Writer, writeSet func(io.Writer, address.Set) error) error {
	bare, err := s.skeleton()
	if err != nil {
		return err
	}
	t, numbers := s.numbered()
	b := append(binary.AppendUvarint(nil, uint64(len(bare))), bare...)
	if _, err := w.Write(binary.AppendUvarint(b, uint64(len(t.sets)))); err != nil {
		return err
	}
	for _, p := range t.sets {
		if err := writeSet(w, p); err != nil {
			return err
		}
	}
	b = b[:0]
	for _, n := range numbers {
		b = binary.AppendUvarint(b, uint64(n))
	}
	_, err = w.Write(b)
	return err
}

// BinarySize is about how long the binary form is.
func (s State) BinarySize() int {
	size := 512 * (1 + len(s.Services)) // a service's JSON and numbers take less, mostly
	seen := map[address.Identity]bool{}
	for _, svc := range s.Services {
		for _, p := range []address.Set{svc.Addresses, svc.Sources} {
			if id := p.Identity(); !seen[id] {
				seen[id] = true
				size += p.BinarySize()
			}
		}
	}
	return size
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (s State) MarshalBinary() ([]byte, error) {
	w := address.Appender(make([]byte, 0, s.BinarySize()))
	err := s.WriteBinary(&w)
	return w, err
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler, as ReadState.
func (s *State) UnmarshalBinary(b []byte) error {
	out, rest, err := ReadState(b)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return errors.New("a State in binary form: something follows it")
	}
	*s = out
	return nil
}

// ReadState reads the binary form of a State from the beginning of b and returns what follows it.
// Sets come out in canonical form, whatever program wrote it; whether the State is in canonical
// form, Canonical tells.
func ReadState(b []byte) (out State, rest []byte, err error) {
	return ReadStateWith(b, address.Read)
}

// ReadStateWith is ReadState for what WriteBinaryWith has written. readSet reads a set from the
// beginning of b and returns what follows it.
func ReadStateWith(
	b []byte, readSet func(b []byte) (p address.Set, rest []byte, err error),
) (out State, rest []byte, err error) {
	fail := func(format string, args ...any) (State, []byte, error) {
		return State{}, nil, fmt.Errorf("a State in binary form"+format, args...)
	}
	n, b, err := address.ReadCount(b)
	if err != nil || n > uint64(len(b)) {
		return fail(" does not begin with its services")
	}
	if err := json.Unmarshal(b[:n], &out); err != nil {
		return fail(": %w", err)
	}
	b = b[n:]
	count, b, err := address.ReadCount(b)
	if err != nil || count > uint64(len(b)) {
		return fail(": the number of its sets is wrong")
	}
	sets := make([]address.Set, 0, min(count, 2*uint64(len(out.Services))))
	for range count {
		var p address.Set
		if p, b, err = readSet(b); err != nil {
			return fail(": %w", err)
		}
		sets = append(sets, p)
	}
	next := func() (p address.Set, err error) {
		i, rest, err := address.ReadCount(b)
		if err != nil || i >= uint64(len(sets)) {
			return p, errors.New("a service has a set that is not there")
		}
		b = rest
		return sets[i], nil
	}
	for i := range out.Services {
		svc := &out.Services[i]
		if svc.Addresses, err = next(); err == nil {
			svc.Sources, err = next()
		}
		if err != nil {
			return fail(": %w", err)
		}
	}
	return out, b, nil
}
