package nftables

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/exposure"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// A long list must hold the same addresses as one that is read element by element, in sets of
// either family, with intervals and without, whose parts share one list.
func TestLongLists(t *testing.T) {
	for _, c := range []struct {
		name      string
		keyLength int
		intervals bool
		dense     uint64 // how many addresses the keys are drawn from
		tops      bool   // the last interval has no end
	}{
		{name: "hash of IPv4", keyLength: 4, dense: 1 << 31},
		{name: "hash of IPv4, dense", keyLength: 4, dense: 4 * minFlat},
		{name: "intervals of IPv4", keyLength: 4, dense: 1 << 31, intervals: true},
		{name: "intervals of IPv4 to the top", keyLength: 4, dense: 1 << 31, intervals: true, tops: true},
		{name: "hash of IPv6", keyLength: 16, dense: 1 << 40},
		{name: "intervals of IPv6, dense", keyLength: 16, dense: 8 * minFlat, intervals: true},
		{name: "intervals of IPv6 to the top", keyLength: 16, dense: 1 << 60, intervals: true,
			tops: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			var sets, plain []*kernelSet
			// The second set lies below the first.
			for _, from := range []uint64{1 << 63, 0} {
				if c.keyLength == 4 {
					from >>= 32
				}
				l := randomElements(random, c.keyLength, c.intervals, from, c.dense, c.tops && from > 0)
				for _, of := range []*[]*kernelSet{&sets, &plain} {
					var k kernel.Set
					k.Name, k.KeyLen = "s", uint32(c.keyLength)
					k.KeyType = map[int]uint32{4: 7, 16: 8}[c.keyLength] // ipv4_addr, ipv6_addr
					s := setOf(k)
					if s.read = l; c.intervals {
						s.flags |= unix.NFT_SET_INTERVAL
					}
					s.declared()
					*of = append(*of, s)
				}
			}
			fillFlat(sets)
			union, want := exposure.Ranges{}, exposure.Ranges{}
			for i, s := range sets {
				got := s.variants[0].out
				if !s.filled || got.Flat.Empty() {
					t.Fatal("a long list is not kept flat")
				}
				s.finish(time.Time{})
				plain[i].variants[0].fill(decodeElements(plain[i], time.Time{}))
				keys := exposure.NewRanges(plain[i].variants[0].out.Keys...)
				if !got.Flat.Equal(keys) {
					t.Errorf("%d ranges, not the %d of the set", got.Flat.Len(), keys.Len())
				}
				if got.Len() != got.Flat.Len() || got.Element(3)[0] != got.Flat.At(3) {
					t.Error("the set's elements are others")
				}
				union, want = union.Union(got.Flat), want.Union(keys)
			}
			if !union.Equal(want) {
				t.Error("the union of both parts is another set")
			}
		})
	}
}

// randomElements is a dump of a set: of intervals the highest first, of others in any order.
func randomElements(
	random *rand.Rand,
	keyLength int,
	intervals bool,
	from, dense uint64,
	tops bool,
) *Elements {
	numbers := map[uint64]bool{}
	for len(numbers) < 2*minFlat {
		numbers[from+random.Uint64N(dense)] = true
	}
	var list []uint64
	for n := range numbers {
		list = append(list, n)
	}
	if intervals {
		slices.Sort(list)
		slices.Reverse(list)
	}
	l := NewElements(keyLength)
	var message []byte
	end := !tops
	for i, n := range list {
		key := make([]byte, keyLength)
		if keyLength == 4 {
			binary.BigEndian.PutUint32(key, uint32(n))
		} else {
			binary.BigEndian.PutUint64(key, n)
			binary.BigEndian.PutUint64(key[8:], n<<1)
		}
		message = append(message, elementOf(intervals && end, key...)...)
		if intervals && !end && i%5 == 0 {
			// An interval that begins where the one above it ends.
			message = append(message, elementOf(true, key...)...)
		}
		if end = !end; len(message) > 1<<12 || i == len(list)-1 {
			l.Add(attr(unix.NFTA_SET_ELEM_LIST_ELEMENTS, message))
			message = nil
		}
	}
	return l
}
