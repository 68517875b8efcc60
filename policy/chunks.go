package policy

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/portgrave/portgrave/firewall/address"
)

// A list of a million lines changes by a few. So a Memory takes a file of lines apart into chunks,
// and parses those that it has not seen in the last reading:
//
//	last reading   [ a ][ b ][ c ][ d ]      set
//	this reading   [ a ][ e ][ c ][ d ]      set − (b − e, unless a, c or d has it) ∪ e
//
// Chunks end where the text says so, and thus end at the same lines again behind a line that came
// or went. A digest tells whether a chunk is known. Of a chunk, only the digest, the number of
// entries and a hull are kept: a few ranges that hold all of its addresses. What is in the hull of
// a chunk that went may be in another chunk too. If the hull of such a chunk says that it can be,
// the chunk is parsed again. In a list in order those are few. In a list without order they are
// many, and then the list is parsed as a whole.
//
// What a line means must not depend on the lines before it, so lists with a heading are parsed as
// a whole, as are JSON, gzip data, and lists with mistakes.

const (
	// minChunkSize is the size from which on a chunk may end, in bytes.
	minChunkSize = 24 << 10
	// cutOdds is how many lines are looked at, on average, until a chunk ends.
	cutOdds = 1 << 7
	// chunkBuffer is how much of a file is read at a time.
	chunkBuffer = 1 << 20
	// maxHull is the number of ranges of a hull, for each family.
	maxHull = 8
	// reparseShare is the share of known chunks, as a divisor, from which on the list is parsed as
	// a whole.
	reparseShare = 4
)

// chunkDigest is a message authentication code of a chunk under a key that only this process knows,
// and never shows a digest of: nobody can write two chunks that have the same.
type chunkDigest [16]byte

// digester computes chunkDigests with GMAC, which takes a fifth of the time of SHA-256. GMAC must
// not use a nonce twice for messages whose digests others see.
type digester struct{ cipher.AEAD }

var newDigester = sync.OnceValue(func() digester {
	key := make([]byte, 16)
	_, _ = rand.Read(key) // never fails
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the key has a length that AES knows
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // the block has the size that GCM wants
	}
	return digester{gcm}
})

func (d digester) of(chunk []byte) (sum chunkDigest) {
	var nonce [12]byte
	d.Seal(sum[:0], nonce[:], nil, chunk)
	return sum
}

// chunk is what is known of a part of a list.
type chunk struct {
	digest  chunkDigest
	entries int
	hull    address.Set // holds all addresses of the chunk
	// own: what the chunk means depends on no other chunk, as entries stand before it.
	own bool
}

// chunkPlace is where a chunk stands in its file, and whether it was parsed in this reading.
type chunkPlace struct {
	at     int64
	size   int
	parsed bool
}

// cutChunk returns the length of the first chunk of a text. ends says that the text is the rest of
// the file. The length is 0 if the text, of readBufferSize at least, has no end of a line.
func cutChunk(text []byte, ends bool) int {
	if ends && len(text) <= minChunkSize {
		return len(text)
	}
	end := 0
	for from := minChunkSize; from < len(text) && from < readBufferSize; from = end {
		n := bytes.IndexByte(text[from:min(len(text), readBufferSize)], '\n')
		if n < 0 {
			break
		}
		if end = from + n + 1; endsChunk(text[end-16 : end]) {
			return end
		}
	}
	if end == 0 && ends && len(text) <= readBufferSize {
		return len(text)
	}
	if end == 0 { // the line that began before minChunkSize is long
		end = bytes.LastIndexByte(text[:min(len(text), minChunkSize)], '\n') + 1
	}
	return end
}

// endsChunk decides by the last 16 bytes of a line.
func endsChunk(tail []byte) bool {
	h := binary.LittleEndian.Uint64(tail)*0x9e3779b97f4a7c15 ^
		binary.LittleEndian.Uint64(tail[8:])*0xc2b2ae3d27d4eb4f
	h = (h ^ h>>32) * 0x9e3779b97f4a7c15
	return h>>32%cutOdds == 0
}

// errWholeList says that a list must be read as a whole.
var errWholeList = errors.New("this list can't be read in chunks")

// chunkedList is a list while it is read in chunks.
type chunkedList struct {
	listing
	digest digester
	file   io.ReaderAt

	known    map[chunkDigest]int // the index in before of each chunk that may be taken from there
	before   []chunk
	all      []chunk
	places   []chunkPlace // of all
	added    address.Builder
	expected bool // room was made in added
	rebuild  bool // all chunks are parsed
}

// readChunks reads a list, given the chunks of the last reading and the set that they made; without
// chunks it reads all. It returns errWholeList if read must be called instead, which also finds
// what is wrong with a list.
func (o listReader) readChunks(file io.ReaderAt, most int64, before []chunk, set address.Set) (
	content listContent, chunks []chunk, err error,
) {
	c := o.inChunks(file, before)
	if err := c.scan(most); err != nil {
		return listContent{}, nil, err
	}
	if c.rebuild {
		c.content.prefixes = c.added.Set()
		return c.content, c.all, nil
	}
	add := c.added.Set()
	remove, err := c.gone(set, add)
	if err != nil {
		return o.readChunks(file, most, nil, address.Set{})
	}
	c.content.prefixes = set.Replaced(remove, add)
	return c.content, c.all, nil
}

