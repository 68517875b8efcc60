package nft

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables/userdata"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"golang.org/x/sys/unix"
)

// commentOf is the comment in a table's user data; "" if there is none.
func commentOf(data []byte) string {
	s, _ := userdata.GetString(data, tableComment)
	return s
}

func number(b []byte) uint64 {
	var n uint64
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return n
}

// chainFlags is NFTA_CHAIN_FLAGS, which x/sys/unix lacks; chainBinding is NFT_CHAIN_BINDING (enum
// nft_chain_flags): the chain belongs to a rule.
const (
	chainFlags   = 10
	chainBinding = 4
)

// Attributes for expressions that a set attaches to every element: NFTA_SET_EXPR,
// NFTA_SET_EXPRESSIONS.
const (
	setExpr        = 17
	setExpressions = 18
	setCount       = 20 // NFTA_SET_COUNT (Linux 6.16): how many elements there are
)

func decodeChain(b []byte) (c *chain, table string, err error) {
	c = &chain{}
	err = eachAttr(b, func(kind uint16, data []byte) error {
		switch kind {
		case unix.NFTA_CHAIN_TABLE:
			table = cString(data)
		case unix.NFTA_CHAIN_NAME:
			c.name = cString(data)
		case chainFlags:
			c.binding = number(data)&chainBinding != 0
		case unix.NFTA_CHAIN_HOOK:
			c.ensureHook()
			return eachAttr(data, func(kind uint16, data []byte) error {
				switch kind {
				case unix.NFTA_HOOK_HOOKNUM:
					c.hook.Number = uint32(number(data))
				case unix.NFTA_HOOK_PRIORITY:
					c.hook.Priority = int32(number(data))
				}
				return nil
			})
		case unix.NFTA_CHAIN_POLICY:
			c.ensureHook()
			c.hook.Policy = uint32(number(data))
		case unix.NFTA_CHAIN_TYPE:
			c.ensureHook()
			c.hook.Type = cString(data)
		}
		return nil
	})
	return c, table, err
}

func (c *chain) ensureHook() {
	if c.hook == nil {
		c.hook = &hook{}
	}
}

func decodeRule(b []byte) (r rule, chain, table string, err error) {
	err = eachAttr(b, func(kind uint16, data []byte) (err error) {
		switch kind {
		case unix.NFTA_RULE_TABLE:
			table = cString(data)
		case unix.NFTA_RULE_CHAIN:
			chain = cString(data)
		case unix.NFTA_RULE_EXPRESSIONS:
			r.canon, err = canonRule(data)
		}
		return err
	})
	return r, chain, table, err
}

func decodeSet(b []byte) (s *set, table string, err error) {
	s = &set{}
	err = eachAttr(b, func(kind uint16, data []byte) error {
		switch kind {
		case unix.NFTA_SET_TABLE:
			table = cString(data)
		case unix.NFTA_SET_NAME:
			s.name = cString(data)
		case unix.NFTA_SET_FLAGS:
			s.spec.flags = uint32(number(data))
		case unix.NFTA_SET_KEY_TYPE:
			s.spec.keyType = uint32(number(data))
		case unix.NFTA_SET_KEY_LEN:
			s.spec.keyLen = uint32(number(data))
		case unix.NFTA_SET_DATA_TYPE:
			s.spec.dataType = uint32(number(data))
		case unix.NFTA_SET_TIMEOUT:
			s.spec.timeout = time.Duration(number(data)) * time.Millisecond
		case unix.NFTA_SET_DESC:
			return eachAttr(data, func(kind uint16, data []byte) error {
				if kind == unix.NFTA_SET_DESC_SIZE {
					s.spec.size = uint32(number(data))
				}
				return nil
			})
		case setExpr, setExpressions:
			s.spec.exprs++
		case setCount:
			s.count, s.counted = uint32(number(data)), len(data) == 4
		}
		return nil
	})
	s.anonymous = s.spec.flags&unix.NFT_SET_ANONYMOUS != 0
	s.kind, s.family = kindOf(s.spec)
	if _, known := protocolOfMap(s.name); s.kind == kindPorts && !known {
		s.kind = kindForeign
	}
	return s, table, err
}

