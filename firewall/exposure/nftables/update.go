package nftables

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// dynsetDelete is NFT_DYNSET_OP_DELETE, which x/sys/unix lacks.
const dynsetDelete = 2

// dynset adds to a set, or removes from it (nft_dynset_eval in net/netfilter/nft_dynset.c).
func (t *translator) dynset(e kernel.Dynset) {
	name := e.Set
	asked, rate := conditions(e.Exprs[:])
	key, v, found := t.key(name, e.SregKey)
	if !found {
		t.unknownEffect("update of set " + name)
		return
	}
	u := exposure.SetUpdate{Set: v.out, Op: exposure.SetAdd, Key: key, EndsWhenFull: true}
	if e.Op == dynsetDelete {
		u.Op, u.EndsWhenFull = exposure.SetDelete, false
		v.out.Shrinks = true
		t.add(u)
		return
	}
	v.out.Grows = true
	// What the set attaches to every element counts too; the kernel doesn't repeat it here.
	if u.Condition, u.Rate = asked, rate; v.set.conditions != "" &&
		!strings.Contains(asked, v.set.conditions) {
		u.Condition, u.Rate = strings.TrimSpace(v.set.conditions+" "+asked), v.set.rate
	}
	t.add(u)
	if e.Flags&unix.NFT_DYNSET_F_INV != 0 { // only a packet whose key has no room goes on
		t.unknownMatch("no room in set " + name)
	}
}

// objref applies a named object, or the one that a map has for a key.
func (t *translator) objref(e kernel.Objref) {
	if e.Set == "" {
		kind, name := e.Type, e.Object
		o, known := t.table.objects[objectKey{kind, name}]
		if !known {
			o.text = fmt.Sprintf("%s %s", objectWord(kind), name)
		}
		t.add(objectEffect(kind, o))
		return
	}
	name := e.Set
	key, v, found := t.key(name, e.Sreg)
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
	t.add(objectEffect(v.set.objectType, object{text: text}))
}
