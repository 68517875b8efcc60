package watch

import (
	"errors"
	"slices"
	"testing"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// FuzzDecode checks that no input panics, memory is bounded, and generations never go back.
func FuzzDecode(f *testing.F) {
	element := nestedAttribute(unix.NFTA_LIST_ELEM, numberAttribute(unix.NFTA_SET_ELEM_FLAGS, 1))
	f.Add(slices.Concat(
		encodeMessage(unix.NFT_MSG_NEWTABLE, foreignPort, 1,
			stringAttribute(unix.NFTA_TABLE_NAME, "portgrave"),
			numberAttribute(unix.NFTA_TABLE_USE, 1)),
		encodeMessage(unix.NFT_MSG_NEWCHAIN, foreignPort, 1,
			stringAttribute(unix.NFTA_CHAIN_TABLE, "t"), nestedAttribute(unix.NFTA_CHAIN_HOOK)),
		encodeMessage(unix.NFT_MSG_NEWSETELEM, foreignPort, 1,
			stringAttribute(unix.NFTA_SET_ELEM_LIST_TABLE, "t"),
			nestedAttribute(unix.NFTA_SET_ELEM_LIST_ELEMENTS, element, element)),
		commitMessage(5, foreignPort)))
	f.Add(commitMessage(0, ownPort))
	f.Add(commitMessage(9, foreignPort)[:30])
	f.Fuzz(func(t *testing.T, b []byte) {
		l, _ := newLedger(4)
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
	whole := commitMessage(5, foreignPort)
	for n := 1; n < len(whole); n++ {
		l, log := newLedger(4)
		if err := l.datagram(whole[:n]); !errors.Is(err, netlink.ErrMalformed) || len(*log) != 0 {
			t.Fatalf("%d of %d bytes: %v, events %v", n, len(whole), err, *log)
		}
	}
	// Messages of other subsystems are ignored.
	l, log := newLedger(4)
	foreign := slices.Clone(whole)
	foreign[4], foreign[5] = byte(unix.NLMSG_NOOP), 0
	if err := l.datagram(foreign); err != nil || len(*log) != 0 {
		t.Errorf("%v, events %v", err, *log)
	}
}
