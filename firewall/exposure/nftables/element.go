package nftables

import (
	"time"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Attributes and flags that x/sys/unix lacks (include/uapi/linux/netfilter/nf_tables.h).
const (
	elemObjref      = 9   // NFTA_SET_ELEM_OBJREF
	elemKeyEnd      = 10  // NFTA_SET_ELEM_KEY_END
	elemExpressions = 11  // NFTA_SET_ELEM_EXPRESSIONS
	elemCatchall    = 0x2 // NFT_SET_ELEM_CATCHALL
)

// elements are a set's elements as the kernel listed them.
type elements struct {
	list     []element
	catchall *element
	notes    map[int]exposure.Note
	verdicts map[int]exposure.Verdict
	objects  map[string]bool // names of the objects that elements refer to
	breaks   bool            // some element's verdict is a break
	broken   string
}

// element is a key, or the first and last of a range of keys for sets of concatenated ranges; for other interval sets a start, or an end that
// isn't in the interval any more.
type element struct {
	key, last []byte
	data      []byte
	end       bool
	index     int // of its note and verdict
}

func decodeElements(s *kernelSet, now time.Time) *elements {
	out := &elements{notes: map[int]exposure.Note{}, verdicts: map[int]exposure.Verdict{}, objects: map[string]bool{}, broken: s.broken}
	room := 0
	for _, m := range s.messages {
		room += len(m) / (16 + padded(s.keyLength)) // an element is at least four headers and its key
	}
	out.list = make([]element, 0, room)
	for _, m := range s.messages {
		a, err := netlink.Parse(m)
		if err == nil {
			err = netlink.Each(a.Bytes(unix.NFTA_SET_ELEM_LIST_ELEMENTS), func(_ uint16, data []byte) error {
				return out.add(s, data, now)
			})
		}
		if err != nil {
			out.broken = err.Error()
		}
	}
	if out.breaks && out.catchall != nil {
		out.broken = "elements that break off the rule, and a catch-all"
	}
	return out
}

func (l *elements) add(s *kernelSet, b []byte, now time.Time) error {
	a, err := netlink.Parse(b)
	if err != nil {
		return err
	}
	e := element{index: len(l.list)}
	flags := a.Number(unix.NFTA_SET_ELEM_FLAGS)
	e.end = flags&unix.NFT_SET_ELEM_INTERVAL_END != 0
	if e.key, err = value(a.Bytes(unix.NFTA_SET_ELEM_KEY)); err != nil {
		return err
	}
	if e.last, err = value(a.Bytes(elemKeyEnd)); err != nil {
		return err
	}
	if flags&elemCatchall == 0 && (len(e.key) != s.keyLength || e.last != nil && len(e.last) != s.keyLength) {
		l.broken = "an element whose key is of another length"
		return nil
	}
	if d := a.Bytes(unix.NFTA_SET_ELEM_DATA); d != nil {
		data, err := netlink.Parse(d)
		if err != nil {
			return err
		}
		if data.Has(unix.NFTA_DATA_VERDICT) {
			v, ok := decodeVerdict(data.Bytes(unix.NFTA_DATA_VERDICT))
			if !ok { // the rule ends as if the element weren't there, unless a catch-all would then be found
				l.breaks = l.breaks || flags&elemCatchall == 0
				return nil
			}
			l.verdicts[e.index] = v
		}
		e.data = data.Bytes(unix.NFTA_DATA_VALUE)
	}
	if a.Has(elemObjref) {
		l.objects[a.String(elemObjref)] = true
	}
	note := exposure.Note{Comment: commentOf(a.Bytes(unix.NFTA_SET_ELEM_USERDATA))}
	if a.Has(unix.NFTA_SET_ELEM_EXPIRATION) {
		note.Expires = now.Add(time.Duration(min(a.Number(unix.NFTA_SET_ELEM_EXPIRATION), 1<<43)) * time.Millisecond)
	}
	if note.Condition, _, err = conditions(a.Bytes(unix.NFTA_SET_ELEM_EXPR), a.Bytes(elemExpressions)); err != nil {
		return err
	}
	if note != (exposure.Note{}) {
		l.notes[e.index] = note
	}
	if flags&elemCatchall != 0 {
		e.index = -1
		l.catchall = &e
		l.move(len(l.list), -1)
		return nil
	}
	l.list = append(l.list, e)
	return nil
}

// move gives the catch-all's note and verdict an index of their own.
func (l *elements) move(from, to int) {
	if v, ok := l.verdicts[from]; ok {
		l.verdicts[to] = v
		delete(l.verdicts, from)
	}
	if n, ok := l.notes[from]; ok {
		l.notes[to] = n
		delete(l.notes, from)
	}
}

// value is the bytes in NFTA_DATA_VALUE of a nested attribute; nil if there are none.
func value(b []byte) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	a, err := netlink.Parse(b)
	return a.Bytes(unix.NFTA_DATA_VALUE), err
}

// decodeVerdict reads NFTA_DATA_VERDICT. False for a break, which is no verdict of the model. A code that nobody knows is taken for a queue: it
// may do anything.
func decodeVerdict(b []byte) (exposure.Verdict, bool) {
	a, err := netlink.Parse(b)
	if err != nil {
		return exposure.Verdict{Kind: exposure.VerdictQueue, With: "malformed"}, true
	}
	chain := a.String(unix.NFTA_VERDICT_CHAIN)
	switch code := int32(a.Number(unix.NFTA_VERDICT_CODE)); code {
	case 0: // NF_DROP (include/uapi/linux/netfilter.h)
		return exposure.Verdict{Kind: exposure.VerdictDrop}, true
	case 1: // NF_ACCEPT
		return exposure.Verdict{Kind: exposure.VerdictAccept}, true
	case unix.NFT_CONTINUE:
		return exposure.Verdict{Kind: exposure.VerdictContinue}, true
	case unix.NFT_BREAK:
		return exposure.Verdict{}, false
	case unix.NFT_JUMP:
		return exposure.Verdict{Kind: exposure.VerdictJump, Chain: chain}, true
	case unix.NFT_GOTO:
		return exposure.Verdict{Kind: exposure.VerdictGoto, Chain: chain}, true
	case unix.NFT_RETURN:
		return exposure.Verdict{Kind: exposure.VerdictReturn}, true
	default: // NF_QUEUE is 3, with the queue's number above; the others are the kernel's own
		return exposure.Verdict{Kind: exposure.VerdictQueue, With: queueText(uint32(code))}, true
	}
}

// commentOf is the comment in user data of rules, sets' elements and tables: records of a type, a length and bytes; type 0 is the comment
// (libnftnl's udata.h: NFTNL_UDATA_RULE_COMMENT, NFTNL_UDATA_SET_ELEM_COMMENT).
func commentOf(b []byte) string {
	for len(b) >= 2 {
		kind, n := b[0], int(b[1])
		if 2+n > len(b) {
			return ""
		}
		if kind == 0 {
			return netlink.String(b[2 : 2+n])
		}
		b = b[2+n:]
	}
	return ""
}
