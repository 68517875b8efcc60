package watch

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

const (
	foreignPort = 100 // netlink ports
	ownPort     = 200
)

// newLedger returns a ledger and a log of its events, as "generation" or "lost generation".
func newLedger(known uint32) (*ledger, *[]string) {
	var log []string
	return &ledger{
		known:   known,
		current: transaction{ownTables: Portgrave.Tables},
		ignored: map[uint32]int{ownPort: 1},
		now:     time.Now,
		author: func(c commit, _ time.Time) authorship {
			return authorship{Author: firewall.Author{Command: c.name, PID: c.thread}}
		},
		emit: func(e Event) {
			if e.Lost {
				log = append(log, fmt.Sprint("lost ", e.Generation))
			} else {
				log = append(log, fmt.Sprint(e.Generation))
			}
		},
	}, &log
}

// Every commit is reported, ignored, or covered by a loss.
func TestNoCommitIsMissed(t *testing.T) {
	type step struct{ generation, port uint32 }
	tests := map[string]struct {
		known uint32
		steps []step
		want  []string
	}{
		"in order":    {4, []step{{5, foreignPort}, {6, foreignPort}}, []string{"5", "6"}},
		"own commits": {4, []step{{5, ownPort}, {6, foreignPort}}, []string{"6"}},
		"a gap": {
			4,
			[]step{{6, foreignPort}, {7, foreignPort}},
			[]string{"lost 6", "6", "7"},
		},
		"a gap before an own": {4, []step{{6, ownPort}, {7, foreignPort}}, []string{"lost 6", "7"}},
		"known already": {
			4,
			[]step{{3, foreignPort}, {4, foreignPort}, {5, foreignPort}},
			[]string{"5"},
		},
		"zero is skipped": {
			^uint32(0),
			[]step{{1, foreignPort}, {2, foreignPort}},
			[]string{"1", "2"},
		},
		"around zero": {^uint32(0) - 1, []step{
			{^uint32(0), foreignPort}, {^uint32(0) - 1, foreignPort}, {1, foreignPort},
		}, []string{"4294967295", "1"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l, log := newLedger(test.known)
			for _, s := range test.steps {
				if err := l.datagram(commitMessage(s.generation, s.port)); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(*log, test.want) {
				t.Errorf("got %v, want %v", *log, test.want)
			}
		})
	}
}

func TestALossCoversEarlierCommits(t *testing.T) {
	l, log := newLedger(4)
	l.reportLoss(6)
	l.reportLoss(6) // the same flood overflows again
	for _, g := range []uint32{5, 6, 7} {
		if err := l.datagram(commitMessage(g, foreignPort)); err != nil {
			t.Fatal(err)
		}
	}
	l.reportLoss(7) // commit 7 was reported, but maybe not in full
	l.reportLoss(0) // the kernel returned an error
	l.reportLoss(0)
	if want := []string{"lost 6", "7", "lost 7", "lost 0", "lost 0"}; !slices.Equal(*log, want) {
		t.Errorf("got %v, want %v", *log, want)
	}
}

// The details of a commit don't appear in the next one.
func TestDetailsBelongToOneCommit(t *testing.T) {
	l, _ := newLedger(4)
	var events []Event
	l.emit = func(e Event) { events = append(events, e) }
	ours := encodeMessage(unix.NFT_MSG_DELCHAIN, foreignPort, unix.NFPROTO_INET,
		stringAttribute(unix.NFTA_CHAIN_TABLE, "portgrave"),
		stringAttribute(unix.NFTA_CHAIN_NAME, "c"))
	foreign := encodeMessage(unix.NFT_MSG_NEWRULE, foreignPort, unix.NFPROTO_IPV4,
		stringAttribute(unix.NFTA_RULE_TABLE, "nat"))
	fromKernel := encodeMessage(unix.NFT_MSG_NEWOBJ, 0, unix.NFPROTO_INET,
		stringAttribute(unix.NFTA_OBJ_TABLE, "portgrave"))
	err := l.datagram(slices.Concat(
		ours, commitMessage(5, foreignPort), fromKernel, foreign, commitMessage(6, foreignPort),
	))
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != 2 || !events[0].Ours || !events[0].Hooks || events[1].Ours ||
		events[1].Hooks {
		t.Fatalf("got %+v", events)
	}
	if got, want := events[1].Summary, "table ip nat: 1 rule added"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A consumer that does not read gets the first commits, and one loss for the others.
func TestTheQueueIsBounded(t *testing.T) {
	w := &Watcher{events: make(chan Event, maxQueuedEvents+1), done: make(chan struct{})}
	for g := range uint32(3 * maxQueuedEvents) {
		w.deliver(Event{Generation: g + 1})
	}
	for g := range uint32(maxQueuedEvents) {
		if e := nextEvent(t, w); e.Lost || e.Generation != g+1 {
			t.Fatalf("got %+v, want generation %d", e, g+1)
		}
	}
	w.deliver(Event{Generation: 1000})
	if e := nextEvent(t, w); !e.Lost || e.Generation != 0 {
		t.Errorf("got %+v, want a loss", e)
	}
	if e := nextEvent(t, w); e.Lost || e.Generation != 1000 {
		t.Errorf("got %+v, want generation 1000", e)
	}
}
