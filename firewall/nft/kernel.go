package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// kernel is what the backend needs of nf_tables. The real one is netlinkKernel; tests inject
// faults with an in-memory one.
type kernel interface {
	// Ruleset numbers the commits. What takes more than one of the readings below is only whole
	// within one number (netlink.OneGeneration).
	netlink.Ruleset
	// dump returns the whole content of our table. Of known, which may be nil, it is known what the
	// table holds in its generation; if that is the given one, the content of large sets need not be
	// read.
	dump(known *ruleset, generation uint32) (*ruleset, error)
	// elements returns a set with its elements as they are now.
	elements(s *set) (*set, error)
	// counters returns our table with its counters alone.
	counters() (*ruleset, error)
	// dynamic returns our table with its counters and its sets, and how many elements those have that
	// packets fill.
	dynamic() (*ruleset, error)
	// second returns the second table's base chains and counters; not present if there is none of
	// ours.
	second() (*ruleset, error)
	// table returns our table without anything that is in it.
	table() (*ruleset, error)
	// commit executes a transaction, all of it or nothing, provided that the generation is still the
	// given one (0: any). An error other than firewall.ErrConflict does not prove that nothing was
	// done.
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
	r, err := k.table()
	if err != nil || !r.present {
		return r, err
	}
	return r, k.readObjects(r)
}

func (k *netlinkKernel) table() (*ruleset, error) {
	r := newRuleset()
	r.readAt = k.now()
	return r, k.readTable(r)
}

func (k *netlinkKernel) second() (*ruleset, error) {
	r := newRuleset()
	r.name, r.readAt = secondTable, k.now()
	if err := k.readTable(r); err != nil || !r.present {
		return r, err
	}
	if err := k.readChains(r); err != nil {
		return nil, err
	}
	return r, k.readObjects(r)
}

// dump reads every object of our table, in as many requests as it takes.
func (k *netlinkKernel) dump(known *ruleset, generation uint32) (*ruleset, error) {
	r, err := k.table()
	if err != nil {
		return r, err
	}
	if second, err := k.second(); err != nil {
		return nil, err
	} else if r.leftover = second.asLeftover(); !r.present {
		return r, nil
	}
	for _, read := range []func(*ruleset) error{k.readChains, k.readRules, k.readSets, k.readObjects, k.readFlowtables} {
		if err := read(r); err != nil {
			return nil, err
		}
	}
	var unread []*set
	for _, s := range r.sets {
		if s.kind == kindDynamic || s.kind == kindAsked {
			continue // filled by packets
		}
		if was := known.sameSet(s); was != nil && s.kind == kindPrefix && known.generation == generation {
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

func (k *netlinkKernel) readTable(r *ruleset) error {
	err := k.socket.request(
		unix.NFT_MSG_GETTABLE,
		0,
		func(e *encoder) { e.String(unix.NFTA_TABLE_NAME, r.name) },
		func(b []byte) error {
			r.present = true
			return eachAttr(b, func(kind uint16, data []byte) error {
				switch {
				case kind == tableUserdata:
					r.mark = commentOf(data)
				case kind == unix.NFTA_TABLE_FLAGS && len(data) == 4:
					r.flags = binary.BigEndian.Uint32(data)
				case kind == tableOwnedBy && len(data) == 4:
					r.owner = binary.BigEndian.Uint32(data)
				}
				return nil
			})
		},
	)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// dumpOf requests all objects of a kind of a table.
func (k *netlinkKernel) dumpOf(kind int, tableAttr uint16, table string,
	each func([]byte) error) error {
	return k.socket.request(kind, unix.NLM_F_DUMP, func(e *encoder) { e.String(tableAttr, table) }, each)
}

func (k *netlinkKernel) readChains(r *ruleset) error {
	return k.dumpOf(unix.NFT_MSG_GETCHAIN, unix.NFTA_CHAIN_TABLE, r.name, func(b []byte) error {
		c, table, err := decodeChain(b)
		if err == nil && table == r.name {
			r.chains[c.name] = c
		}
		return err
	})
}

func (k *netlinkKernel) readRules(r *ruleset) error {
	return k.dumpOf(unix.NFT_MSG_GETRULE, unix.NFTA_RULE_TABLE, r.name, func(b []byte) error {
		rule, chain, table, err := decodeRule(b)
		if err != nil || table != r.name {
			return err
		}
		c := r.chains[chain]
		if c == nil {
			return netlink.ErrInterrupted
		}
		c.rules = append(c.rules, rule)
		return nil
	})
}

func (k *netlinkKernel) readSets(r *ruleset) error {
	return k.dumpOf(unix.NFT_MSG_GETSET, unix.NFTA_SET_TABLE, r.name, func(b []byte) error {
		s, table, err := decodeSet(b)
		if err == nil && table == r.name {
			r.sets[s.name] = s
		}
		return err
	})
}

func (k *netlinkKernel) readObjects(r *ruleset) error {
	return k.dumpOf(unix.NFT_MSG_GETOBJ, unix.NFTA_OBJ_TABLE, r.name, func(b []byte) error {
		return decodeObject(b, r)
	})
}

func (k *netlinkKernel) readFlowtables(r *ruleset) error {
	err := k.dumpOf(unix.NFT_MSG_GETFLOWTABLE, flowtableTable, r.name, func(b []byte) error {
		var table, name string
		if err := eachAttr(b, func(kind uint16, data []byte) error {
			switch kind {
			case flowtableTable:
				table = cString(data)
			case flowtableName:
				name = cString(data)
			}
			return nil
		}); err != nil {
			return err
		}
		if table == r.name {
			r.strangers = append(r.strangers, stranger{kind: "flowtable", name: name})
		}
		return nil
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil // a kernel built without flowtables has none
	}
	return err
}

func (k *netlinkKernel) elements(s *set) (*set, error) {
	fresh := &set{
		name:      s.name,
		service:   s.service,
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
