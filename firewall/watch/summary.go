package watch

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// summary describes a transaction for people.
func (t *transaction) summary() string {
	var parts, deleted []string
	for _, table := range t.tables {
		if table.deleted[kindTable] > 0 && table.added == [kinds]int{} {
			deleted = append(deleted, table.String()) // don't list its content
			continue
		}
		parts = append(parts, "table "+table.String()+": "+table.changes())
	}
	switch len(deleted) {
	case 0:
	case 1:
		parts = append(parts, "table "+deleted[0]+" deleted")
	default:
		names := strings.Join(deleted, ", ")
		parts = append(parts, fmt.Sprintf("%d tables deleted: %s", len(deleted), names))
	}
	if t.truncated {
		parts = append(parts, "more in other tables")
	}
	if parts == nil {
		return "a change without details from the kernel"
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
			parts = append(parts, countText(n, kind)+" deleted")
		}
		n := c.added[kind]
		switch {
		case n == 0:
		case kind == kindTable:
			parts = append(parts, "table added or changed")
		case kind == kindRule || kind == kindElement:
			parts = append(parts, countText(n, kind)+" added")
		default: // the kernel reports an update like an addition
			parts = append(parts, countText(n, kind)+" added or changed")
		}
	}
	if parts == nil {
		return "ends of intervals"
	}
	return strings.Join(parts, ", ")
}

func countText(n int, kind objectKind) string {
	names := [kinds]string{"table", "chain", "rule", "set", "element", "object", "flowtable"}
	s := strconv.Itoa(n) + " " + names[kind]
	if n != 1 {
		s += "s"
	}
	return s
}

// String returns the table as nft writes it. It quotes names, which other programs choose freely.
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
