package nftables

import (
	"hash/maphash"
	"slices"

	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
)

// Elements are a set's elements as the kernel sent them. Nearly all of a long list are a key and
// nothing else: these are packed, so that a million of them take the memory of their keys.
type Elements struct {
	// Keys are those of packed elements, one behind the other.
	Keys []byte
	// Ends tells which of them are ends of intervals; nil: none is.
	Ends []bool
	// Others are the attributes of the elements that are more than a key.
	Others [][]byte
	// Malformed is why not all could be read; "" if all were.
	Malformed string

	keyLength, n, messages int
}

// NewElements takes the elements of a set, whose keys have so many bytes.
func NewElements(keyLength int) *Elements { return &Elements{keyLength: keyLength} }

// Len is how many there are.
func (l *Elements) Len() int { return l.n + len(l.Others) }

// key is that of a packed element.
func (l *Elements) key(i int) []byte {
	return l.Keys[i*l.keyLength : (i+1)*l.keyLength : (i+1)*l.keyLength]
}

func (l *Elements) isEnd(i int) bool { return l.Ends != nil && l.Ends[i] }

// Add adds the elements of a message, whose memory it doesn't keep.
func (l *Elements) Add(message []byte) {
	l.messages++
	err := kernel.EachElement(message, func(b []byte) error {
		key, end, ok := kernel.OnlyKey(b)
		if !ok || len(key) != l.keyLength || len(key) == 0 {
			l.Others = append(l.Others, slices.Clone(b))
			return nil
		}
		if end && l.Ends == nil {
			l.Ends = make([]bool, l.n, max(l.n, 64))
		}
		if l.Keys = append(l.Keys, key...); l.Ends != nil {
			l.Ends = append(l.Ends, end)
		}
		l.n++
		return nil
	})
	if err != nil {
		l.Malformed = err.Error()
	}
}

// repeats reports whether an element came twice in a dump of several messages.
func (l *Elements) repeats() bool {
	if l.messages < 2 {
		return false
	}
	// Hashes take 8 bytes an element, keys may take several times as much. Two keys of one hash
	// would cost another reading, with another seed.
	seed := maphash.MakeSeed()
	hashes := make([]uint64, 0, l.Len())
	for i := range l.n {
		hashes = append(hashes, maphash.Bytes(seed, l.key(i)))
	}
	for _, b := range l.Others {
		// What is malformed is for the decoder to say.
		if e, err := kernel.DecodeElement(b); err == nil && e.Key != nil {
			hashes = append(hashes, maphash.Bytes(seed, e.Key))
		}
	}
	slices.Sort(hashes)
	return len(slices.Compact(hashes)) < len(hashes)
}