// kindOf recognises a set by its declaration.
func kindOf(s setSpec) (setKind, firewall.Family) {
	if s.exprs != 0 || s.flags&unix.NFT_SET_ANONYMOUS != 0 {
		return kindForeign, 0
	}
	for _, f := range firewall.Families {
		for _, k := range []setKind{kindHosts, kindNets, kindExpiring, kindDynamic, kindAsked, kindVirtual, kindPrefix} {
			want := specOf(k, f)
			if k == kindDynamic { // timeout and size differ from set to set
				want.timeout, want.size = s.timeout, s.size
			}
			if k == kindPrefix {
				want.size = s.size // without one, it is a set of exact addresses
			}
			if s == want {
				return k, f
			}
		}
	}
	if s == specOf(kindPorts, 0) {
		return kindPorts, 0
	}
	return kindForeign, 0
}

func decodeObject(b []byte, r *ruleset) error {
	var table, name string
	var objectType uint32
	var c counter
	err := eachAttr(b, func(kind uint16, data []byte) error {
		switch kind {
		case unix.NFTA_OBJ_TABLE:
			table = cString(data)
		case unix.NFTA_OBJ_NAME:
			name = cString(data)
		case unix.NFTA_OBJ_TYPE:
			objectType = uint32(number(data))
		case unix.NFTA_OBJ_DATA:
			return eachAttr(data, func(kind uint16, data []byte) error {
				switch kind {
				case unix.NFTA_COUNTER_BYTES:
					c.Bytes = number(data)
				case unix.NFTA_COUNTER_PACKETS:
					c.Packets = number(data)
				}
				return nil
			})
		}
		return nil
	})
	switch {
	case err != nil || table != r.name:
	case objectType == unix.NFT_OBJECT_COUNTER:
		r.counters[name] = c
	default:
		r.strangers = append(r.strangers, stranger{kind: "object", name: name, objectType: objectType})
	}
	return err
}

// elementDecoder collects the elements of one set. Interval sets come as starts and ends in any
// order; finish pairs them.
type elementDecoder struct {
	set    *set
	now    time.Time
	starts []span
	ends   []netip.Addr
	keys   address.List
	spare  address.List // to sort them
	// repeated: some element of a hash set came twice. Known once finish has run.
	repeated bool
}

// expect makes room for as many keys as the kernel has counted. Lists that grow leave twice their
// size behind.
func (d *elementDecoder) expect(s *set) {
	switch n := min(int(s.count), mostExpected); {
	case s.kind != kindPrefix:
	case s.family == firewall.IPv4:
		d.keys.V4 = make([]address.V4, 0, n)
	default:
		d.keys.V6 = make([]address.V6, 0, n)
	}
}

// mostExpected is for how many keys room is made: whoever wrote the set may have declared what he
// liked.
const mostExpected = 1 << 20

// plainKey takes in an element of a set of prefixes that has nothing but a key, as almost all do:
// NFTA_SET_ELEM_KEY around NFTA_DATA_VALUE. Without this way around the general one, reading a
// million takes twice the kernel's time.
func (d *elementDecoder) plainKey(b []byte) bool {
	if d.set.kind != kindPrefix || len(b) < 12 || binary.NativeEndian.Uint16(b) != uint16(len(b)) ||
		binary.NativeEndian.Uint16(b[2:])&attrTypeMask != unix.NFTA_SET_ELEM_KEY ||
		binary.NativeEndian.Uint16(
			b[4:],
		) != uint16(
			len(b)-4,
		) || binary.NativeEndian.Uint16(b[6:])&attrTypeMask != unix.NFTA_DATA_VALUE {
		return false
	}
	return d.prefixKey(b[8:])
}

// prefixKey takes in the key of an element of a set of prefixes, if its length is right.
func (d *elementDecoder) prefixKey(key []byte) bool {
	switch {
	case len(key) == 4 && d.set.family == firewall.IPv4:
		d.keys.V4 = append(d.keys.V4, address.V4(binary.BigEndian.Uint32(key)))
	case len(key) == 16 && d.set.family == firewall.IPv6:
		d.keys.V6 = append(
			d.keys.V6,
			address.V6{Hi: binary.BigEndian.Uint64(key), Lo: binary.BigEndian.Uint64(key[8:])},
		)
	default:
		return false
	}
	return true
}

// element is one element as the kernel reports it.
type element struct {
	key     []byte
	end     bool
	until   time.Time
	verdict verdict
	extra   bool // carries something that we never write
}

func (d *elementDecoder) message(b []byte) error {
	return eachAttr(b, func(kind uint16, data []byte) error {
		if kind != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			return nil
		}
		return eachAttr(data, func(_ uint16, data []byte) error {
			if d.plainKey(data) {
				return nil
			}
			e, err := decodeElement(data, d.now)
			if err != nil {
				return err
			}
			d.add(e)
			return nil
		})
	})
}