// inChunks begins to read a list.
func (o listReader) inChunks(file io.ReaderAt, before []chunk) *chunkedList {
	c := chunkedList{
		listing: listing{listReader: o, content: listContent{blank: true}},
		digest:  newDigester(),
		file:    file,
		before:  before,
		rebuild: len(before) == 0,
		known:   make(map[chunkDigest]int, len(before)),
	}
	for i, k := range before {
		if k.own {
			c.known[k.digest] = i
		}
	}
	return &c
}

// scan cuts the file into chunks and parses those that are not known.
func (c *chunkedList) scan(most int64) error {
	if c.selects != nil {
		return errWholeList
	}
	buffer := make([]byte, chunkBuffer)
	held, at := 0, int64(0) // at is the place in the file of what is held
	for ends := false; !ends || held > 0; {
		for !ends && held < readBufferSize {
			n, err := c.file.ReadAt(buffer[held:], at+int64(held))
			if held += n; err == io.EOF {
				ends = true
			} else if err != nil {
				return errWholeList // which fails likewise, or not
			}
		}
		if at+int64(held) > most {
			return errWholeList
		}
		if at == 0 && !c.readable(buffer[:min(held, readBufferSize)]) {
			return errWholeList
		}
		from := 0
		for held-from >= readBufferSize || ends && from < held {
			n := cutChunk(buffer[from:held], ends)
			if n == 0 {
				return errWholeList
			}
			if err := c.chunk(buffer[from:from+n], at+int64(from)); err != nil {
				return err
			}
			from += n
		}
		copy(buffer, buffer[from:held])
		held, at = held-from, at+int64(from)
	}
	if c.heading.line > 0 {
		return errWholeList
	}
	return nil
}

// readable reports whether a list with this beginning consists of lines.
func (c *chunkedList) readable(head []byte) bool {
	return !bytes.HasPrefix(head, gzipMagic) && !bytes.HasPrefix(head, byteOrderMark) &&
		c.unreadableFormat(head) == ""
}

// chunk takes a chunk as it is known, or parses it.
func (c *chunkedList) chunk(text []byte, at int64) error {
	digest, own := c.digest.of(text), c.content.entries > 0
	if i, known := c.known[digest]; known && own && !c.rebuild {
		c.content.entries += c.before[i].entries
		c.all = append(c.all, c.before[i])
		c.places = append(c.places, chunkPlace{at, len(text), false})
		if c.content.entries > c.limit {
			return errWholeList
		}
		return nil
	}
	entries := c.content.entries
	set, err := c.parse(text)
	if err != nil {
		return err
	}
	c.added.AddSet(set)
	if c.rebuild && !c.expected && c.content.entries >= estimateThreshold {
		c.expected = true
		c.added.Expect(estimateRanges(c.size, at+int64(len(text)), c.limit, &c.added))
	}
	c.places = append(c.places, chunkPlace{at, len(text), true})
	c.all = append(c.all, chunk{digest, c.content.entries - entries, set.Hull(maxHull), own})
	return nil
}

// parse parses the lines of a chunk.
func (c *chunkedList) parse(text []byte) (address.Set, error) {
	for number := 1; len(text) > 0; number++ {
		n := bytes.IndexByte(text, '\n') + 1
		if n == 0 {
			n = len(text)
		}
		if n >= readBufferSize || !c.line(text[:n], number) || c.heading.line > 0 ||
			len(c.report.list) > 0 {
			return address.Set{}, errWholeList
		}
		text = text[n:]
	}
	return c.prefixes.Set(), nil
}

// gone returns the addresses of the last reading that are in no chunk any more. It returns
// errWholeList if too many chunks had to be parsed for that.
func (c *chunkedList) gone(set, add address.Set) (address.Set, error) {
	stays := make(map[chunkDigest]bool, len(c.all))
	for _, k := range c.all {
		stays[k.digest] = true
	}
	var hulls address.Builder
	for _, k := range c.before {
		if !stays[k.digest] {
			hulls.AddSet(k.hull)
		}
	}
	doubtful := set.Intersect(hulls.Set()).Minus(add)
	if doubtful.IsZero() {
		return doubtful, nil
	}
	var again []int
	for i, k := range c.all {
		if !c.places[i].parsed && !k.hull.Disjoint(doubtful) {
			again = append(again, i)
		}
	}
	if len(again) > 1+len(c.all)/reparseShare {
		return address.Set{}, errWholeList
	}
	found := c.content
	for _, i := range again {
		text := make([]byte, c.places[i].size)
		if _, err := c.file.ReadAt(text, c.places[i].at); err != nil && err != io.EOF ||
			c.digest.of(text) != c.all[i].digest {
			return address.Set{}, errWholeList
		}
		c.content.entries = 1 // it stands behind others
		part, err := c.parse(text)
		if err != nil {
			return address.Set{}, err
		}
		c.places[i].parsed = true
		doubtful = doubtful.Minus(part)
	}
	c.content = found
	return doubtful, nil
}

// sameChunks reports whether two lists have the same chunks in the same order.
func sameChunks(a, b []chunk) bool {
	return slices.EqualFunc(a, b, func(a, b chunk) bool { return a.digest == b.digest })
}
