package nft

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables/userdata"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// maxListBytes bounds the elements in one message: a netlink attribute's length is a uint16
// (include/uapi/linux/netlink.h, struct nlattr).
const maxListBytes = 60000

// encoder writes one nf_tables transaction as a single buffer: batch begin, messages, batch end.
type encoder struct {
	*netlink.Encoder
	now   time.Time
	table string // that the operations are for
	first uint32 // sequence number of the first message
	whats []op   // what each message is about, for errors; nil for the ends of a batch
	last  int    // offset of the last message's header
	// finish is the offset of the batch's end, without which the kernel only checks the
	// transaction.
	finish int
}

// encodeBatch encodes a transaction that the kernel accepts only at the given generation (0: at
// any). Sequence numbers start at firstSeq. The memory of buf is used again.
func encodeBatch(batch []op, generation, firstSeq uint32, now time.Time,
	buf []byte) (*encoder, error) {
	e := &encoder{
		Encoder: &netlink.Encoder{Buf: slices.Grow(buf[:0], sizeOf(batch)), Sequence: firstSeq},
		first:   firstSeq,
		now:     now,
		table:   tableName,
	}
	e.batchMarker(unix.NFNL_MSG_BATCH_BEGIN, generation)
	for _, o := range batch {
		if err := e.op(o); err != nil {
			return nil, fmt.Errorf("%s: %w", o.what(), err)
		}
	}
	// One acknowledgement for the whole batch: thousands would overflow the socket.
	flags := binary.NativeEndian.Uint16(e.Buf[e.last+6:])
	binary.NativeEndian.PutUint16(e.Buf[e.last+6:], flags|unix.NLM_F_ACK)
	e.finish = len(e.Buf)
	e.batchMarker(unix.NFNL_MSG_BATCH_END, 0)
	return e, nil
}

// sizeOf is about as many bytes as a transaction takes, so that a large one is not copied about as
// it grows: what a message takes on average, which was counted, and what elements take.
func sizeOf(batch []op) int {
	const message, interval, verdict = 192, 80, 80
	n := 0
	for _, o := range batch {
		n += message
		if els, ok := unwrapped(o).(addElements); ok {
			n += len(els.keys.V4)*(len(frame4)+4) + len(els.keys.V6)*(len(frame6)+16) +
				len(els.verdicts)*verdict + (len(els.spans)+len(els.virtual))*interval
		}
	}
	return n
}

func (e *encoder) batchMarker(kind uint16, generation uint32) {
	e.whats = append(e.whats, nil)
	e.BatchMarker(kind, unix.NFNL_SUBSYS_NFTABLES, 0, generation)
}

// about words what the message of a sequence number is about; false if it is none of the
// transaction's.
func (e *encoder) about(seq uint32) (string, bool) {
	switch i := seq - e.first; {
	case i >= uint32(len(e.whats)):
		return "", false
	case e.whats[i] == nil:
		return "transaction", true
	default:
		return e.whats[i].what(), true
	}
}

func (e *encoder) message(kind int, flags uint16, what op) int {
	e.last = len(e.Buf)
	e.whats = append(e.whats, what)
	return e.Begin(uint16(unix.NFNL_SUBSYS_NFTABLES<<8|kind), flags, unix.NFPROTO_INET,
		unix.NFNETLINK_V0, 0, 0)
}

