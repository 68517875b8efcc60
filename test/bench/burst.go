package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// burst are frames that are sent together. Its memory stays where it is, so the kernel's structures
// are filled in once.
type burst struct {
	frames   [][]byte
	vectors  []unix.Iovec
	messages []mmsghdr
}

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

// Sizes of the headers, in bytes, and of the frame: the smallest that Ethernet carries.
const (
	ethernetSize = 14
	ipv4Size     = 20
	udpSize      = 8
	frameSize    = 60
)

// cable is where frames go: out of one interface, to the one at its other end.
type cable struct {
	index    int
	from, to []byte // hardware addresses
}

// newBurst makes a UDP packet from each source, with source ports from 20000 on.
func newBurst(c cable, lateSources []netip.Addr, to netip.AddrPort) *burst {
	b := &burst{
		vectors:  make([]unix.Iovec, len(lateSources)),
		messages: make([]mmsghdr, len(lateSources)),
	}
	for i, source := range lateSources {
		f := frame(c, netip.AddrPortFrom(source, uint16(20000+i)), to)
		b.frames = append(b.frames, f)
		b.vectors[i].Base = &f[0]
		b.vectors[i].SetLen(len(f))
		b.messages[i].header.Iov = &b.vectors[i]
		b.messages[i].header.SetIovlen(1)
	}
	return b
}

// frame is an IPv4 UDP packet without UDP checksum, which IPv4 allows.
func frame(c cable, from, to netip.AddrPort) []byte {
	f := make([]byte, frameSize)
	copy(f, c.to)
	copy(f[6:], c.from)
	binary.BigEndian.PutUint16(f[12:], unix.ETH_P_IP)
	ip := f[ethernetSize:]
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], frameSize-ethernetSize)
	ip[8], ip[9] = 64, unix.IPPROTO_UDP
	copy(ip[12:], from.Addr().AsSlice())
	copy(ip[16:], to.Addr().AsSlice())
	sum := uint32(0)
	for i := 0; i < ipv4Size; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	udp := ip[ipv4Size:]
	binary.BigEndian.PutUint16(udp, from.Port())
	binary.BigEndian.PutUint16(udp[2:], to.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(frameSize-ethernetSize-ipv4Size))
	return f
}

// send sends all of it.
func (b *burst) send(fd int) error {
	for sent := 0; sent < len(b.messages); {
		n, _, errno := unix.Syscall6(
			unix.SYS_SENDMMSG,
			uintptr(fd),
			uintptr(unsafe.Pointer(&b.messages[sent])),
			uintptr(len(b.messages)-sent),
			0,
			0,
			0,
		)
		if errno != 0 {
			return os.NewSyscallError("sendmmsg", errno)
		}
		sent += int(n)
	}
	return nil
}

// packetSocket sends frames out of an interface, past its queue. It receives nothing.
func packetSocket(index int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket AF_PACKET", err)
	}
	if err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index})
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("preparing a packet socket: %w", err)
	}
	return fd, nil
}
