package nftables

import (
	"time"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Snapshot is what the kernel held in one settled generation: some tables, or all of them.
//
// Readers wait until the transaction of the generation has come into use, and compare
// the generation before and after (netlink.OneGeneration): else the objects are those of two
// generations.
//
// Sets come without their elements. A million of them must not become a million Go objects, so
// each reader packs what it needs of them while they come (EachElement).
type Snapshot struct {
	Generation uint32
	At         time.Time // when it was read; what is left of elements' time counts from then
	Tables     []*Table
}

// Table is the snapshot's table of a name; nil if there is none.
func (s Snapshot) Table(name string) *Table {
	for _, t := range s.Tables {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// Requests are the dumps that a table's content takes, in their order: a rule comes after its
// chain.
var Requests = []int{unix.NFT_MSG_GETCHAIN, unix.NFT_MSG_GETRULE, unix.NFT_MSG_GETSET,
	unix.NFT_MSG_GETOBJ,
	unix.NFT_MSG_GETFLOWTABLE}

// Add takes in an object that the kernel sent for one of Requests. It passes over what another
// table holds. For a rule whose chain isn't there it returns netlink.ErrInterrupted: they are
// of two generations.
func (t *Table) Add(request int, attributes []byte) error {
	switch request {
	case unix.NFT_MSG_GETCHAIN:
		c, err := DecodeChain(attributes)
		if err != nil || c.Table != t.Name {
			return err
		}
		if t.chains == nil {
			t.chains = map[string]*Chain{}
		}
		t.chains[c.Name] = &c
		t.Chains = append(t.Chains, &c)
	case unix.NFT_MSG_GETRULE:
		r, table, chain, err := t.decoder.DecodeRule(attributes)
		if err != nil || table != t.Name {
			return err
		}
		c := t.chains[chain]
		if c == nil {
			return netlink.ErrInterrupted
		}
		c.Rules = append(c.Rules, r)
	case unix.NFT_MSG_GETSET:
		s, err := DecodeSet(attributes)
		if err != nil || s.Table != t.Name {
			return err
		}
		t.Sets = append(t.Sets, s)
	case unix.NFT_MSG_GETOBJ:
		o, err := DecodeObject(attributes)
		if err != nil || o.Table != t.Name {
			return err
		}
		t.Objects = append(t.Objects, o)
	case unix.NFT_MSG_GETFLOWTABLE:
		f, err := DecodeFlowtable(attributes)
		if err != nil || f.Table != t.Name {
			return err
		}
		t.Flowtables = append(t.Flowtables, f)
	}
	return nil
}
