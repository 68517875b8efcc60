package policy

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
)

// Memory is what a process remembers from one Compile to the next, so that nothing is read, parsed
// or merged twice: the content of network files, the last good content of networks, and the sets
// that were made of them. The daemon has one, as it compiles the same policy again and again.
//
// A file is opened each time, with all checks of permissions and writers. Its content is taken from
// memory if the Fingerprint is the same. Where that proves nothing, because the file was young when
// it was read or can be written meanwhile, the file is read and its SHA-256 is compared.
//
// What two Compiles in a row have not used is forgotten. A nil Memory remembers nothing. All
// functions are safe for concurrent use.
type Memory struct {
	// Now is the clock that files' times are compared with; nil uses the system's.
	Now func() time.Time

	mu     sync.Mutex
	round  int // counts Compiles
	parsed int
	lists  map[string]*knownList
	good   map[string]knownGood // by path
	// sharing is held while a Compile uses shared.
	sharing sync.Mutex
	shared  sharedSets
	// replaced are contents of lists that are known no more; guarded by mu.
	replaced []address.Identity
}

// maxUnused is the number of Compiles after which something unused is forgotten.
const maxUnused = 2

// Parsed is the number of lists that were parsed, because nothing was remembered of them or they
// had changed.
func (m *Memory) Parsed() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.parsed
}

func (m *Memory) now() time.Time {
	if m.Now != nil {
		return m.Now()
	}
	return time.Now()
}

// knownList is the content of a network file.
type knownList struct {
	mu     sync.Mutex // held from Memory.list to release, so that two readers parse a list once
	memory *Memory
	used   int // the round; guarded by Memory.mu

	filled   bool
	print    Fingerprint
	doubtful bool   // the file was young when it was read
	digest   []byte // SHA-256 of the file; nil if it was not needed
	entries  int
	prefixes address.Set
	checksum string // cached.Checksum; "" if unknown

	// Of the reading under way.
	hit   bool
	now   wholeFile
	young bool
	sum   hash.Hash // nil if no digest is needed
}

// listKey names a list by all that decides what its file means.
func listKey(net *network) string { return fmt.Sprintf("%d %s", net.max, net.cacheKey()) }

// list returns what is known of a network's file. It waits for others who read the same one.
func (m *Memory) list(net *network) *knownList {
	if m == nil {
		return nil
	}
	key := listKey(net)
	m.mu.Lock()
	k := m.lists[key]
	if k == nil {
		if m.lists == nil {
			m.lists = map[string]*knownList{}
		}
		k = &knownList{memory: m}
		m.lists[key] = k
	}
	k.used = m.round
	m.mu.Unlock()
	k.mu.Lock()
	return k
}

func (k *knownList) release() {
	if k != nil {
		k.now, k.sum = wholeFile{}, nil
		k.mu.Unlock()
	}
}

// holds reports whether the file has the content that is known. It reads no more than most bytes.
func (k *knownList) holds(f wholeFile, most int64) bool {
	if k == nil {
		return false
	}
	k.now, k.sum = f, nil
	k.young = !f.print.settled(k.memory.now())
	k.hit = k.filled && k.print == f.print && (!k.doubtful && f.leased || k.sameDigest(f, most))
	if k.hit && f.leased && !k.young {
		k.doubtful = false
	}
	return k.hit
}

// sameDigest reads the whole file, and leaves it at its beginning.
func (k *knownList) sameDigest(f wholeFile, most int64) bool {
	sum := sha256.New()
	_, err := io.Copy(sum, io.LimitReader(f, most+1))
	if _, serr := f.Seek(0, io.SeekStart); err != nil || serr != nil {
		return false
	}
	return k.digest != nil && string(sum.Sum(nil)) == string(k.digest)
}

// watch returns a reader of the file that notes what keep needs.
func (k *knownList) watch(f wholeFile, from io.Reader) io.Reader {
	if k == nil || f.leased && !k.young {
		return from
	}
	k.sum = sha256.New()
	return io.TeeReader(from, k.sum)
}

// keep remembers what was read, unless there was an error.
func (k *knownList) keep(c *cached, err error) {
	if k == nil || err != nil || k.hit {
		return
	}
	before := k.prefixes.Identity()
	k.filled, k.print, k.doubtful, k.digest = true, k.now.print, k.young, nil
	if k.sum != nil {
		k.digest = k.sum.Sum(nil)
	}
	k.entries, k.prefixes, k.checksum = c.Entries, c.prefixes, ""
	k.memory.mu.Lock()
	defer k.memory.mu.Unlock()
	k.memory.parsed++
	k.memory.replaced = append(k.memory.replaced, before)
}

// keepChecksum remembers the checksum of a file's content in its binary form.
func (m *Memory) keepChecksum(net *network, c *cached) {
	if m == nil || net.file == "" {
		return
	}
	m.mu.Lock()
	k := m.lists[listKey(net)]
	m.mu.Unlock()
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.prefixes.Identity() == c.prefixes.Identity() {
		k.checksum = c.Checksum
	}
}

// knownGood is the last good content of a network. The file is replaced and never rewritten.
type knownGood struct {
	print Fingerprint
	cached
}

// lastGood returns the header of a file of last good content, and the content if that is known; nil
// if the file must be read.
func (m *Memory) lastGood(f *os.File, path, source string) *cached {
	if m == nil {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok := m.good[path]
	if !ok || known.print != fingerprintOf(info) || known.Source != source {
		return nil
	}
	c := known.cached
	return &c
}

// keepLastGood remembers the header that was read from a file and found whole.
func (m *Memory) keepLastGood(f *os.File, c cached) {
	if m == nil {
		return
	}
	info, err := f.Stat()
	if err != nil {
		return
	}
	print := fingerprintOf(info)
	m.mu.Lock()
	defer m.mu.Unlock()
	if !print.settled(m.now()) {
		delete(m.good, c.path)
		return
	}
	if m.good == nil {
		m.good = map[string]knownGood{}
	}
	m.good[c.path] = knownGood{print, c}
}

// keepContent remembers the addresses that c.content has read.
func (m *Memory) keepContent(c *cached, p address.Set) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok := m.good[c.path]
	if ok && known.Checksum == c.Checksum {
		known.prefixes, known.known = p, true
		m.good[c.path] = known
	}
}

// share lends the shared sets to a Compile until release is called, and forgets what was not used
// lately.
func (m *Memory) share() (s *sharedSets, release func()) {
	if m == nil {
		return &sharedSets{}, func() {}
	}
	m.sharing.Lock()
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, k := range m.lists {
		if k.used < m.round-maxUnused+1 {
			delete(m.lists, key)
		}
	}
	m.round++
	m.shared.begin(m.round, m.replaced)
	m.replaced = nil
	return &m.shared, m.sharing.Unlock
}
