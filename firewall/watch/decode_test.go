package watch

import (
	"errors"
	"slices"
	"testing"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// FuzzDecode: whatever comes, nothing panics, memory is bounded, and generations never go back.
func FuzzDecode(f *testing.F) {
	element := nested(unix.NFTA_LIST_ELEM, u32(unix.NFTA_SET_ELEM_FLAGS, 1))
	f.Add(slices.Concat(
		encoded(unix.NFT_MSG_NEWTABLE, others, 1, str(unix.NFTA_TABLE_NAME, "portgrave"), u32(unix.NFTA_TABLE_USE, 1)),
		encoded(unix.NFT_MSG_NEWCHAIN, others, 1, str(unix.NFTA_CHAIN_TABLE, "t"), nested(unix.NFTA_CHAIN_HOOK)),
		encoded(unix.NFT_MSG_NEWSETELEM, others, 1, str(unix.NFTA_SET_ELEM_LIST_TABLE, "t"), nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, element, element)),
		newgen(5, others)))
	f.Add(newgen(0, own))
	f.Add(newgen(9, others)[:30])
	f.Fuzz(func(t *testing.T, b []byte) {
		l, _ := book(4)
		last := l.known
		l.emit = func(e Event) {
			if e.Summary == "" {
				t.Errorf("nothing to say about %+v", e)
			}
			if after(last, e.Generation) {
				t.Errorf("generation %d after %d", e.Generation, last)
			}
			last = e.Generation
		}
		for range 2 {
			_ = l.datagram(b)
		}
		if len(l.current.tables) > maxTables {
			t.Errorf("%d tables are kept", len(l.current.tables))
		}
	})
}

func TestMalformedDatagrams(t *testing.T) {
	whole := newgen(5, others)
	for n := 1; n < len(whole); n++ {
		l, log := book(4)
		if err := l.datagram(whole[:n]); !errors.Is(err, netlink.ErrMalformed) || len(*log) != 0 {
			t.Fatalf("%d of %d bytes: %v, events %v", n, len(whole), err, *log)
		}
	}
	// What is not about nf_tables is none of ours.
	l, log := book(4)
	foreign := slices.Clone(whole)
	foreign[4], foreign[5] = byte(unix.NLMSG_NOOP), 0
	if err := l.datagram(foreign); err != nil || len(*log) != 0 {
		t.Errorf("%v, events %v", err, *log)
	}
}
