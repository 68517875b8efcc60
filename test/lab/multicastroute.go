package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Options of multicast routing sockets (include/uapi/linux/mroute.h and mroute6.h, which use the
// same numbers).
const (
	mroutingInit      = 200 // MRT_INIT, MRT6_INIT
	mroutingInterface = 202 // MRT_ADD_VIF, MRT6_ADD_MIF
	mroutingRoute     = 204 // MRT_ADD_MFC, MRT6_ADD_MFC

	interfaceByIndex = 8 // VIFF_USE_IFINDEX
	maxInterfaces    = 32
)

// RouteMulticast makes the node a multicast router for one group: packets from the source to the
// group that arrive on in leave by out. It lasts as long as the node.
func (n *Node) RouteMulticast(source, group netip.Addr, in, out string) {
	n.t.Helper()
	from, to := n.Link(in), n.Link(out)
	err := n.Do(func() error {
		domain, protocol, level := unix.AF_INET, unix.IPPROTO_IGMP, unix.IPPROTO_IP
		if group.Is6() {
			domain, protocol, level = unix.AF_INET6, unix.IPPROTO_ICMPV6, unix.IPPROTO_IPV6
		}
		fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
		if err != nil {
			return fmt.Errorf("a raw socket: %w", err)
		}
		n.onClose(func() { _ = unix.Close(fd) })
		set := func(option int, value []byte) error {
			_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level),
				uintptr(option),
				uintptr(unsafe.Pointer(&value[0])), uintptr(len(value)), 0)
			if errno != 0 {
				return fmt.Errorf("multicast routing option %d: %w", option, errno)
			}
			return nil
		}
		if err := set(mroutingInit, binary.NativeEndian.AppendUint32(nil, 1)); err != nil {
			return err
		}
		if group.Is6() {
			return errors.Join(
				set(mroutingInterface, mif6(0, from.Index)),
				set(mroutingInterface, mif6(1, to.Index)),
				set(mroutingRoute, mf6c(source, group)),
			)
		}
		return errors.Join(
			set(mroutingInterface, vif(0, from.Index)),
			set(mroutingInterface, vif(1, to.Index)),
			set(mroutingRoute, mfc(source, group)),
		)
	})
	if err != nil {
		n.t.Fatalf("routing %v from %s to %s of %s: %v", group, in, out, n.Name, err)
	}
}

// vif returns a struct vifctl: number, flags, threshold, rate limit, interface, remote address.
func vif(number, index int) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(number))
	b = append(b, interfaceByIndex, 1)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = binary.NativeEndian.AppendUint32(b, uint32(index))
	return append(b, make([]byte, 4)...)
}

// mfc returns a struct mfcctl: source, group, the incoming interface, a threshold for each outgoing
// one, and counters.
func mfc(source, group netip.Addr) []byte {
	b := append(source.AsSlice(), group.AsSlice()...)
	b = binary.NativeEndian.AppendUint16(b, 0)
	thresholds := make([]byte, maxInterfaces)
	thresholds[1] = 1
	b = append(b, thresholds...)
	return append(b, make([]byte, 2+16)...) // padding and four counters
}

// mif6 returns a struct mif6ctl: number, flags, threshold, interface, rate limit.
func mif6(number, index int) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(number))
	b = append(b, 0, 1)
	b = binary.NativeEndian.AppendUint16(b, uint16(index))
	return append(b, make([]byte, 6)...)
}

// mf6c returns a struct mf6cctl: source, group, the incoming interface, and a bit for each outgoing
// one.
func mf6c(source, group netip.Addr) []byte {
	address := func(a netip.Addr) []byte {
		b := binary.NativeEndian.AppendUint16(nil, unix.AF_INET6)
		b = append(b, make([]byte, 6)...)
		b = append(b, a.AsSlice()...)
		return append(b, make([]byte, 4)...)
	}
	b := append(address(source), address(group)...)
	b = binary.NativeEndian.AppendUint16(b, 0)
	b = append(b, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, 1<<1)
	return append(b, make([]byte, 28)...)
}
