package history

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/host/statefiles"
)

// A set of a million sources has 8 MB of IPv4, or 32 of IPv6, and changes by a few. So a large set
// is stored as a file, the base, and a generation holds what was removed from the base and added to
// it since. The generations of a list share the base; what each of them writes grows with the
// change. A new base is written when the changes have become large.
//
//	000016.generation   base 3f2a…, nothing removed, nothing added
//	000017.generation   base 3f2a…, removed {192.0.2.1}, added {198.51.100.0/24}
//	sets/3f2a….set      the base, in binary form, named by its SHA-256
//
// A base is written and synced before the first generation that needs it, and removed after the
// last one. It is verified whenever it is read. A base that was damaged makes its generations
// damaged, until somebody who has one of them in memory writes it anew: the daemon, or the next
// Append (see mend.go). Otherwise the next generation gets a base of its own, as nothing new is
// built on a file that has changed since it was last verified.

const (
	sets      = "sets"
	setSuffix = ".set"
	// minStored is the binary size above which a set is stored in a file, in bytes.
	minStored = 64 << 10
	// maxChanged bounds the binary size of what was removed and added: a part of the base's.
	maxChanged = 8
)

// storedSet is how a large set is stored.
type storedSet struct {
	set            address.Set
	base           string           // SHA-256 of the base's binary form
	stamp          statefiles.Stamp // of the base's file, when its content was last verified
	size           int              // of the base's binary form
	removed, added address.Set
}

// storedSets are the large sets of a generation.
type storedSets map[address.Identity]storedSet

// readSet reads a set from the beginning of b and returns what follows it.
type readSet func(b []byte) (p address.Set, rest []byte, err error)

// How a set stands in a generation of formatStored: a byte, then what it says.
const (
	setInline  = 0 // the set's binary form
	setStored  = 1 // the base's SHA-256, what was removed and added, and how many prefixes result
	setWritten = 2 // the number of a setStored before it, which is the same
)

// setWriter writes the sets of a generation.
type setWriter struct {
	large   storedSets
	written map[address.Identity]uint64
}

func (s *setWriter) write(w io.Writer, p address.Set) error {
	stored, large := s.large[p.Identity()]
	if !large {
		if _, err := w.Write([]byte{setInline}); err != nil {
			return err
		}
		return p.WriteBinary(w)
	}
	if n, before := s.written[p.Identity()]; before {
		_, err := w.Write(appendCount([]byte{setWritten}, n))
		return err
	}
	s.written[p.Identity()] = uint64(len(s.written))
	digest, err := hex.DecodeString(stored.base)
	if err == nil {
		_, err = w.Write(append([]byte{setStored}, digest...))
	}
	for _, part := range []address.Set{stored.removed, stored.added} {
		if err == nil {
			err = part.WriteBinary(w)
		}
	}
	if err == nil {
		_, err = w.Write(appendCount(nil, uint64(p.Len())))
	}
	return err
}

// setReader reads the sets of a generation.
type setReader struct {
	store *Store
	bases map[string]storedSet // that were read
	read  []address.Set        // the stored ones
	large storedSets
}

func (r *setReader) set(b []byte) (p address.Set, rest []byte, err error) {
	if len(b) == 0 {
		return p, nil, errors.New("a set is missing")
	}
	switch kind, b := b[0], b[1:]; kind {
	case setInline:
		return address.Read(b)
	case setWritten:
		n, rest, err := address.ReadCount(b)
		if err != nil || n >= uint64(len(r.read)) {
			return p, nil, errors.New("a set refers to one that is not there")
		}
		return r.read[n], rest, nil
	case setStored:
		return r.stored(b)
	}
	return p, nil, errors.New("a set has an unknown form")
}

