package nftables

import (
	"context"
	"encoding/binary"
	"testing"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"github.com/portgrave/portgrave/firewall/backendtest"
)

// A hash table that has just grown is sorted anew while it is read: everything must be there all the same.
func TestReadWhileTheKernelSortsAnew(t *testing.T) {
	backendtest.Isolate(t)
	const addresses = 1 << 16
	var all []nftables.SetElement
	for a := range uint32(addresses) {
		all = append(all, nftables.SetElement{Key: binary.BigEndian.AppendUint32(nil, 10<<24+a)})
	}
	conn := dial(t)
	for range 10 {
		c, err := nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error { return c.SetWriteBuffer(32 << 20) })) // all in one transaction
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
		s, _, err := decodeSet(d.Sets[0].Attributes)
		if err != nil {
			t.Fatal(err)
		}
		for _, messages := range d.Elements {
			s.messages = messages
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
