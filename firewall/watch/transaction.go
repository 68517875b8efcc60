package watch

import (
	"slices"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// transaction collects what the messages of one commit say, in memory of fixed size. The kernel
// serialises commits and ends each with NEWGEN.
type transaction struct {
	ownTables []Table // tables that hold our rules
	seen      *seen   // the objects before the commit; nil if unknown
	ours      bool
	hooks     bool
	tables    []tableChanges // in the order in which they were touched
	truncated bool           // more than maxTables tables were touched
}

// tableChanges counts the messages about one table.
type tableChanges struct {
	family         uint8
	name           string
	added, deleted [kinds]int
}

// maxTables bounds the tables in a summary.
const maxTables = 16

// objectKind is the kind of object in a message.
type objectKind int

const (
	kindTable objectKind = iota
	kindChain
	kindRule
	kindSet
	kindElement
	kindObject
	kindFlowtable
	kinds
)

// Table is a table by its family (NFPROTO_*, include/uapi/linux/netfilter.h) and name.
type Table struct {
	Family uint8
	Name   string
}

// Rules says where our rules are and how we write them.
type Rules struct {
	Tables []Table
	// ByPrograms is true if programs that this process runs make our commits, rather than a socket
	// (see Watcher.Ignore).
	ByPrograms bool
}

// Portgrave describes the rules of the nftables backend.
var Portgrave = Rules{Tables: []Table{{unix.NFPROTO_INET, "portgrave"}}}

// IPTables describes the rules of the iptables backend with the programs for nf_tables.
var IPTables = func() Rules {
	r := Rules{ByPrograms: true}
	for _, family := range []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		for _, name := range []string{"mangle", "filter", "security"} {
			r.Tables = append(r.Tables, Table{family, name})
		}
	}
	return r
}()

// notification says which object a message type is about, and which attribute names its table.
type notification struct {
	kind    objectKind
	deleted bool
	table   uint16 // attribute
}

// flowtableTable is NFTA_FLOWTABLE_TABLE (include/uapi/linux/netfilter/nf_tables.h), which
// x/sys/unix lacks.
const flowtableTable = 1

var notifications = map[uint8]notification{
	unix.NFT_MSG_NEWTABLE:     {kindTable, false, unix.NFTA_TABLE_NAME},
	unix.NFT_MSG_DELTABLE:     {kindTable, true, unix.NFTA_TABLE_NAME},
	unix.NFT_MSG_NEWCHAIN:     {kindChain, false, unix.NFTA_CHAIN_TABLE},
	unix.NFT_MSG_DELCHAIN:     {kindChain, true, unix.NFTA_CHAIN_TABLE},
	unix.NFT_MSG_NEWRULE:      {kindRule, false, unix.NFTA_RULE_TABLE},
	unix.NFT_MSG_DELRULE:      {kindRule, true, unix.NFTA_RULE_TABLE},
	unix.NFT_MSG_NEWSET:       {kindSet, false, unix.NFTA_SET_TABLE},
	unix.NFT_MSG_DELSET:       {kindSet, true, unix.NFTA_SET_TABLE},
	unix.NFT_MSG_NEWSETELEM:   {kindElement, false, unix.NFTA_SET_ELEM_LIST_TABLE},
	unix.NFT_MSG_DELSETELEM:   {kindElement, true, unix.NFTA_SET_ELEM_LIST_TABLE},
	unix.NFT_MSG_NEWOBJ:       {kindObject, false, unix.NFTA_OBJ_TABLE},
	unix.NFT_MSG_DELOBJ:       {kindObject, true, unix.NFTA_OBJ_TABLE},
	unix.NFT_MSG_NEWFLOWTABLE: {kindFlowtable, false, flowtableTable},
	unix.NFT_MSG_DELFLOWTABLE: {kindFlowtable, true, flowtableTable},
}

// add processes a message other than NEWGEN.
func (t *transaction) add(m netlink.Message) error {
	n, known := notifications[uint8(m.Kind)]
	if !known || m.Port == 0 {
		// Port 0: the kernel's own doing and part of no commit, such as a used-up quota.
		return nil
	}
	attrs, err := netlink.Parse(m.Attributes)
	if err != nil {
		return err
	}
	family, name := m.Family(), netlink.CString(attrs.Bytes(int(n.table)))
	t.ours = t.ours ||
		slices.ContainsFunc(
			t.ownTables,
			func(x Table) bool { return family == x.Family && string(name) == x.Name },
		)
	t.hooks = t.seen.changesHooks(n, family, string(name), &attrs) || t.hooks
	table := t.table(family, name)
	if table == nil {
		t.truncated = true
		return nil
	}
	count := 1
	if n.kind == kindElement {
		if count, err = elements(attrs.Bytes(unix.NFTA_SET_ELEM_LIST_ELEMENTS)); err != nil {
			return err
		}
	}
	if n.deleted {
		table.deleted[n.kind] += count
	} else {
		table.added[n.kind] += count
	}
	return nil
}

// reset makes it ready for the next commit.
func (t *transaction) reset() {
	*t = transaction{ownTables: t.ownTables, seen: t.seen, tables: t.tables[:0]}
}

// table finds or makes the entry of a table; nil when there are too many.
func (t *transaction) table(family uint8, name []byte) *tableChanges {
	for i := len(t.tables) - 1; i >= 0; i-- { // the latest is the likeliest
		if t.tables[i].family == family && t.tables[i].name == string(name) {
			return &t.tables[i]
		}
	}
	if len(t.tables) == maxTables {
		return nil
	}
	t.tables = append(t.tables, tableChanges{family: family, name: string(name)})
	return &t.tables[len(t.tables)-1]
}

// elements counts the elements that a message lists. The end of an interval is an element to the
// kernel but not to people.
func elements(list []byte) (count int, err error) {
	err = netlink.Each(list, func(_ uint16, element []byte) error {
		count++
		return netlink.Each(element, func(kind uint16, data []byte) error {
			if kind == unix.NFTA_SET_ELEM_FLAGS &&
				netlink.Number(data)&unix.NFT_SET_ELEM_INTERVAL_END != 0 {
				count--
			}
			return nil
		})
	})
	return count, err
}

// commit is what NEWGEN says.
type commit struct {
	generation uint32
	port       uint32
	thread     int
	name       string // of the thread
}

func decodeCommit(m netlink.Message) (commit, error) {
	a, err := netlink.Parse(m.Attributes)
	return commit{
		generation: uint32(a.Number(unix.NFTA_GEN_ID)),
		port:       m.Port,
		thread:     int(int32(a.Number(unix.NFTA_GEN_PROC_PID))),
		name:       a.String(unix.NFTA_GEN_PROC_NAME),
	}, err
}
