package watch

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// summary tells people what a transaction did.
func (t *transaction) summary() string {
	var parts, gone []string
	for _, table := range t.tables {
		if table.deleted[kindTable] > 0 && table.added == [kinds]int{} {
			gone = append(gone, table.String()) // what was in it needs no mention
			continue
		}
		parts = append(parts, "table "+table.String()+": "+table.changes())
	}
	switch len(gone) {
	case 0:
	case 1:
		parts = append(parts, "table "+gone[0]+" deleted")
	default:
		parts = append(parts, fmt.Sprintf("%d tables deleted: %s", len(gone), strings.Join(gone, ", ")))
	}
	if t.more {
		parts = append(parts, "more in other tables")
	}
	if parts == nil {
		return "a change of which the kernel told no details"
	}
	return strings.Join(parts, "; ")
}

func (c tableChanges) changes() string {
	var parts []string
	whole := c.deleted[kindTable] > 0
	if whole {
		parts = append(parts, "deleted as it was")
	}
	for kind := range kinds {
		if n := c.deleted[kind]; n > 0 && !whole {
			parts = append(parts, counted(n, kind)+" deleted")
		}
		n := c.added[kind]
		switch {
		case n == 0:
		case kind == kindTable:
			parts = append(parts, "table added or changed")
		case kind == kindRule || kind == kindElement:
			parts = append(parts, counted(n, kind)+" added")
		default: // an update is reported like an addition
			parts = append(parts, counted(n, kind)+" added or changed")
		}
	}
	if parts == nil {
		return "ends of intervals"
	}
	return strings.Join(parts, ", ")
}

func counted(n int, kind objectKind) string {
	s := strconv.Itoa(n) + " " + [kinds]string{"table", "chain", "rule", "set", "element", "object", "flowtable"}[kind]
	if n != 1 {
		s += "s"
	}
	return s
}

// String is the table as nft writes it. Names are other people's and may hold anything.
func (c tableChanges) String() string {
	family := map[uint8]string{
		unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6",
		unix.NFPROTO_ARP: "arp", unix.NFPROTO_BRIDGE: "bridge", unix.NFPROTO_NETDEV: "netdev",
	}[c.family]
	if family == "" {
		family = fmt.Sprintf("family %d", c.family)
	}
	name := c.name
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` {
		name = quoted
	}
	return family + " " + name
}
