package nft

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// elementReader reads the elements of one set after the other, over a socket that nobody else uses
// meanwhile.
type elementReader struct {
	socket *socket
	now    func() time.Time
	sleep  func(time.Duration)
	spare  address.List // of the last set that was sorted, for the next one
}

func (k *netlinkKernel) reader(over *socket) *elementReader {
	return &elementReader{socket: over, now: k.now, sleep: k.sleep}
}

const (
	// maxReaders is the most sets that are read at a time. Two readers, on two processors, take 60
	// % of the time that one takes for a million elements.
	maxReaders = 4
	// parallelThreshold is the number of elements above which another socket pays off.
	parallelThreshold = 1 << 14
)

// readElements reads all elements of sets, several sets at a time if there is much in them: the
// kernel lists a set on the processor of the thread that asks. Where known has the same keys, they
// are held once.
func (k *netlinkKernel) readElements(sets []*set, known *ruleset) error {
	// The largest first, so that all readers end at about the same time.
	slices.SortFunc(sets, func(a, b *set) int { return cmp.Compare(b.expected(), a.expected()) })
	readers := []*elementReader{k.reader(k.socket)}
	all := 0
	for _, s := range sets {
		all += s.expected()
	}
	most := min(maxReaders, len(sets), runtime.GOMAXPROCS(0))
	for all >= parallelThreshold && len(readers) < most {
		another, err := k.socket.Another()
		if err != nil {
			break // then it takes longer
		}
		defer func() { _ = another.Close() }()
		readers = append(readers, k.reader(&socket{another}))
	}
	var next atomic.Int64
	failures := make([]error, len(readers))
	work := func(i int) {
		for {
			n := int(next.Add(1)) - 1
			if n >= len(sets) {
				return
			}
			s := sets[n]
			if err := readers[i].read(s); err != nil {
				failures[i] = fmt.Errorf("elements of set %s: %w", s.name, err)
				next.Store(int64(len(sets)))
				return
			}
			if was := known.sameSet(s); was != nil && s.keys.Equal(was.keys) {
				s.keys = was.keys
			}
		}
	}
	var others sync.WaitGroup
	for i := 1; i < len(readers); i++ {
		others.Go(func() { work(i) })
	}
	work(0)
	others.Wait()
	for _, err := range failures {
		if err != nil {
			return err
		}
	}
	return nil
}

// expected is about how many elements the kernel has in the set. It says so since Linux 6.16;
// before, there may be as many as were declared.
func (s *set) expected() int {
	if s.counted {
		return int(s.count)
	}
	return int(s.spec.Size)
}

// read reads all elements of a set.
func (r *elementReader) read(s *set) error {
	pause := func(d time.Duration) error { r.sleep(d); return nil }
	return nftables.UntilNoneRepeats(pause, func() (twice bool, err error) {
		read := *s
		d := elementDecoder{set: &read, spare: r.spare}
		d.expect(s)
		err = r.socket.request(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, func(e *encoder) {
			e.String(unix.NFTA_SET_ELEM_LIST_TABLE, tableName)
			e.String(unix.NFTA_SET_ELEM_LIST_SET, s.name)
		}, func(b []byte) error {
			d.now = r.now() // the kernel counts down while a large set is read
			return d.message(b)
		})
		if err != nil {
			return false, err
		}
		d.finish()
		r.spare = d.spare
		if !d.repeated {
			*s = read
		}
		return d.repeated, nil
	})
}
