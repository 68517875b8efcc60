package nftables

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"github.com/portgrave/portgrave/firewall/backendtest"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
)

// A set whose dump would take too long is cut, and said to be; those behind it are read.
func TestLongDumpIsCut(t *testing.T) {
	backendtest.Isolate(t)
	elements := func(first byte, n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf("%d.%d.%d.0/25", first, i>>8&255, i&255))
		}
		return strings.Join(list, ", ")
	}
	nft(t, fmt.Sprintf(`
table inet t {
	set long { type ipv4_addr; flags interval; elements = { %s }; }
	set short { type ipv4_addr; flags interval; elements = { %s }; }
	chain in { type filter hook input priority 0; ip saddr @long drop; ip saddr @short accept; }
}
`, elements(10, 6000), elements(20, 1000)))
	conn := dial(t)
	for _, c := range []struct {
		walked int
		cut    []string
	}{{maxWalked, nil}, {64000, []string{"long"}}} {
		d, err := take(context.Background(), conn, c.walked)
		if err != nil {
			t.Fatal(err)
		}
		tables, err := Decode(d, Options{})
		if err != nil {
			t.Fatal(err)
		}
		// A rule is written as it was, whether its set was read or not.
		rules := tables[0].Chains[0].Rules
		for i, want := range []string{"ip saddr @long drop", "ip saddr @short accept"} {
			if got := rules[i].Text; got != want {
				t.Errorf("walking %d: rule %d reads %q, want %q", c.walked, i, got, want)
			}
		}
		var cut []string
		for _, s := range tables[0].Sets {
			switch {
			case s.Unknown != "":
				cut = append(cut, s.Name)
			case s.Len() != map[string]int{"long": 6000, "short": 1000}[s.Name]:
				t.Errorf("walking %d: set %s has %d elements", c.walked, s.Name, s.Len())
			}
		}
		if !slices.Equal(cut, c.cut) {
			t.Errorf("walking %d: %v were cut, not %v", c.walked, cut, c.cut)
		}
	}
}

// A hash table that has just grown is sorted anew while it is read: everything must be there all
// the same.
func TestReadWhileTheKernelSortsAnew(t *testing.T) {
	backendtest.Isolate(t)
	const addresses = 1 << 16
	var all []nftables.SetElement
	for a := range uint32(addresses) {
		all = append(all, nftables.SetElement{Key: binary.BigEndian.AppendUint32(nil, 10<<24+a)})
	}
	conn := dial(t)
	for range 10 {
		// all in one transaction
		c, err := nftables.New(
			nftables.WithSockOptions(
				func(c *netlink.Conn) error { return c.SetWriteBuffer(32 << 20) },
			),
		)
		if err != nil {
			t.Fatal(err)
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "t"})
		set := &nftables.Set{Table: table, Name: "s", KeyType: nftables.TypeIPAddr}
		if err := c.AddSet(set, all[:1000]); err != nil {
			t.Fatal(err)
		}
		for at := 1000; at < len(all); at += 1000 {
			if err := c.SetAddElements(set, all[at:min(at+1000, len(all))]); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		d, err := Take(context.Background(), conn)
		if err != nil {
			t.Fatal(err)
		}
		k, err := kernel.DecodeSet(d.Sets[0].Attributes)
		if err != nil {
			t.Fatal(err)
		}
		s := setOf(k)
		for _, l := range d.Elements {
			s.read = l
		}
		seen := map[string]bool{}
		for _, e := range decodeElements(s, d.At).list {
			seen[string(e.key)] = true
		}
		if len(seen) != addresses {
			t.Errorf("%d of %d elements were read", len(seen), addresses)
		}
		c.DelTable(table)
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
	}
}
