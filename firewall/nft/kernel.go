package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/portgrave/portgrave/firewall/netlink"
	"github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// kernel is what the backend needs of nf_tables. The real one is netlinkKernel; tests inject
// faults with an in-memory one.
type kernel interface {
	// Ruleset numbers the commits. What takes more than one of the readings below is only whole
	// within one number (netlink.OneGeneration).
	netlink.Ruleset
	// dump returns the whole content of our table. Of known, which may be nil, it is known what the
	// table holds in its generation; if that is the given one, the content of large sets need not
	// be read.
	dump(known *ruleset, generation uint32) (*ruleset, error)
	// elements returns a set with its elements as they are now.
	elements(s *set) (*set, error)
	// counters returns our table with its counters alone.
	counters() (*ruleset, error)
	// dynamic returns our table with its counters and its sets, and how many elements those have
	// that packets fill.
	dynamic() (*ruleset, error)
	// second returns the second table's base chains and counters; not present if there is none of
	// ours.
	second() (*ruleset, error)
	// table returns our table without anything that is in it.
	table() (*ruleset, error)
	// commit executes a transaction, all of it or nothing, provided that the generation is still
	// the given one (0: any). An error other than firewall.ErrConflict does not prove that nothing
	// was done.
	commit(batch []op, generation uint32) error
}

// netlinkKernel talks to the kernel of the current network namespace.
type netlinkKernel struct {
	netlink.Ruleset
	socket *socket
	now    func() time.Time
	sleep  func(time.Duration)
	buf    []byte // of the last transaction, for the next one
}

// keptBuffer is more than a transaction takes: transactionKeys, and what the set that reaches them
// has beyond.
const keptBuffer = 8 << 20

// readAttempts bounds how often a dump is repeated because others changed the ruleset meanwhile.
const readAttempts = 10

func (k *netlinkKernel) counters() (*ruleset, error) {
	return k.content(tableName, unix.NFT_MSG_GETOBJ)
}

func (k *netlinkKernel) table() (*ruleset, error) { return k.content(tableName) }

func (k *netlinkKernel) second() (*ruleset, error) {
	return k.content(secondTable, unix.NFT_MSG_GETCHAIN, unix.NFT_MSG_GETOBJ)
}

// dynamic reads the sets, without their elements, and the counters.
func (k *netlinkKernel) dynamic() (*ruleset, error) {
	return k.content(tableName, unix.NFT_MSG_GETOBJ, unix.NFT_MSG_GETSET)
}

// content reads a table and, if it is there, what some dumps list of it.
func (k *netlinkKernel) content(table string, requests ...int) (*ruleset, error) {
	s := nftables.Snapshot{At: k.now()}
	err := k.read(&s, table, requests...)
	return rulesetOf(s, table), err
}

// dump reads every object of our table, in as many requests as it takes.
func (k *netlinkKernel) dump(known *ruleset, generation uint32) (*ruleset, error) {
	snapshot := nftables.Snapshot{Generation: generation, At: k.now()}
	if err := k.read(&snapshot, tableName, nftables.Requests...); err != nil {
		return nil, err
	}
	err := k.read(&snapshot, secondTable, unix.NFT_MSG_GETCHAIN, unix.NFT_MSG_GETOBJ)
	if err != nil {
		return nil, err
	}
	r := rulesetOf(snapshot, tableName)
	if r.leftover = rulesetOf(snapshot, secondTable).asLeftover(); !r.present {
		return r, nil
	}
	var unread []*set
	for _, s := range r.sets {
		if s.kind == kindDynamic || s.kind == kindAsked {
			continue // filled by packets
		}
		if was := known.sameSet(s); was != nil && s.kind == kindPrefix &&
			known.generation == generation {
			held, err := k.holds(s, was)
			if err != nil {
				return nil, fmt.Errorf("elements of set %s: %w", s.name, err)
			}
			if held {
				s.keys = was.keys
				continue
			}
		}
		unread = append(unread, s)
	}
	return r, k.readElements(unread, known)
}

// read adds a table to a snapshot, if it is there, with what some dumps list of it.
func (k *netlinkKernel) read(into *nftables.Snapshot, table string, requests ...int) error {
	// The attribute is the same for every kind of object.
	name := func(e *encoder) { e.String(unix.NFTA_TABLE_NAME, table) }
	var t *nftables.Table
	err := k.socket.request(unix.NFT_MSG_GETTABLE, 0, name, func(b []byte) (err error) {
		t, err = nftables.DecodeTable(b)
		return err
	})
	if t == nil || err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return err
	}
	for _, request := range requests {
		err := k.socket.request(request, unix.NLM_F_DUMP, name, func(b []byte) error {
			return t.Add(request, b)
		})
		if errors.Is(err, unix.EOPNOTSUPP) && request == unix.NFT_MSG_GETFLOWTABLE {
			continue // a kernel built without flowtables has none
		}
		if err != nil {
			return err
		}
	}
	into.Tables = append(into.Tables, t)
	return nil
}

func (k *netlinkKernel) elements(s *set) (*set, error) {
	fresh := &set{
		name:      s.name,
		is:        s.is,
		family:    s.family,
		kind:      s.kind,
		spec:      s.spec,
		anonymous: s.anonymous,
	}
	return fresh, k.reader(k.socket).read(fresh)
}

// holds proves, without reading it all, that a set holds the elements that were written to it in
// the transaction that made the present generation: nobody has written since, which the generation
// says; the kernel accepted the transaction as a whole; it counts as many elements as were written;
// and, if the transaction named the set, the first, the middle and the last are there. Reading them
// would take half as long again as loading them did. A kernel that does not count (before Linux
// 6.16) proves nothing.
func (k *netlinkKernel) holds(s, want *set) (bool, error) {
	if !s.counted || int(s.count) != want.keys.Len() || s.count == 0 {
		return false, nil
	}
	if want.proven {
		return true, nil
	}
	n := want.keys.Len()
	probes := []netip.Addr{want.keys.At(0), want.keys.At(n / 2), want.keys.At(n - 1)}
	found := elementDecoder{set: &set{kind: kindPrefix, family: s.family}}
	err := k.socket.request(unix.NFT_MSG_GETSETELEM, unix.NLM_F_ACK, func(e *encoder) {
		e.String(unix.NFTA_SET_ELEM_LIST_TABLE, tableName)
		e.String(unix.NFTA_SET_ELEM_LIST_SET, s.name)
		list := e.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		for _, a := range probes {
			e.element(a.AsSlice(), 0, time.Time{}, nil)
		}
		e.EndNest(list)
	}, found.message)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	found.finish()
	for i, a := range probes {
		if found.set.keys.Len() != len(probes) || found.set.keys.At(i) != a {
			return false, nil
		}
	}
	return true, nil
}

func (k *netlinkKernel) commit(batch []op, generation uint32) error {
	if len(batch) == 0 {
		return nil
	}
	e, err := encodeBatch(batch, generation, k.socket.NextSequence(), k.now(), k.buf)
	if err != nil {
		return err
	}
	k.buf = nil
	if cap(e.Buf) < keptBuffer {
		k.buf = e.Buf
	}
	return k.outcome(e)
}

// outcome sends a transaction, and says what a refusal is about.
func (k *netlinkKernel) outcome(e *encoder) error {
	err := k.socket.Batch(e.Encoder)
	var refusal *netlink.Refusal
	if errors.As(err, &refusal) {
		what, _ := e.about(refusal.Sequence)
		err = fmt.Errorf("table inet %s, %s: %w", tableName, what, err)
	}
	return k.ownedByAnother(err)
}
