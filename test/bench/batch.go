package main

import (
	"encoding/binary"
	"net/netip"

	"github.com/portgrave/portgrave/firewall/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"
)

// nfTables is where nf_tables' messages live.
const nfTables = unix.NFNL_SUBSYS_NFTABLES << 8

// maxListBytes is how long a list of elements may become: its length must fit an attribute's 16
// bits, with the last element.
const maxListBytes = 1<<16 - 200

// Batch is a transaction, encoded.
type Batch struct {
	bytes    []byte
	sequence uint32
	family   Family
}

// NewBatch begins a transaction about sets of a family.
func NewBatch(family Family) *Batch {
	b := &Batch{family: family, sequence: 1}
	b.end(b.message(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES))
	return b
}

// finish returns the whole of the transaction.
func (b *Batch) finish() []byte {
	b.end(
		b.message(
			unix.NFNL_MSG_BATCH_END,
			unix.NLM_F_ACK,
			unix.AF_UNSPEC,
			unix.NFNL_SUBSYS_NFTABLES,
		),
	)
	return b.bytes
}

// message begins a message and returns where.
func (b *Batch) message(kind, flags uint16, family byte, resource uint16) int {
	at := len(b.bytes)
	b.bytes = binary.NativeEndian.AppendUint32(b.bytes, 0) // end fills in the length
	b.bytes = binary.NativeEndian.AppendUint16(b.bytes, kind)
	b.bytes = binary.NativeEndian.AppendUint16(b.bytes, flags|unix.NLM_F_REQUEST)
	b.bytes = binary.NativeEndian.AppendUint32(b.bytes, b.sequence)
	b.bytes = binary.NativeEndian.AppendUint32(b.bytes, 0)
	b.bytes = append(b.bytes, family, unix.NFNETLINK_V0)
	b.bytes = binary.BigEndian.AppendUint16(b.bytes, resource)
	b.sequence++
	return at
}

func (b *Batch) end(at int) {
	binary.NativeEndian.PutUint32(b.bytes[at:], uint32(len(b.bytes)-at))
}

func (b *Batch) number(kind uint16, n uint32) {
	b.bytes = netlink.AppendBytes(b.bytes, kind, binary.BigEndian.AppendUint32(nil, n))
}

// nest begins an attribute that holds others; endNest ends it.
func (b *Batch) nest(kind uint16) int {
	at := len(b.bytes)
	b.bytes = netlink.AppendBytes(b.bytes, kind|unix.NLA_F_NESTED, nil)
	return at
}

func (b *Batch) endNest(at int) {
	binary.NativeEndian.PutUint16(b.bytes[at:], uint16(len(b.bytes)-at))
}

// Table adds the table.
func (b *Batch) Table() {
	at := b.message(nfTables|unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, unix.NFPROTO_INET, 0)
	b.bytes = netlink.AppendString(b.bytes, unix.NFTA_TABLE_NAME, tableName)
	b.end(at)
}

// DropEverything removes every table of the namespace, as "nft flush ruleset" does.
func (b *Batch) DropEverything() {
	b.end(b.message(nfTables|unix.NFT_MSG_DELTABLE, 0, unix.NFPROTO_UNSPEC, 0))
}

// Set adds the set of intervals.
func (b *Batch) Set() {
	const ipv4Type, ipv6Type = 7, 8 // nft's numbers of the types, which the kernel only stores
	at := b.message(nfTables|unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, unix.NFPROTO_INET, 0)
	b.bytes = netlink.AppendString(b.bytes, unix.NFTA_SET_TABLE, tableName)
	b.bytes = netlink.AppendString(b.bytes, unix.NFTA_SET_NAME, setName)
	b.number(unix.NFTA_SET_FLAGS, unix.NFT_SET_INTERVAL)
	if b.family == IPv6 {
		b.number(unix.NFTA_SET_KEY_TYPE, ipv6Type)
		b.number(unix.NFTA_SET_KEY_LEN, 16)
	} else {
		b.number(unix.NFTA_SET_KEY_TYPE, ipv4Type)
		b.number(unix.NFTA_SET_KEY_LEN, 4)
	}
	b.number(unix.NFTA_SET_ID, 1)
	b.end(at)
}

// Flush empties the set.
func (b *Batch) Flush() { b.elements(unix.NFT_MSG_DELSETELEM, 0, nil) }

// Add adds elements, sorted.
func (b *Batch) Add(
	list []netip.Prefix,
) {
	b.chunks(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, list)
}

// Remove removes elements.
func (b *Batch) Remove(list []netip.Prefix) { b.chunks(unix.NFT_MSG_DELSETELEM, 0, list) }

func (b *Batch) chunks(kind, flags uint16, list []netip.Prefix) {
	for len(list) > 0 {
		list = list[b.elements(kind, flags, list):]
	}
}

// elements writes one message, with as many elements as fit, and says how many.
func (b *Batch) elements(kind, flags uint16, list []netip.Prefix) (n int) {
	at := b.message(nfTables|kind, flags, unix.NFPROTO_INET, 0)
	b.bytes = netlink.AppendString(b.bytes, unix.NFTA_SET_ELEM_LIST_TABLE, tableName)
	b.bytes = netlink.AppendString(b.bytes, unix.NFTA_SET_ELEM_LIST_SET, setName)
	if len(list) > 0 {
		all := b.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		for ; n < len(list) && len(b.bytes)-all < maxListBytes; n++ {
			b.element(list[n].Addr(), 0)
			b.element(netipx.PrefixLastIP(list[n]).Next(), unix.NFT_SET_ELEM_INTERVAL_END)
		}
		b.endNest(all)
	}
	b.end(at)
	return n
}

func (b *Batch) element(a netip.Addr, flags uint32) {
	element := b.nest(unix.NFTA_LIST_ELEM)
	if flags != 0 {
		b.number(unix.NFTA_SET_ELEM_FLAGS, flags)
	}
	key := b.nest(unix.NFTA_SET_ELEM_KEY)
	b.bytes = netlink.AppendBytes(b.bytes, unix.NFTA_DATA_VALUE, a.AsSlice())
	b.endNest(key)
	b.endNest(element)
}
