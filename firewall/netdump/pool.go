package netdump

import (
	"errors"

	"github.com/mdlayher/netlink"
)

// Source is where Table gets its sockets from: a Dialer, or a Pool for several tables in a row.
type Source interface {
	take(family int) (*netlink.Conn, error)
	// giveBack ends the use of a socket; clean: nothing of an answer is left in it.
	giveBack(family int, conn *netlink.Conn, clean bool)
}

func (d Dialer) take(family int) (*netlink.Conn, error)     { return d(family) }
func (d Dialer) giveBack(_ int, conn *netlink.Conn, _ bool) { _ = conn.Close() }

// Pool is a Source that keeps one socket of each family from table to table: opening one in another namespace costs as much as
// a small table. It is used by one goroutine at a time, and closed at the end.
type Pool struct {
	dial Dialer
	idle map[int]*netlink.Conn
}

// NewPool returns a Pool of the Dialer's sockets. It opens none yet.
func NewPool(dial Dialer) *Pool { return &Pool{dial, map[int]*netlink.Conn{}} }

func (p *Pool) take(family int) (*netlink.Conn, error) {
	if conn := p.idle[family]; conn != nil {
		delete(p.idle, family)
		return conn, nil
	}
	return p.dial(family)
}

func (p *Pool) giveBack(family int, conn *netlink.Conn, clean bool) {
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
