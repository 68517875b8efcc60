package main

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// kernelOnly is how long the kernel takes for one batch that makes a table, one interval set, and all sources in it, sent in one piece that was built beforehand: the
// least that any program needs that holds them so. Written without the backend's code, whose judge it is.
func kernelOnly(family firewall.Family, n int) (ms float64, err error) {
	p, err := sources(family, n, 1)
	if err != nil {
		return 0, err
	}
	batch := intervalBatch(family, p)
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 512<<20)); err != nil {
		return 0, err
	}
	start := cpu()
	if err := unix.Sendto(fd, batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, err
	}
	ms = millis(cpu() - start)
	answer := make([]byte, 4096)
	got, _, err := unix.Recvfrom(fd, answer, unix.MSG_DONTWAIT)
	if err != nil {
		return 0, err
	}
	if got < 20 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return 0, errors.New("the kernel's answer is no acknowledgement")
	}
	if code := int32(binary.NativeEndian.Uint32(answer[16:])); code != 0 {
		return 0, unix.Errno(-code)
	}
	return ms, nil
}

// message is a netlink batch as it is written.
type message struct{ b []byte }

func (m *message) begin(kind, flags uint16, family byte, resource uint16) int {
	at := len(m.b)
	m.b = append(m.b, 0, 0, 0, 0)
	m.b = binary.NativeEndian.AppendUint16(m.b, kind)
	m.b = binary.NativeEndian.AppendUint16(m.b, unix.NLM_F_REQUEST|flags)
	m.b = append(m.b, 0, 0, 0, 0, 0, 0, 0, 0, family, unix.NFNETLINK_V0)
	m.b = binary.BigEndian.AppendUint16(m.b, resource)
	return at
}

func (m *message) end(at int) { binary.NativeEndian.PutUint32(m.b[at:], uint32(len(m.b)-at)) }

func (m *message) attr(kind uint16, data []byte) {
	m.b = binary.NativeEndian.AppendUint16(m.b, uint16(4+len(data)))
	m.b = binary.NativeEndian.AppendUint16(m.b, kind)
	m.b = append(m.b, data...)
	for len(m.b)%4 != 0 {
		m.b = append(m.b, 0)
	}
}

func (m *message) u32(kind uint16, v uint32) { m.attr(kind, binary.BigEndian.AppendUint32(nil, v)) }

func (m *message) nest(kind uint16) int {
	at := len(m.b)
	m.attr(kind|unix.NLA_F_NESTED, nil)
	return at
}

func (m *message) unnest(at int) { binary.NativeEndian.PutUint16(m.b[at:], uint16(len(m.b)-at)) }

func (m *message) element(a netip.Addr, end bool) {
	element := m.nest(unix.NFTA_LIST_ELEM)
	if end {
		m.u32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
	}
	key := m.nest(unix.NFTA_SET_ELEM_KEY)
	m.attr(unix.NFTA_DATA_VALUE, a.AsSlice())
	m.unnest(key)
	m.unnest(element)
}

// intervalBatch makes table inet raw with one interval set that holds the sources, ascending.
func intervalBatch(family firewall.Family, p firewall.Prefixes) []byte {
	const nft = unix.NFNL_SUBSYS_NFTABLES << 8
	table, set := []byte("raw\x00"), []byte("s\x00")
	keyType, keyLength := uint32(7), uint32(4) // ipv4_addr
	if family == firewall.IPv6 {
		keyType, keyLength = 8, 16
	}
	m := &message{b: make([]byte, 0, 1<<16+p.Len()*72)}
	m.end(m.begin(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES))
	at := m.begin(nft|unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, unix.NFPROTO_INET, 0)
	m.attr(unix.NFTA_TABLE_NAME, table)
	m.end(at)
	at = m.begin(nft|unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE|unix.NLM_F_ACK, unix.NFPROTO_INET, 0)
	m.attr(unix.NFTA_SET_TABLE, table)
	m.attr(unix.NFTA_SET_NAME, set)
	m.u32(unix.NFTA_SET_FLAGS, unix.NFT_SET_INTERVAL)
	m.u32(unix.NFTA_SET_KEY_TYPE, keyType)
	m.u32(unix.NFTA_SET_KEY_LEN, keyLength)
	m.u32(unix.NFTA_SET_ID, 1)
	m.end(at)
	list, open := 0, false
	shut := func() {
		if open {
			m.unnest(list)
			m.end(at)
		}
	}
	for first, last := range p.Ranges(family) {
		if !open || len(m.b)-list > 60000 { // an attribute's length is a uint16
			shut()
			at = m.begin(nft|unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, unix.NFPROTO_INET, 0)
			m.attr(unix.NFTA_SET_ELEM_LIST_TABLE, table)
			m.attr(unix.NFTA_SET_ELEM_LIST_SET, set)
			list, open = m.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS), true
		}
		m.element(first, false)
		if next := last.Next(); next.IsValid() {
			m.element(next, true)
		}
	}
	shut()
	m.end(m.begin(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES))
	return m.b
}
