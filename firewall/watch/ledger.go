package watch

import (
	"time"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// ledger turns notifications into events. It reports each commit, or covers it by a loss. It is
// used by one goroutine.
type ledger struct {
	// known is the last generation that was reported, ignored or covered by a loss.
	known uint32
	// lost is the generation of the last reported loss; 0 if there was none.
	lost    uint32
	current transaction
	ignored map[uint32]int // counts of Ignore, by netlink port
	self    int            // this process, if its programs' commits are our own; otherwise 0

	author func(commit, time.Time) authorship
	emit   func(Event)
	now    func() time.Time
}

// datagram processes one datagram from the kernel.
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
		return // its messages may be incomplete, and it was reported before
	}
	at := l.now()
	own := l.ignored[c.port] > 0
	var by authorship
	if !own {
		by = l.author(c, at)                     // first, because the author may end soon
		own = l.self != 0 && by.parent == l.self // a program that we run
	}
	if c.generation != next(l.known) {
		l.reportLoss(c.generation)
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

// reportLoss reports that commits up to a generation may be missing. It does so once for each
// generation, because a single commit can overflow the socket repeatedly.
func (l *ledger) reportLoss(generation uint32) {
	if l.lost == generation && generation != 0 {
		return
	}
	l.lost = generation
	l.skipTo(generation)
	l.emit(Event{At: l.now(), Generation: generation, Lost: true, Summary: "notifications were " +
		"lost"})
}

// skipTo marks everything up to a generation as known. The kernel raises the generation before it
// notifies, so a later commit is seen from its first message.
func (l *ledger) skipTo(generation uint32) {
	if generation != 0 && after(generation, l.known) {
		l.known = generation
	}
}

// after compares generations, which wrap around.
func after(a, b uint32) bool { return int32(a-b) > 0 }

// next returns the generation of the next commit; the kernel skips 0.
func next(generation uint32) uint32 { return max(generation+1, 1) }
