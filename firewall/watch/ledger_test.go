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
	others = 100 // netlink ports
	own    = 200
)

// book is a ledger without a kernel; it writes down the events as "generation" or "lost generation".
func book(known uint32) (*ledger, *[]string) {
	var log []string
	return &ledger{
		known: known, current: transaction{mine: Portgrave.Tables}, ignored: map[uint32]int{own: 1}, now: time.Now,
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
		"in order":             {4, []step{{5, others}, {6, others}}, []string{"5", "6"}},
		"own ones are no gap":  {4, []step{{5, own}, {6, others}}, []string{"6"}},
		"a gap":                {4, []step{{6, others}, {7, others}}, []string{"lost 6", "6", "7"}},
		"a gap before our own": {4, []step{{6, own}, {7, others}}, []string{"lost 6", "7"}},
		"known already":        {4, []step{{3, others}, {4, others}, {5, others}}, []string{"5"}},
		"zero is left out":     {^uint32(0), []step{{1, others}, {2, others}}, []string{"1", "2"}},
		"around zero":          {^uint32(0) - 1, []step{{^uint32(0), others}, {^uint32(0) - 1, others}, {1, others}}, []string{"4294967295", "1"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l, log := book(test.known)
			for _, s := range test.steps {
				if err := l.datagram(newgen(s.generation, s.port)); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(*log, test.want) {
				t.Errorf("got %v, want %v", *log, test.want)
			}
		})
	}
}

func TestALossCoversWhatItSays(t *testing.T) {
	l, log := book(4)
	l.lose(6)
	l.lose(6) // the same flood overflowed again
	for _, g := range []uint32{5, 6, 7} {
		if err := l.datagram(newgen(g, others)); err != nil {
			t.Fatal(err)
		}
	}
	l.lose(7) // of a commit that was reported, but maybe not in full
	l.lose(0) // the kernel did not say
	l.lose(0)
	if want := []string{"lost 6", "7", "lost 7", "lost 0", "lost 0"}; !slices.Equal(*log, want) {
		t.Errorf("got %v, want %v", *log, want)
	}
}

// A commit's details end with it.
func TestDetailsBelongToOneCommit(t *testing.T) {
	l, _ := book(4)
	var events []Event
	l.emit = func(e Event) { events = append(events, e) }
	ours := encoded(unix.NFT_MSG_DELCHAIN, others, unix.NFPROTO_INET, str(unix.NFTA_CHAIN_TABLE, "portgrave"), str(unix.NFTA_CHAIN_NAME, "c"))
	theirs := encoded(unix.NFT_MSG_NEWRULE, others, unix.NFPROTO_IPV4, str(unix.NFTA_RULE_TABLE, "nat"))
	kernels := encoded(unix.NFT_MSG_NEWOBJ, 0, unix.NFPROTO_INET, str(unix.NFTA_OBJ_TABLE, "portgrave"))
	if err := l.datagram(slices.Concat(ours, newgen(5, others), kernels, theirs, newgen(6, others))); err != nil {
		t.Fatal(err)
	}
	if len(events) != 2 || !events[0].Ours || !events[0].Hooks || events[1].Ours || events[1].Hooks {
		t.Fatalf("got %+v", events)
	}
	if got, want := events[1].Summary, "table ip nat: 1 rule added"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A consumer that does not come gets the first commits, and a loss for the others.
func TestTheQueueIsBounded(t *testing.T) {
	w := &Watcher{events: make(chan Event, maxWaiting+1), done: make(chan struct{})}
	for g := range uint32(3 * maxWaiting) {
		w.deliver(Event{Generation: g + 1})
	}
	for g := range uint32(maxWaiting) {
		if e := event(t, w); e.Lost || e.Generation != g+1 {
			t.Fatalf("got %+v, want generation %d", e, g+1)
		}
	}
	w.deliver(Event{Generation: 1000})
	if e := event(t, w); !e.Lost || e.Generation != 0 {
		t.Errorf("got %+v, want a loss", e)
	}
	if e := event(t, w); e.Lost || e.Generation != 1000 {
		t.Errorf("got %+v, want generation 1000", e)
	}
}