func decodeElement(b []byte, now time.Time) (e element, err error) {
	err = eachAttr(b, func(kind uint16, data []byte) error {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			return eachAttr(data, func(_ uint16, data []byte) error {
				e.key = data
				return nil
			})
		case unix.NFTA_SET_ELEM_FLAGS:
			flags := number(data)
			e.end = flags&unix.NFT_SET_ELEM_INTERVAL_END != 0
			e.extra = e.extra || flags&^unix.NFT_SET_ELEM_INTERVAL_END != 0
		case unix.NFTA_SET_ELEM_EXPIRATION:
			e.until = now.Add(time.Duration(number(data)) * time.Millisecond)
		case unix.NFTA_SET_ELEM_DATA:
			return eachAttr(data, func(kind uint16, data []byte) error {
				if kind != unix.NFTA_DATA_VERDICT {
					return nil
				}
				return eachAttr(data, func(kind uint16, data []byte) error {
					switch kind {
					case unix.NFTA_VERDICT_CODE:
						e.verdict.code = int32(number(data))
					case unix.NFTA_VERDICT_CHAIN:
						e.verdict.chain = cString(data)
					}
					return nil
				})
			})
		case unix.NFTA_SET_ELEM_TIMEOUT, unix.NFTA_SET_ELEM_USERDATA, unix.NFTA_SET_ELEM_PAD:
			// The timeout as it was given; what counts is what is left of it.
		default: // expressions, objects, a second key
			e.extra = true
		}
		return nil
	})
	return e, err
}

func (d *elementDecoder) add(e element) {
	s := d.set
	if e.extra {
		s.odd++
		return
	}
	switch s.kind {
	case kindPorts:
		protocol, known := protocolOfMap(s.name)
		if len(e.key) != 2 || !known {
			s.odd++
			return
		}
		if s.verdicts == nil {
			s.verdicts = map[uint32]verdict{}
		}
		key := portKey(protocol, binary.BigEndian.Uint16(e.key))
		if _, twice := s.verdicts[key]; twice {
			d.repeated = true
		}
		s.verdicts[key] = e.verdict
	case kindPrefix:
		if !e.until.IsZero() || !d.prefixKey(e.key) {
			s.odd++
		}
	case kindVirtual:
		if v, ok := virtualOf(e.key, s.family); ok && e.until.IsZero() {
			s.virtual = append(s.virtual, v)
		} else {
			s.odd++
		}
	case kindHosts, kindNets, kindExpiring:
		a, ok := netip.AddrFromSlice(e.key)
		switch {
		case !ok:
			s.odd++
		case e.end:
			d.ends = append(d.ends, a)
		default:
			d.starts = append(d.starts, span{first: a, last: a, until: e.until})
		}
	default:
		s.odd++
	}
}

// finish pairs starts with ends: an interval runs to just before its end, or to the top. What does
// not pair, others have written, which makes the set odd. Two exceptions: nft marks the bottom of a
// set with an end at address zero, and the kernel keeps the end of an expired interval for a while.
func (d *elementDecoder) finish() {
	s := d.set
	d.keys.Sort(&d.spare)
	s.keys = d.keys
	sortSpans(d.starts)
	s.spans = d.starts
	slices.SortFunc(s.virtual, firewall.VirtualService.Compare)
	if s.kind != kindNets && s.kind != kindExpiring {
		d.repeated = d.repeated || s.keys.Repeats() ||
			address.Repeats(s.spans, func(a, b span) bool { return a.first == b.first }) ||
			address.Repeats(s.virtual, func(a, b firewall.VirtualService) bool { return a == b })
		return
	}
	slices.SortFunc(d.ends, netip.Addr.Compare)
	next := 0
	for i := range d.starts {
		start := &d.starts[i]
		for next < len(d.ends) && d.ends[next].Compare(start.first) <= 0 {
			if !d.ends[next].IsUnspecified() && s.kind == kindNets {
				s.odd++
			}
			next++
		}
		lastStart := i+1 == len(d.starts)
		switch {
		case next < len(d.ends) && (lastStart || d.ends[next].Compare(d.starts[i+1].first) <= 0):
			start.last = d.ends[next].Prev()
			next++
		case lastStart:
			start.last = topOf(start.first)
		default:
			start.last = d.starts[i+1].first.Prev()
			s.odd++
		}
	}
	if s.kind == kindNets {
		s.odd += len(d.ends) - next
	}
}

// topOf is the highest address of the same family.
func topOf(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}
	return netip.AddrFrom16(
		[16]byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255},
	)
}
