package nftables

import (
	"slices"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// Add adds what a message to nf_tables makes (NFT_MSG_NEW*), as if the kernel had listed it. It
// copies what it keeps. A set must come before its elements.
func (d *Dump) Add(family exposure.Family, kind int, attributes []byte) error {
	object := func() Object { return Object{family, slices.Clone(attributes)} }
	switch kind {
	case unix.NFT_MSG_NEWTABLE:
		d.Tables = append(d.Tables, object())
	case unix.NFT_MSG_NEWCHAIN:
		d.Chains = append(d.Chains, object())
	case unix.NFT_MSG_NEWRULE:
		d.Rules = append(d.Rules, object())
	case unix.NFT_MSG_NEWOBJ:
		d.Objects = append(d.Objects, object())
	case unix.NFT_MSG_NEWSET:
		s, err := kernel.DecodeSet(attributes)
		if err != nil {
			return err
		}
		d.Sets = append(d.Sets, object())
		if d.Elements == nil {
			d.Elements = map[SetName]*Elements{}
		}
		d.Elements[SetName{family, s.Table, s.Name}] = NewElements(int(s.KeyLen))
	case unix.NFT_MSG_NEWSETELEM:
		a, err := netlink.Parse(attributes)
		if err != nil {
			return err
		}
		name := SetName{
			family, a.String(unix.NFTA_SET_ELEM_LIST_TABLE), a.String(unix.NFTA_SET_ELEM_LIST_SET),
		}
		if d.Elements[name] != nil {
			d.Elements[name].Add(attributes)
		}
	}
	return nil
}
