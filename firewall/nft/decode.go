package nft

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// rulesetOf is a table of a snapshot, without the elements of sets.
func rulesetOf(snapshot nftables.Snapshot, table string) *ruleset {
	r := newRuleset()
	r.name, r.generation, r.readAt = table, snapshot.Generation, snapshot.At
	t := snapshot.Table(table)
	if t == nil {
		return r
	}
	r.present = true
	r.mark, r.flags, r.owner = t.Comment, t.Flags, t.Owner
	for _, c := range t.Chains {
		r.chains[c.Name] = &chain{name: c.Name, is: parseName(c.Name), hook: c.Hook,
			binding: c.Binding, rules: c.Rules}
	}
	for _, s := range t.Sets {
		r.sets[s.Name] = setOf(s)
	}
	for _, o := range t.Objects {
		if o.Type == unix.NFT_OBJECT_COUNTER {
			c, _ := o.Expr.(nftables.Counter)
			r.counters[o.Name] = counter{Packets: c.Packets, Bytes: c.Bytes}
			continue
		}
		r.foreignObjects = append(
			r.foreignObjects,
			foreignObject{kind: "object", name: o.Name, objectType: o.Type},
		)
	}
	for _, f := range t.Flowtables {
		r.foreignObjects = append(r.foreignObjects, foreignObject{kind: "flowtable", name: f.Name})
	}
	return r
}

// setOf is a set as the kernel reports it, without its elements.
func setOf(k nftables.Set) *set {
	s := &set{name: k.Name, is: parseName(k.Name), spec: k.SetSpec, anonymous: k.Anonymous(),
		count: k.Count.Value, counted: k.Count.Set}
	s.kind, s.family = kindOf(s.spec)
	if s.kind == kindPorts && s.is.role != rolePorts {
		s.kind = kindForeign
	}
	return s
}

// kindOf recognises a set by its declaration.
func kindOf(s setSpec) (setKind, address.Family) {
	if s.ElementExprs != 0 || s.Anonymous() {
		return kindForeign, 0
	}
	for _, f := range address.Families {
		for _, k := range []setKind{kindHosts, kindNets, kindExpiring, kindDynamic, kindAsked,
			kindVirtual, kindPrefix} {
			want := specOf(k, f)
			if k == kindDynamic { // timeout and size differ from set to set
				want.Timeout, want.Size = s.Timeout, s.Size
			}
			if k == kindPrefix {
				want.Size = s.Size // without one, it is a set of exact addresses
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
	switch n := min(int(s.count), maxExpected); {
	case s.kind != kindPrefix:
	case s.family == address.IPv4:
		d.keys.V4 = make([]address.V4, 0, n)
	default:
		d.keys.V6 = make([]address.V6, 0, n)
	}
}

// maxExpected bounds the keys that room is made for: another program may have declared any size.
const maxExpected = 1 << 20

// prefixKey takes in the key of an element of a set of prefixes, if its length is right.
func (d *elementDecoder) prefixKey(key []byte) bool {
	switch {
	case len(key) == 4 && d.set.family == address.IPv4:
		d.keys.V4 = append(d.keys.V4, address.V4(binary.BigEndian.Uint32(key)))
	case len(key) == 16 && d.set.family == address.IPv6:
		d.keys.V6 = append(d.keys.V6,
			address.V6{Hi: binary.BigEndian.Uint64(key), Lo: binary.BigEndian.Uint64(key[8:])})
	default:
		return false
	}
	return true
}

func (d *elementDecoder) message(b []byte) error {
	return nftables.EachElement(b, func(b []byte) error {
		if d.set.kind == kindPrefix {
			if key, ok := nftables.PlainKey(b); ok && d.prefixKey(key) {
				return nil
			}
		}
		e, err := nftables.DecodeElement(b)
		if err == nil {
			d.add(&e)
		}
		return err
	})
}

func (d *elementDecoder) add(e *nftables.Element) {
	s := d.set
	if !e.Plain() {
		s.unexpected++ // it carries something that we never write
		return
	}
	var until time.Time
	if e.Expires {
		until = d.now.Add(time.Duration(e.Milliseconds) * time.Millisecond)
	}
	switch s.kind {
	case kindPorts:
		if len(e.Key) != 2 || s.is.role != rolePorts {
			s.unexpected++
			return
		}
		if s.verdicts == nil {
			s.verdicts = map[uint32]verdict{}
		}
		key := portKey(s.is.protocol, binary.BigEndian.Uint16(e.Key))
		if _, twice := s.verdicts[key]; twice {
			d.repeated = true
		}
		s.verdicts[key] = e.Verdict
	case kindPrefix:
		if !until.IsZero() || !d.prefixKey(e.Key) {
			s.unexpected++
		}
	case kindVirtual:
		if v, ok := virtualOf(e.Key, s.family); ok && until.IsZero() {
			s.virtual = append(s.virtual, v)
		} else {
			s.unexpected++
		}
	case kindHosts, kindNets, kindExpiring:
		a, ok := netip.AddrFromSlice(e.Key)
		switch {
		case !ok:
			s.unexpected++
		case e.IntervalEnd():
			d.ends = append(d.ends, a)
		default:
			d.starts = append(d.starts, span{first: a, last: a, until: until})
		}
	default:
		s.unexpected++
	}
}

// finish pairs starts with ends: an interval runs to just before its end, or to the top. What does
// not pair, others have written, and counts as unexpected. Two exceptions: nft marks the bottom of
// a set with an end at address zero, and the kernel keeps the end of an expired interval for a
// while.
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
				s.unexpected++
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
			s.unexpected++
		}
	}
	if s.kind == kindNets {
		s.unexpected += len(d.ends) - next
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
