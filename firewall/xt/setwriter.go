package xt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Elements go to the kernel as it takes them: `ipset restore` spends nine tenths of its time on
// reading a line for each. Sets are created, swapped and destroyed by the program, which knows the
// kernel's revision of each type.

// fill is elements that a set is to have, or to lose.
type fill struct {
	set    string
	remove bool
	elements
}

func (f fill) String() string {
	if f.remove {
		return "removing elements from ipset " + f.set
	}
	return "adding elements to ipset " + f.set
}

// More of ipset's messages.
const (
	ipsetAdd = 9
	ipsetDel = 10

	// ipsetLine goes with many elements in one message: ipset restore says there which line was
	// wrong.
	ipsetLine = 9

	ipsetIPv4 = 1
	ipsetIPv6 = 2

	// netByteOrder must be said of numbers and addresses (ip_set_get_ipaddr4 in
	// net/netfilter/ipset/ip_set_core.c).
	netByteOrder = unix.NLA_F_NET_BYTEORDER
)

// maxInMessage is how many elements go into one message. An attribute ends at 64 KiB, and an
// element takes 44 bytes at most.
const maxInMessage = 1_024

const (
	// errSetFull is IPSET_ERR_HASH_FULL (include/uapi/linux/netfilter/ipset/ip_set_hash.h).
	errSetFull = unix.Errno(4352)
	// firstPrivateError is IPSET_ERR_PRIVATE: from here on errors are ipset's own.
	firstPrivateError = unix.Errno(4096)
)

// fillSets changes sets, one after the other, as `ipset -exist` does: what is there already may be
// added, and gets its new end; what isn't may be removed.
func fillSets(ctx context.Context, fills []fill, now func() time.Time) error {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	for _, f := range fills {
		send := func(r netlink.Request) error { return conn.Ask(ctx, r, nil) }
		if err := f.messages(now(), send); err != nil {
			return f.failed(err)
		}
	}
	return nil
}

// failed says what a failure is about, and what ipset's own errors mean.
func (f fill) failed(err error) error {
	var code unix.Errno
	switch {
	case errors.Is(err, errSetFull):
		return fmt.Errorf("%s: the set is full", f)
	case errors.As(err, &code) && code >= firstPrivateError:
		return fmt.Errorf("%s: the kernel answers with error %d of ipset", f, int(code))
	}
	return ipsetError(f.String(), err)
}

// messages makes the requests of a fill at a moment, because each message states the remaining
// time. Each is only valid during the call.
func (f fill) messages(now time.Time, send func(netlink.Request) error) error {
	kind := uint8(ipsetAdd)
	if f.remove {
		kind = ipsetDel
	}
	list := netlink.Encoder{Buf: make([]byte, 0, 64<<10)}
	// Without NLM_F_EXCL: -exist.
	fields := func(e *netlink.Encoder) {
		e.Uint8(ipsetProtocolVersion, ipsetProtocol)
		e.String(ipsetSetName, f.set)
		e.Uint32(ipsetLine, 0)
		e.Bytes(ipsetADT|unix.NLA_F_NESTED, list.Buf)
	}
	request := netlink.Netfilter(unix.NFNL_SUBSYS_IPSET, kind, unix.AF_INET, unix.NLM_F_ACK, fields)
	n := 0
	for x := range f.all() {
		f.append(&list, x, now)
		if n++; n == maxInMessage {
			if err := send(request); err != nil {
				return err
			}
			n, list.Buf = 0, list.Buf[:0]
		}
	}
	if n > 0 {
		return send(request)
	}
	return nil
}

// append encodes an element. One address has no length: hash:ip takes none.
func (f fill) append(to *netlink.Encoder, e element, now time.Time) {
	data := to.Nest(ipsetData)
	ip := to.Nest(ipsetIP)
	if a := e.prefix.Addr(); a.Is4() {
		b := a.As4()
		to.Bytes(ipsetIPv4|netByteOrder, b[:])
	} else {
		b := a.As16()
		to.Bytes(ipsetIPv6|netByteOrder, b[:])
	}
	to.EndNest(ip)
	if !e.prefix.IsSingleIP() {
		to.Uint8(ipsetCIDR, uint8(e.prefix.Bits()))
	}
	if e.protocol != 0 {
		to.Uint16(ipsetPort|netByteOrder, e.port)
		to.Uint8(ipsetProto, uint8(e.protocol))
	}
	if !f.remove && !e.until.IsZero() {
		left := min(max(e.until.Sub(now), time.Second), maxTimeout)
		to.Uint32(ipsetTimeout|netByteOrder, uint32(left/time.Second))
	}
	to.EndNest(data)
}
