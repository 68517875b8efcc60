package history

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
)

// All generations of a list share a base, so a base that is damaged or lost takes them all with it.
// Who has one of them in memory can write it anew.

// Intact reports whether the bases of a generation's large sets are as they were when they were
// verified. It reads none of them.
func (s *Store) Intact(g *Generation) bool {
	for _, x := range g.large {
		if !s.intact(x) {
			return false
		}
	}
	return true
}

// Mend writes anew what is damaged or missing of the bases of a generation that is in memory, and
// returns their files. Hold the Lock.
func (s *Store) Mend(g *Generation) (mended []string, err error) {
	if s.Intact(g) {
		return nil, nil
	}
	large := maps.Clone(g.large)
	for id, x := range large {
		if s.intact(x) || s.baseIsWhole(&x) {
			large[id] = x
			continue
		}
		base := x.set.Minus(x.added).Union(x.removed)
		sum := sha256.New()
		_ = base.WriteBinary(sum) // a hash never fails to write
		if hex.EncodeToString(sum.Sum(nil)) != x.base {
			return mended, s.damagedBase(x.base, "can't be made again from what is in memory")
		}
		if err := s.putBase(&x, base); err != nil {
			return mended, fmt.Errorf("%s can't be written anew: %w", setFile(x.base), err)
		}
		large[id], mended = x, append(mended, setFile(x.base))
	}
	g.large = large
	return mended, nil
}

// putBase writes the file of a base, to stay, and notes its stamp.
func (s *Store) putBase(x *storedSet, content address.Set) error {
	name := x.base + setSuffix
	err := s.sets.Make()
	if err == nil {
		err = s.sets.Write(name, func(w io.Writer) error { return content.WriteBinary(w) })
	}
	if err == nil {
		err = s.sets.Sync()
	}
	if err == nil {
		x.stamp, err = s.sets.Stamp(name)
	}
	return err
}

func setFile(base string) string { return sets + "/" + base + setSuffix }

// setError says why the file of a base can't be used.
type setError struct {
	base, why string
	needed    int // by how many generations
}

func (e setError) Error() string {
	needs := fmt.Sprintf("which %d generations need", e.needed)
	if e.needed == 1 {
		needs = "which 1 generation needs"
	}
	return fmt.Sprintf("%s, %s, %s: restore it from a backup; a daemon that has it in memory, "+
		"or the next apply, writes a new one", setFile(e.base), needs, e.why)
}

func (setError) Unwrap() error { return ErrDamaged }

// damagedBase is the setError of a base.
func (s *Store) damagedBase(base, why string) error {
	e := setError{base: base, why: why}
	numbers, _, _ := s.numbers()
	for _, n := range numbers {
		if r, err := s.HeadOf(n); err == nil && slices.Contains(r.Sets, base) {
			e.needed++
		}
	}
	return e
}
