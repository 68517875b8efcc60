package xt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/portgrave/portgrave/firewall/nfnetlink"
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

	ipsetLine = 9 // goes with many elements in one message; ipset restore says there which line was wrong

	// netByteOrder and nested must be said of these attributes (ip_set_get_ipaddr4 in
	// net/netfilter/ipset/ip_set_core.c).
	netByteOrder = unix.NLA_F_NET_BYTEORDER
	nested       = unix.NLA_F_NESTED
)

// mostInMessage is how many elements go into one message. An attribute ends at 64 KiB, and an
// element takes 44 bytes at most.
const mostInMessage = 1_024

// errSetFull is IPSET_ERR_HASH_FULL (include/uapi/linux/netfilter/ipset/ip_set_hash.h).
const errSetFull = unix.Errno(4352)

// fillSets changes sets, one after the other, as `ipset -exist` does: what is there already may be
// added, and gets its new end; what isn't may be removed.
func fillSets(ctx context.Context, fills []fill, now func() time.Time) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("opening a netfilter netlink socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	answer := make([]byte, 64<<10) // a refusal repeats what is refused
	for _, f := range fills {
		err := f.messages(now(), func(message []byte) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
				return err
			}
			n, err := unix.Read(fd, answer) // there by now: the kernel works while we send
			for errors.Is(err, unix.EINTR) {
				n, err = unix.Read(fd, answer)
			}
			if err != nil {
				return err
			}
			return acknowledged(answer[:n])
		})
		switch {
		case errors.Is(err, errSetFull):
			return fmt.Errorf("%s: the set is full", f)
		case err != nil:
			return ipsetError(f.String(), err)
		}
	}
	return nil
}

// acknowledged reads an acknowledgement: struct nlmsghdr, and an error number that is 0 or
// negative.
func acknowledged(b []byte) error {
	if len(b) < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(b[4:]) != unix.NLMSG_ERROR {
		return nfnetlink.ErrMalformed
	}
	code := -int32(binary.NativeEndian.Uint32(b[unix.NLMSG_HDRLEN:]))
	switch {
	case code == 0:
		return nil
	case code >= 4096 && unix.Errno(code) != errSetFull: // IPSET_ERR_PRIVATE
		return errors.New("the kernel answers with error " + strconv.Itoa(int(code)) + " of ipset")
	}
	return unix.Errno(code)
}

// messages encodes a fill at a moment, as the time that is left is told. The bytes are only valid
// during the call.
func (f fill) messages(now time.Time, send func([]byte) error) error {
	buffer := make([]byte, 0, 64<<10)
	var b []byte
	n, list := 0, 0
	begin := func() {
		kind := uint16(ipsetAdd)
		if f.remove {
			kind = ipsetDel
		}
		b = append(buffer, 0, 0, 0, 0) // the length
		b = binary.NativeEndian.AppendUint16(b, unix.NFNL_SUBSYS_IPSET<<8|kind)
		b = binary.NativeEndian.AppendUint16(
			b,
			unix.NLM_F_REQUEST|unix.NLM_F_ACK,
		) // without NLM_F_EXCL: -exist
		b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, unix.AF_INET, unix.NFNETLINK_V0, 0, 0)
		b = nfnetlink.AppendBytes(b, ipsetProtocolVersion, []byte{ipsetProtocol})
		b = nfnetlink.AppendString(b, ipsetSetName, f.set)
		b = nfnetlink.AppendBytes(b, ipsetLine, []byte{0, 0, 0, 0})
		list = len(b)
		b = appendHeader(b, ipsetADT|nested, 0)
	}
	end := func() error {
		binary.NativeEndian.PutUint16(b[list:], uint16(len(b)-list))
		binary.NativeEndian.PutUint32(b, uint32(len(b)))
		return send(b)
	}
	for e := range f.all() {
		if n == 0 {
			begin()
		}
		b = f.append(b, e, now)
		if n++; n == mostInMessage {
			if err := end(); err != nil {
				return err
			}
			n = 0
		}
	}
	if n > 0 {
		return end()
	}
	return nil
}

func appendHeader(b []byte, kind uint16, length int) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.NLA_HDRLEN+length))
	return binary.NativeEndian.AppendUint16(b, kind)
}

// append encodes an element. One address has no length: hash:ip takes none.
func (f fill) append(b []byte, e element, now time.Time) []byte {
	at := len(b)
	b = appendHeader(b, ipsetData|nested, 0)
	if a := e.prefix.Addr(); a.Is4() {
		ip := a.As4()
		b = appendHeader(b, ipsetIP|nested, unix.NLA_HDRLEN+len(ip))
		b = append(appendHeader(b, 1|netByteOrder, len(ip)), ip[:]...)
	} else {
		ip := a.As16()
		b = appendHeader(b, ipsetIP|nested, unix.NLA_HDRLEN+len(ip))
		b = append(appendHeader(b, 2|netByteOrder, len(ip)), ip[:]...)
	}
	if !e.prefix.IsSingleIP() {
		b = append(appendHeader(b, ipsetCIDR, 1), byte(e.prefix.Bits()), 0, 0, 0)
	}
	if e.protocol != 0 {
		b = appendHeader(b, ipsetPort|netByteOrder, 2)
		b = append(binary.BigEndian.AppendUint16(b, e.port), 0, 0)
		b = append(appendHeader(b, ipsetProto, 1), byte(e.protocol), 0, 0, 0)
	}
	if !f.remove && !e.until.IsZero() {
		left := min(max(e.until.Sub(now), time.Second), longestTimeout)
		b = binary.BigEndian.AppendUint32(
			appendHeader(b, ipsetTimeout|netByteOrder, 4),
			uint32(left/time.Second),
		)
	}
	binary.NativeEndian.PutUint16(b[at:], uint16(len(b)-at))
	return b
}
