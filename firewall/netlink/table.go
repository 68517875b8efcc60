package netlink

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Attempts bounds how often a dump is repeated that the kernel could not finish.
const Attempts = 10

// Table reads a whole table of the kernel and parses each message of it. What parse does not want
// it answers with false. A dump that was interrupted or overran our buffer is repeated from the
// start.
//
// With ErrInterrupted, what the last attempt found comes along: it is there, but others may be
// missing. With any other error nothing does.
func Table[T any](
	ctx context.Context,
	from Source,
	family int,
	request Request,
	parse func(Message) (T, bool, error),
) ([]T, error) {
	request.Flags |= unix.NLM_F_DUMP
	var out []T
	var err error
	for range Attempts {
		out, err = tableOnce(ctx, from, family, request, parse)
		switch {
		case err == nil:
			return out, nil
		case !errors.Is(err, ErrInterrupted) && !errors.Is(err, unix.ENOBUFS) &&
			!errors.Is(err, unix.EINTR):
			return nil, err
		}
	}
	return out, fmt.Errorf("%w, %d times in a row", err, Attempts)
}

func tableOnce[T any](
	ctx context.Context,
	from Source,
	family int,
	request Request,
	parse func(Message) (T, bool, error),
) (out []T, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	conn, err := from.take(family)
	if err != nil {
		return nil, err
	}
	defer func() { from.giveBack(family, conn, err == nil) }()
	err = conn.Ask(ctx, request, func(m Message) error {
		v, wanted, err := parse(m)
		if wanted && err == nil {
			out = append(out, v)
		}
		return err
	})
	if err != nil && !errors.Is(err, ErrInterrupted) {
		return nil, err
	}
	return out, err
}

// Source is where Table gets its sockets from: a Dialer, or a Pool for several tables in a row.
type Source interface {
	take(family int) (*Conn, error)
	// giveBack ends the use of a socket; clean: nothing of an answer is left in it.
	giveBack(family int, conn *Conn, clean bool)
}

func (d Dialer) take(family int) (*Conn, error)     { return d(family) }
func (d Dialer) giveBack(_ int, conn *Conn, _ bool) { _ = conn.Close() }

// Pool is a Source that keeps one socket of each family from table to table: opening one in another
// namespace costs as much as a small table. It is used by one goroutine at a time, and closed at
// the end.
type Pool struct {
	dial Dialer
	idle map[int]*Conn
}

// NewPool returns a Pool of the Dialer's sockets. It opens none yet.
func NewPool(dial Dialer) *Pool { return &Pool{dial, map[int]*Conn{}} }

func (p *Pool) take(family int) (*Conn, error) {
	if conn := p.idle[family]; conn != nil {
		delete(p.idle, family)
		return conn, nil
	}
	return p.dial(family)
}

func (p *Pool) giveBack(family int, conn *Conn, clean bool) {
	if !clean || p.idle[family] != nil {
		_ = conn.Close()
		return
	}
	p.idle[family] = conn
}

// Close closes the sockets.
func (p *Pool) Close() error {
	var errs []error
	for family, conn := range p.idle {
		errs = append(errs, conn.Close())
		delete(p.idle, family)
	}
	return errors.Join(errs...)
}