func (r *setReader) stored(b []byte) (p address.Set, rest []byte, err error) {
	if len(b) < sha256.Size {
		return p, nil, errors.New("the name of a set is missing")
	}
	base, err := r.base(hex.EncodeToString(b[:sha256.Size]))
	if err != nil {
		return p, nil, err
	}
	if base.removed, b, err = address.Read(b[sha256.Size:]); err != nil {
		return p, nil, err
	}
	if base.added, b, err = address.Read(b); err != nil {
		return p, nil, err
	}
	n, b, err := address.ReadCount(b)
	if err != nil {
		return p, nil, err
	}
	base.set = base.set.Minus(base.removed).Union(base.added)
	if uint64(base.set.Len()) != n {
		return p, nil, errors.New("a set is not as long as it was")
	}
	r.read = append(r.read, base.set)
	r.large[base.set.Identity()] = base
	return base.set, b, nil
}

// base reads a base, once for all sets that are made from it.
func (r *setReader) base(digest string) (storedSet, error) {
	if known, ok := r.bases[digest]; ok {
		return known, nil
	}
	base, err := r.store.readBase(digest)
	if err == nil {
		r.bases[digest] = base
	}
	return base, err
}

func (s *Store) readBase(digest string) (storedSet, error) {
	name := digest + setSuffix
	stamp, err := s.sets.Stamp(name)
	var content []byte
	if err == nil {
		content, err = s.sets.Read(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return storedSet{}, s.damagedBase(digest, "is missing")
	}
	if err != nil {
		return storedSet{}, s.damagedBase(digest, fmt.Sprintf("can't be read (%v)", err))
	}
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != digest {
		return storedSet{}, s.damagedBase(digest, "is damaged (its checksum is wrong)")
	}
	set, rest, err := address.Read(content)
	if err != nil || len(rest) > 0 {
		return storedSet{}, s.damagedBase(digest, "is no set")
	}
	if now, err := s.sets.Stamp(name); err != nil || now != stamp {
		stamp = statefiles.Stamp{} // replaced meanwhile: not known
	}
	return storedSet{set: set, base: digest, stamp: stamp, size: len(content)}, nil
}

// store decides how the large sets of a generation are stored, and writes the bases that are
// missing. last is the generation before it, as far as it is known.
func (s *Store) store(g *Generation, last *Generation) error {
	g.large, g.Sets = storedSets{}, nil
	for _, set := range largeSets(g.State, g.Leased) {
		stored, ok := s.derive(set, last, g.large)
		if !ok {
			var err error
			if stored, err = s.writeBase(set); err != nil {
				return err
			}
		}
		g.large[set.Identity()] = stored
		if !slices.Contains(g.Sets, stored.base) {
			g.Sets = append(g.Sets, stored.base)
		}
	}
	slices.Sort(g.Sets)
	return nil
}

// derive stores a set as the difference from a base that the last generation, or another set of
// this one, is made from; false if none is close.
func (s *Store) derive(set address.Set, last *Generation, own storedSets) (storedSet, bool) {
	var known []storedSets
	if last != nil {
		known = append(known, last.large)
	}
	known = append(known, own)
	for _, sets := range known {
		if x, same := sets[set.Identity()]; same && s.intact(x) {
			return x, true
		}
	}
	best, found := storedSet{}, false
	for _, sets := range known {
		for _, x := range sets {
			if difference := x.set.Len() - set.Len(); max(difference, -difference) > set.Len()/4 ||
				!s.intact(x) {
				continue
			}
			// set = x.set − remove ∪ add, and x.set = base − x.removed ∪ x.added. Nothing that is
			// added is in the base, so that Mend can make the base again.
			add, remove := address.Diff(set, x.set)
			added := x.added.Minus(remove).Union(add.Minus(x.removed))
			x.removed = x.removed.Minus(add).Union(remove.Minus(x.added))
			x.added = added
			if changed := x.changed(); changed > x.size/maxChanged ||
				found && changed >= best.changed() {
				continue
			}
			x.set = set
			best, found = x, true
		}
	}
	return best, found
}

// changed is the size of what differs from the base.
func (x storedSet) changed() int { return x.removed.BinarySize() + x.added.BinarySize() }

// intact reports whether the file of a base is as it was when it was verified.
func (s *Store) intact(x storedSet) bool {
	stamp, err := s.sets.Stamp(x.base + setSuffix)
	return err == nil && !stamp.IsZero() && stamp == x.stamp
}

// writeBase stores a set as a base, unless it stands there already and is whole.
func (s *Store) writeBase(set address.Set) (storedSet, error) {
	sum := sha256.New()
	if err := set.WriteBinary(sum); err != nil {
		return storedSet{}, err
	}
	x := storedSet{set: set, base: hex.EncodeToString(sum.Sum(nil)), size: set.BinarySize()}
	if s.baseIsWhole(&x) {
		return x, nil
	}
	return x, s.putBase(&x, set)
}

// baseIsWhole verifies the file of a base, and notes its stamp.
func (s *Store) baseIsWhole(x *storedSet) bool {
	name := x.base + setSuffix
	stamp, err := s.sets.Stamp(name)
	if err != nil {
		return false
	}
	f, err := s.sets.Open(name)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil || hex.EncodeToString(sum.Sum(nil)) != x.base {
		return false
	}
	x.stamp = stamp
	return true
}

// wholeBases is how large sets are stored if each is a base that stands there, whole; nil if one is
// not.
func (s *Store) wholeBases(state firewall.State, leased *firewall.State) storedSets {
	large := storedSets{}
	for _, set := range largeSets(state, leased) {
		x := storedSet{set: set, size: set.BinarySize()}
		sum := sha256.New()
		_ = set.WriteBinary(sum) // a hash never fails to write
		x.base = hex.EncodeToString(sum.Sum(nil))
		if !s.baseIsWhole(&x) {
			return nil
		}
		large[set.Identity()] = x
	}
	return large
}

// largeSets are the distinct large sets of States; the second may be nil.
func largeSets(state firewall.State, leased *firewall.State) (large []address.Set) {
	services := state.Services
	if leased != nil {
		services = slices.Concat(services, leased.Services)
	}
	seen := map[address.Identity]bool{}
	for _, svc := range services {
		if id := svc.Sources.Identity(); !seen[id] && svc.Sources.BinarySize() >= minStored {
			seen[id] = true
			large = append(large, svc.Sources)
		}
	}
	return large
}

// sizeOfAllSets is the size of all bases.
func (s *Store) sizeOfAllSets() (size int64) {
	entries, _ := s.sets.List()
	for _, e := range entries {
		if n, err := s.sets.Size(e.Name()); err == nil {
			size += n
		}
	}
	return size
}

// sizeOfSets is the size of the bases of a generation that were not counted yet.
func (s *Store) sizeOfSets(n int, counted map[string]bool) (size int64) {
	r, err := s.HeadOf(n)
	if err != nil {
		return 0
	}
	for _, base := range r.Sets {
		if counted[base] {
			continue
		}
		counted[base] = true
		if n, err := s.sets.Size(base + setSuffix); err == nil {
			size += n
		}
	}
	return size
}

// forgetSets removes the bases that no generation has. While it is unknown which those are, all
// stay.
func (s *Store) forgetSets() {
	entries, err := s.sets.List()
	if err != nil || len(entries) == 0 {
		return
	}
	numbers, _, err := s.numbers()
	if err != nil {
		return
	}
	needed := map[string]bool{}
	for _, n := range slices.Backward(numbers) {
		r, err := s.HeadOf(n)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return
		}
		for _, base := range r.Sets {
			needed[base] = true
		}
		if len(needed) == len(entries) {
			return
		}
	}
	for _, e := range entries {
		if name, set := strings.CutSuffix(e.Name(), setSuffix); set && !needed[name] {
			_ = s.sets.Remove(e.Name()) // one too many is no harm
		}
	}
}

// appendCount appends a number as address.ReadCount reads it.
func appendCount(b []byte, n uint64) []byte { return binary.AppendUvarint(b, n) }
