package nftables

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Attributes and values that x/sys/unix may lack.
const (
	dynsetExpressions = 10 // NFTA_DYNSET_EXPRESSIONS
	dynsetDelete      = 2  // NFT_DYNSET_OP_DELETE
)

// dynset adds to a set, or removes from it (nft_dynset_eval in net/netfilter/nft_dynset.c).
func (t *translator) dynset(a *netlink.Attributes) {
	name := a.String(unix.NFTA_DYNSET_SET_NAME)
	asked, rate, err := conditions(a.Bytes(unix.NFTA_DYNSET_EXPR), a.Bytes(dynsetExpressions))
	key, v, found := t.key(name, a.Number(unix.NFTA_DYNSET_SREG_KEY))
	if !found || err != nil {
		t.unknownEffect("update of set " + name)
		return
	}
	u := exposure.SetUpdate{Set: v.out, Op: exposure.SetAdd, Key: key, EndsWhenFull: true}
	if a.Number(unix.NFTA_DYNSET_OP) == dynsetDelete {
		u.Op, u.EndsWhenFull = exposure.SetDelete, false
		v.out.Shrinks = true
		t.add(u)
		return
	}
	v.out.Grows = true
	// What the set attaches to every element counts too; the kernel doesn't repeat it here.
	if u.Condition, u.Rate = asked, rate; v.set.conditions != "" && !strings.Contains(asked, v.set.conditions) {
		u.Condition, u.Rate = strings.TrimSpace(v.set.conditions+" "+asked), v.set.rate
	}
	t.add(u)
	if a.Number(unix.NFTA_DYNSET_FLAGS)&unix.NFT_DYNSET_F_INV != 0 { // only a packet whose key has no room goes on
		t.unknownMatch("no room in set " + name)
	}
}

// objref applies a named object, or the one that a map has for a key: NFTA_OBJREF_IMM_TYPE 1, NFTA_OBJREF_IMM_NAME 2, NFTA_OBJREF_SET_SREG 3,
// NFTA_OBJREF_SET_NAME 4.
func (t *translator) objref(a *netlink.Attributes) {
	if !a.Has(4) {
		kind, name := uint32(a.Number(1)), a.String(2)
		text := t.table.objects[objectKey{kind, name}]
		if text == "" {
			text = fmt.Sprintf("%s %s", objectWord(kind), name)
		}
		t.add(objectEffect(kind, text))
		return
	}
	name := a.String(4)
	key, v, found := t.key(name, a.Number(3))
	if !found {
		t.unknownEffect("object from map " + name)
		return
	}
	t.match(exposure.Match{Key: key, In: v.out}) // a key without an object ends the rule
	from := "map " + name
	if v.set.is(unix.NFT_SET_ANONYMOUS) {
		from = "a map"
	}
	text := fmt.Sprintf("%s from %s", objectWord(v.set.objectType), from)
	t.add(objectEffect(v.set.objectType, text))
}