func (e *encoder) op(o op) error {
	create := uint16(unix.NLM_F_CREATE)
	what := o // for errors
	switch o := o.(type) {
	case addTable:
		at := e.message(unix.NFT_MSG_NEWTABLE, create, what)
		e.String(unix.NFTA_TABLE_NAME, e.table)
		e.Uint32(unix.NFTA_TABLE_FLAGS, o.flags)
		e.Bytes(tableUserdata, userdata.AppendString(nil, tableComment, o.mark))
		e.End(at)
	case probeTable:
		at := e.message(unix.NFT_MSG_NEWTABLE, create, what)
		e.String(unix.NFTA_TABLE_NAME, probeName)
		e.Uint32(unix.NFTA_TABLE_FLAGS, o.flags)
		e.End(at)
	case flagTable:
		at := e.message(unix.NFT_MSG_NEWTABLE, 0, what)
		e.String(unix.NFTA_TABLE_NAME, e.table)
		e.Uint32(unix.NFTA_TABLE_FLAGS, o.flags)
		e.End(at)
	case delTable:
		at := e.message(unix.NFT_MSG_DELTABLE, 0, what)
		e.String(unix.NFTA_TABLE_NAME, e.table)
		e.End(at)
	case addCounter:
		at := e.message(unix.NFT_MSG_NEWOBJ, create, what)
		e.String(unix.NFTA_OBJ_TABLE, e.table)
		e.String(unix.NFTA_OBJ_NAME, o.name)
		e.Uint32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER)
		e.EndNest(e.Nest(unix.NFTA_OBJ_DATA))
		e.End(at)
	case restoreCounter:
		e.restoreCounter(o, create)
	case inTable:
		e.table = o.table
		err := e.op(o.op)
		e.table = tableName
		return err
	case addSet:
		e.addSet(o, create)
	case addChain:
		at := e.message(unix.NFT_MSG_NEWCHAIN, create, what)
		e.String(unix.NFTA_CHAIN_TABLE, e.table)
		e.String(unix.NFTA_CHAIN_NAME, o.name)
		if h := o.hook; h != nil {
			nest := e.Nest(unix.NFTA_CHAIN_HOOK)
			e.Uint32(unix.NFTA_HOOK_HOOKNUM, h.Number)
			e.Uint32(unix.NFTA_HOOK_PRIORITY, uint32(h.Priority))
			e.EndNest(nest)
			e.Uint32(unix.NFTA_CHAIN_POLICY, h.Policy)
			e.String(unix.NFTA_CHAIN_TYPE, h.Type)
		}
		e.End(at)
	case flushChain: // deleting rules without a handle deletes all of the chain
		e.named(unix.NFT_MSG_DELRULE, unix.NFTA_RULE_TABLE, unix.NFTA_RULE_CHAIN, o.name, what)
	case delChain:
		e.named(unix.NFT_MSG_DELCHAIN, unix.NFTA_CHAIN_TABLE, unix.NFTA_CHAIN_NAME, o.name, what)
	case delSet:
		e.named(unix.NFT_MSG_DELSET, unix.NFTA_SET_TABLE, unix.NFTA_SET_NAME, o.name, what)
	case flushSet: // likewise for elements
		e.named(unix.NFT_MSG_DELSETELEM, unix.NFTA_SET_ELEM_LIST_TABLE,
			unix.NFTA_SET_ELEM_LIST_SET, o.name, what)
	case delFlowtable:
		e.named(unix.NFT_MSG_DELFLOWTABLE, flowtableTable, flowtableName, o.name, what)
	case delObject:
		at := e.message(unix.NFT_MSG_DELOBJ, 0, what)
		e.String(unix.NFTA_OBJ_TABLE, e.table)
		e.String(unix.NFTA_OBJ_NAME, o.name)
		e.Uint32(unix.NFTA_OBJ_TYPE, o.objectType)
		e.End(at)
	case addRule:
		e.addRule(o, create)
	case addElements:
		e.elements(unix.NFT_MSG_NEWSETELEM, create, o.elements, what)
	case delElements:
		e.elements(unix.NFT_MSG_DELSETELEM, 0, o.elements, what)
	default:
		return fmt.Errorf("no encoding for %T", o)
	}
	return nil
}

// Attributes that x/sys/unix lacks (include/uapi/linux/netfilter/nf_tables.h, libnftnl's udata.h).
const (
	tableUserdata = 6 // NFTA_TABLE_USERDATA
	tableComment  = 0 // NFTNL_UDATA_TABLE_COMMENT

	flowtableTable = 1 // NFTA_FLOWTABLE_TABLE
	flowtableName  = 2 // NFTA_FLOWTABLE_NAME
)

// named is a message that holds a table's and one more name.
func (e *encoder) named(kind int, table, attr uint16, name string, what op) {
	at := e.message(kind, 0, what)
	e.String(table, e.table)
	e.String(attr, name)
	e.End(at)
}

func (e *encoder) addSet(o addSet, create uint16) {
	at := e.message(unix.NFT_MSG_NEWSET, create, o)
	e.String(unix.NFTA_SET_TABLE, e.table)
	e.String(unix.NFTA_SET_NAME, o.name)
	e.Uint32(unix.NFTA_SET_FLAGS, o.spec.Flags)
	e.Uint32(unix.NFTA_SET_KEY_TYPE, o.spec.KeyType)
	e.Uint32(unix.NFTA_SET_KEY_LEN, o.spec.KeyLen)
	e.Uint32(unix.NFTA_SET_ID, e.Sequence) // any number that is unique in the batch
	if o.spec.DataType != 0 {
		e.Uint32(unix.NFTA_SET_DATA_TYPE, o.spec.DataType)
		e.Uint32(unix.NFTA_SET_DATA_LEN, 0)
	}
	if o.spec.Timeout != 0 {
		e.Uint64(unix.NFTA_SET_TIMEOUT, uint64(o.spec.Timeout.Milliseconds()))
	}
	if o.spec.Size != 0 {
		nest := e.Nest(unix.NFTA_SET_DESC)
		e.Uint32(unix.NFTA_SET_DESC_SIZE, o.spec.Size)
		e.EndNest(nest)
	}
	// How nft shall print the keys: 2 is network byte order (nftables, include/datatype.h).
	const order = 2
	e.Bytes(unix.NFTA_SET_USERDATA,
		userdata.AppendUint32(nil, userdata.NFTNL_UDATA_SET_KEYBYTEORDER, order))
	e.End(at)
}

