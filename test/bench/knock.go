package main

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/portgrave/portgrave/test/lab"
	"golang.org/x/sys/unix"
)

// Knock asks again and again whether a source gets into the host of a world. With each packet of
// that source it sends one of the office's own address, which must always get in: when that has
// arrived, the other one has been decided on, and there is nothing to wait for.
type Knock struct{ path *path }

// NewKnock prepares a knock on a UDP port, from a source behind the office.
func NewKnock(w *lab.World, port uint16, source netip.Addr) (*Knock, error) {
	p, err := newPath(
		w,
		w.Host,
		netip.AddrPortFrom(w.Host.Link("eth1").V4[0], port),
		[]netip.Addr{source, w.Office.Addr4()},
	)
	if err != nil {
		return nil, err
	}
	return &Knock{p}, nil
}

// GetsIn sends both packets and reports whether the source's arrives.
func (k *Knock) GetsIn() (in bool, err error) {
	if err := k.path.burst.send(k.path.out); err != nil {
		return false, err
	}
	buf := make([]byte, 128)
	for sent := time.Now(); time.Since(sent) < packetTimeout; {
		n, from, err := unix.Recvfrom(k.path.in, buf, 0)
		if err != nil || n <= 0 {
			continue
		}
		if a, ok := from.(*unix.SockaddrInet4); ok && netip.AddrFrom4(a.Addr) == k.path.source {
			return in, nil
		}
		in = true
	}
	return false, fmt.Errorf(
		"%w: what is allowed, from %v, does not get in",
		errLost,
		k.path.source,
	)
}

// Close closes the sockets.
func (k *Knock) Close() { k.path.Close() }
