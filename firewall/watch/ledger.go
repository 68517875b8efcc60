package watch

import (
	"time"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// ledger turns notifications into events, so that every commit is either reported or covered by
// an event that says so. One goroutine uses it.
type ledger struct {
	// known: every commit up to this generation was reported, was ignored, or is covered by a loss.
	known uint32
	// lost is the generation of the last loss that was reported; 0 if there was none.
	lost    uint32
	current transaction
	ignored map[uint32]int // netlink ports of our own commits, and how often each was named
	self    int            // this process, if its programs' commits are our own; 0: they are not

	author func(commit, time.Time) authorship
	emit   func(Event)
	now    func() time.Time
}

// datagram takes in what the kernel sent.
func (l *ledger) datagram(b []byte) error {
	return netlink.Notifications(b, unix.NFNL_SUBSYS_NFTABLES, func(m netlink.Message) error {
		if uint8(m.Kind) != unix.NFT_MSG_NEWGEN {
			return l.current.add(m)
		}
		c, err := decodeCommit(m)
		if err == nil {
			l.commit(c)
		}
		return err
	})
}

func (l *ledger) commit(c commit) {
	defer l.current.reset()
	if !after(c.generation, l.known) {
		return // its messages may be incomplete; who asked for the generation knows of it
	}
	at := l.now()
	own := l.ignored[c.port] > 0
	var by authorship
	if !own {
		by = l.author(c, at)                     // before anything else: it won't live long
		own = l.self != 0 && by.parent == l.self // a program that we run
	}
	if c.generation != next(l.known) {
		l.lose(c.generation)
	}
	l.known = c.generation
	if own {
		return
	}
	l.emit(Event{
		At: at, Generation: c.generation, Ours: l.current.ours, Hooks: l.current.hooks,
		Summary: l.current.summary(), Author: by.Author, LoginUser: by.loginUser,
	})
}

// lose reports that commits up to a generation may be missing, unless that was said before: a single
// commit can overflow the socket again and again.
func (l *ledger) lose(generation uint32) {
	if l.lost == generation && generation != 0 {
		return
	}
	l.lost = generation
	l.restart(generation)
	l.emit(Event{At: l.now(), Generation: generation, Lost: true, Summary: "notifications were lost"})
}

// restart counts from a generation. The kernel raises it before it notifies, so a commit after this one
// is seen from its first message on.
func (l *ledger) restart(generation uint32) {
	if generation != 0 && after(generation, l.known) {
		l.known = generation
	}
}

// after compares generations, which wrap around.
func after(a, b uint32) bool { return int32(a-b) > 0 }

// next is the generation of the commit that follows; the kernel leaves out 0.
func next(generation uint32) uint32 { return max(generation+1, 1) }