func (e *encoder) addRule(o addRule, create uint16) {
	at := e.message(unix.NFT_MSG_NEWRULE, create|unix.NLM_F_APPEND, o)
	e.String(unix.NFTA_RULE_TABLE, e.table)
	e.String(unix.NFTA_RULE_CHAIN, o.chain)
	list := e.Nest(unix.NFTA_RULE_EXPRESSIONS)
	e.Buf = o.rule.AppendExprs(e.Buf)
	e.EndNest(list)
	e.End(at)
}

// elements writes as many messages as the elements need, in the order given: ascending, which
// the kernel's interval sets load fastest.
func (e *encoder) elements(kind int, flags uint16, els elements, what op) {
	// What is deleted is named by its key alone.
	deleting := kind == unix.NFT_MSG_DELSETELEM
	at, list := -1, 0
	open := func() {
		if at >= 0 && len(e.Buf)-list < maxListBytes {
			return
		}
		if at >= 0 {
			e.EndNest(list)
			e.End(at)
		}
		at = e.message(kind, flags, what)
		e.String(unix.NFTA_SET_ELEM_LIST_TABLE, e.table)
		e.String(unix.NFTA_SET_ELEM_LIST_SET, els.set)
		list = e.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	}
	for _, s := range els.spans {
		open()
		until := s.until
		if deleting {
			until = time.Time{}
		}
		e.element(s.first.AsSlice(), 0, until, nil)
		if els.kind == kindNets || els.kind == kindExpiring {
			// The end of an interval is exclusive; the top address has none. Both must stand in one
			// message.
			if next := s.last.Next(); next.IsValid() {
				e.element(next.AsSlice(), unix.NFT_SET_ELEM_INTERVAL_END, time.Time{}, nil)
			}
		}
	}
	for _, a := range els.keys.V4 {
		open()
		e.Buf = append(e.Buf, frame4...)
		e.Buf = binary.BigEndian.AppendUint32(e.Buf, uint32(a))
	}
	for _, a := range els.keys.V6 {
		open()
		e.Buf = append(e.Buf, frame6...)
		e.Buf = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(e.Buf, a.Hi), a.Lo)
	}
	for _, v := range els.virtual {
		open()
		e.element(virtualKey(v), 0, time.Time{}, nil)
	}
	for _, p := range els.verdicts {
		open()
		v := &p.verdict
		if deleting {
			v = nil
		}
		e.element(binary.BigEndian.AppendUint16(nil, uint16(p.key)), 0, time.Time{}, v)
	}
	if at >= 0 {
		e.EndNest(list)
		e.End(at)
	}
}

// frame4 and frame6 are what stands before the key in an element that has nothing else.
var frame4, frame6 = frame(4), frame(16)

func frame(key int) []byte {
	e := encoder{Encoder: &netlink.Encoder{}}
	e.element(make([]byte, key), 0, time.Time{}, nil)
	return e.Buf[:len(e.Buf)-key]
}

func (e *encoder) element(key []byte, flags uint32, until time.Time, v *verdict) {
	element := e.Nest(unix.NFTA_LIST_ELEM)
	if flags != 0 {
		e.Uint32(unix.NFTA_SET_ELEM_FLAGS, flags)
	}
	nest := e.Nest(unix.NFTA_SET_ELEM_KEY)
	e.Bytes(unix.NFTA_DATA_VALUE, key)
	e.EndNest(nest)
	if !until.IsZero() {
		// A source about to expire still gets a millisecond: zero would mean for ever.
		e.Uint64(unix.NFTA_SET_ELEM_TIMEOUT, uint64(max(1, until.Sub(e.now).Milliseconds())))
	}
	if v != nil {
		nest := e.Nest(unix.NFTA_SET_ELEM_DATA)
		inner := e.Nest(unix.NFTA_DATA_VERDICT)
		e.Uint32(unix.NFTA_VERDICT_CODE, uint32(v.Code))
		if v.Chain != "" {
			e.String(unix.NFTA_VERDICT_CHAIN, v.Chain)
		}
		e.EndNest(inner)
		e.EndNest(nest)
	}
	e.EndNest(element)
}
