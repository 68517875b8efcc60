package watch

import (
	"fmt"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

func TestSummary(t *testing.T) {
	type list = [][]byte
	const ip, inet = unix.NFPROTO_IPV4, unix.NFPROTO_INET
	table := func(kind int, family byte, name string) []byte {
		return encodeMessage(kind, foreignPort, family, stringAttribute(unix.NFTA_TABLE_NAME, name))
	}
	rule := func(kind int, family byte, name string) []byte {
		return encodeMessage(kind, foreignPort, family, stringAttribute(unix.NFTA_RULE_TABLE, name))
	}
	element := nestedAttribute(unix.NFTA_LIST_ELEM)
	end := nestedAttribute(unix.NFTA_LIST_ELEM,
		numberAttribute(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END))
	elements := func(kind int, els ...[]byte) []byte {
		return encodeMessage(kind, foreignPort, inet,
			stringAttribute(unix.NFTA_SET_ELEM_LIST_TABLE, "t"),
			nestedAttribute(unix.NFTA_SET_ELEM_LIST_ELEMENTS, els...))
	}
	var many list
	for i := range maxTables + 3 {
		many = append(many, table(unix.NFT_MSG_DELTABLE, ip, fmt.Sprint("t", i)))
	}
	tests := map[string]struct {
		messages list
		want     string
	}{
		"nothing": {nil, "a change without details from the kernel"},
		"one table": {
			list{rule(unix.NFT_MSG_DELRULE, ip, "a"), table(unix.NFT_MSG_DELTABLE, ip, "a")},
			"table ip a deleted",
		},
		"two tables": {
			list{table(unix.NFT_MSG_DELTABLE, ip, "a"), table(unix.NFT_MSG_DELTABLE, inet, "a")},
			"2 tables deleted: ip a, inet a",
		},
		"rewritten": {
			list{
				rule(unix.NFT_MSG_DELRULE, ip, "a"),
				table(unix.NFT_MSG_DELTABLE, ip, "a"),
				table(unix.NFT_MSG_NEWTABLE, ip, "a"),
				rule(unix.NFT_MSG_NEWRULE, ip, "a"),
			},
			"table ip a: deleted as it was, table added or changed, 1 rule added",
		},
		"replaced": {
			list{rule(unix.NFT_MSG_NEWRULE, ip, "a"), rule(unix.NFT_MSG_DELRULE, ip, "a")},
			"table ip a: 1 rule deleted, 1 rule added",
		},
		"intervals": {
			list{
				elements(unix.NFT_MSG_NEWSETELEM, element, end),
				elements(unix.NFT_MSG_NEWSETELEM, element, end),
			},
			"table inet t: 2 elements added",
		},
		"ends only": {
			list{elements(unix.NFT_MSG_DELSETELEM, end)},
			"table inet t: ends of intervals",
		},
		"strange name": {
			list{table(unix.NFT_MSG_NEWTABLE, 99, "\x1b[2J")},
			`table family 99 "\x1b[2J": table added or changed`,
		},
		"what's this": {
			list{encodeMessage(200, foreignPort, ip)},
			"a change without details from the kernel",
		},
		"flowtable": {
			list{
				encodeMessage(
					unix.NFT_MSG_NEWFLOWTABLE,
					foreignPort,
					ip,
					stringAttribute(flowtableTable, "f"),
				),
			},
			"table ip f: 1 flowtable added or changed",
		},
		"many": {
			many,
			"16 tables deleted: ip t0, ip t1, ip t2, ip t3, ip t4, ip t5, ip t6, ip t7, ip t8, ip t9, ip t10, ip t11, ip t12, ip t13, ip t14, ip t15; more in other tables",
		},
		"several kinds": {
			list{rule(unix.NFT_MSG_NEWRULE, ip, "a"), table(unix.NFT_MSG_DELTABLE, ip, "b")},
			"table ip a: 1 rule added; table ip b deleted",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var tx transaction
			for _, b := range test.messages {
				take(t, &tx, b)
			}
			if got := tx.summary(); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

// Our table is recognised among any number of other tables.
func TestOursIsNoticedAmongMany(t *testing.T) {
	tx := transaction{ownTables: Portgrave.Tables}
	add := func(kind int, table string) {
		take(t, &tx, encodeMessage(kind, foreignPort, unix.NFPROTO_INET,
			stringAttribute(unix.NFTA_RULE_TABLE, table)))
	}
	for i := range 1000 {
		add(unix.NFT_MSG_NEWRULE, strings.Repeat("x", i%200)+"t")
	}
	add(unix.NFT_MSG_DELRULE, "portgrave")
	if !tx.ours || len(tx.tables) != maxTables {
		t.Errorf("ours %v, %d tables kept", tx.ours, len(tx.tables))
	}
}

// take has a transaction take in a datagram.
func take(t *testing.T, tx *transaction, datagram []byte) {
	t.Helper()
	if err := netlink.Notifications(datagram, unix.NFNL_SUBSYS_NFTABLES, tx.add); err != nil {
		t.Fatal(err)
	}
}
