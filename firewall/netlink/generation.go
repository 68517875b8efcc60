package netlink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Ruleset is nf_tables as its readers need it.
type Ruleset interface {
	// Generation is the number of transactions so far.
	Generation() (uint32, error)
	// Settle returns when the transaction that made the present generation is in use.
	Settle() error
}

// OneGeneration runs read, again and again, until it ran within one generation of nf_tables, and
// returns that generation. Every reader of more than one message needs it, and above all one that
// remembers what it read.
//
// Two equal numbers around a reading prove nothing by themselves. nf_tables counts up its
// generation before the new ruleset is in use (nf_tables_commit in net/netfilter/nf_tables_api.c),
// so a dump that begins with the new number may still see a part of the old ruleset, and neither
// the number nor NLM_F_DUMP_INTR tells. So the transaction of the first number is waited for. What
// is read between it and an equal number is whole.
//
// A read that fails because somebody wrote is repeated: the kernel says so, or an object was
// removed between two dumps. After so many attempts the error wraps ErrInterrupted. Any other error
// of read is returned as it is.
func OneGeneration(r Ruleset, attempts int, read func(generation uint32) error) (uint32, error) {
	for range attempts {
		before, err := r.Generation()
		if err != nil {
			return 0, err
		}
		if err := r.Settle(); err != nil {
			return 0, err
		}
		err = read(before)
		if errors.Is(err, ErrInterrupted) || errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return 0, err
		}
		after, err := r.Generation()
		if err != nil {
			return 0, err
		}
		if before == after {
			return after, nil
		}
	}
	return 0, fmt.Errorf(
		"%w, %d times in a row: another program writes rules without pause; stop it, or try again",
		ErrInterrupted,
		attempts,
	)
}

// Ruleset is nf_tables as this connection sees it, for as long as the context lives.
func (c *Conn) Ruleset(ctx context.Context) Ruleset { return ruleset{ctx, c} }

type ruleset struct {
	ctx  context.Context
	conn *Conn
}

// Generation implements Ruleset.
func (r ruleset) Generation() (uint32, error) {
	var n uint32
	request := Netfilter(unix.NFNL_SUBSYS_NFTABLES, unix.NFT_MSG_GETGEN, unix.AF_UNSPEC, 0, nil)
	err := r.conn.Ask(r.ctx, request, func(m Message) error {
		a, err := Parse(m.Attributes)
		n = uint32(a.Number(unix.NFTA_GEN_ID))
		return err
	})
	return n, err
}

// Settle implements Ruleset. It sends a transaction that changes nothing and counts as nothing.
// That waits for the subsystem's lock, and so for a transaction that is halfway done: the kernel
// works on it before the call returns (netlink is synchronous). It is not answered unless it is
// refused.
func (r ruleset) Settle() error {
	e := r.conn.Encoder(nil)
	e.BatchMarker(unix.NFNL_MSG_BATCH_BEGIN, unix.NFNL_SUBSYS_NFTABLES, 0, 0)
	e.BatchMarker(unix.NFNL_MSG_BATCH_END, unix.NFNL_SUBSYS_NFTABLES, 0, 0)
	return r.conn.Send(e)
}

// batchGeneration is NFNL_BATCH_GENID (include/uapi/linux/netfilter/nfnetlink.h): the kernel
// answers ERESTART if its generation is another.
const batchGeneration = 1

// BatchMarker writes the begin or the end of a transaction (NFNL_MSG_BATCH_…), which the kernel
// accepts only at a generation (0: at any).
func (e *Encoder) BatchMarker(kind uint16, subsystem uint8, flags uint16, generation uint32) {
	resource := binary.BigEndian.AppendUint16(nil, uint16(subsystem))
	at := e.Begin(kind, flags, unix.AF_UNSPEC, unix.NFNETLINK_V0, resource[0], resource[1])
	if generation != 0 {
		e.Uint32(batchGeneration, generation)
	}
	e.End(at)
}
