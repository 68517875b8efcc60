package inetdiag

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// message is a struct inet_diag_msg as the kernel writes it, addresses of 16 bytes.
func message(
	family, state uint8,
	local, remote netip.AddrPort,
	index uint32,
	attributes ...[]byte,
) []byte {
	b := []byte{family, state, 0, 0}
	b = binary.BigEndian.AppendUint16(b, local.Port())
	b = binary.BigEndian.AppendUint16(b, remote.Port())
	for _, a := range []netip.Addr{local.Addr(), remote.Addr()} {
		b = append(b, append(a.AsSlice(), make([]byte, 16)...)[:16]...)
	}
	b = binary.NativeEndian.AppendUint32(b, index)
	b = binary.NativeEndian.AppendUint64(b, 0xc00c1e)   // cookie
	b = append(b, make([]byte, 3*4)...)                 // expires, queues
	b = binary.NativeEndian.AppendUint32(b, 1000)       // uid
	b = binary.NativeEndian.AppendUint32(b, 4026531833) // inode
	return slices.Concat(b, slices.Concat(attributes...))
}

func attribute(kind uint16, data ...byte) []byte { return netlink.AppendBytes(nil, kind, data) }

// decodeBytes decodes a message as package netlink hands it over.
func decodeBytes(b []byte, p firewall.Protocol) (Socket, bool, error) {
	if len(b) < MessageLen {
		return Socket{}, false, netlink.ErrMalformed
	}
	return decode(netlink.Message{Header: b[:MessageLen], Attributes: b[MessageLen:]}, p)
}

// storage is an array of struct sockaddr_storage.
func storage(addresses ...string) (out []byte) {
	for _, s := range addresses {
		a, b := netip.MustParseAddr(s), make([]byte, sockaddrLen)
		if a.Is4() {
			binary.NativeEndian.PutUint16(b, unix.AF_INET)
			copy(b[4:], a.AsSlice())
		} else {
			binary.NativeEndian.PutUint16(b, unix.AF_INET6)
			copy(b[8:], a.AsSlice())
		}
		out = append(out, b...)
	}
	return out
}

func TestDecode(t *testing.T) {
	ap := netip.MustParseAddrPort
	nobody4, nobody6 := ap("0.0.0.0:0"), ap("[::]:0")
	v6only := func(n byte) []byte { return attribute(attrV6Only, n) }
	const index = 7
	for name, c := range map[string]struct {
		message  []byte
		protocol firewall.Protocol
		want     Socket
	}{
		"IPv4": {message(unix.AF_INET, unix.BPF_TCP_LISTEN, ap("192.0.2.1:22"), nobody4, index), firewall.TCP,
			Socket{Family: unix.AF_INET, State: unix.BPF_TCP_LISTEN, Local: ap("192.0.2.1:22"), Remote: nobody4}},
		"dual stack": {message(unix.AF_INET6, unix.BPF_TCP_LISTEN, ap("[::]:22"), nobody6, index, v6only(0)), firewall.TCP,
			Socket{Family: unix.AF_INET6, State: unix.BPF_TCP_LISTEN, Local: ap("[::]:22"), Remote: nobody6}},
		"IPv6 only": {message(unix.AF_INET6, unix.BPF_TCP_CLOSE, ap("[::]:53"), nobody6, index, v6only(1)), firewall.UDP,
			Socket{Family: unix.AF_INET6, State: unix.BPF_TCP_CLOSE, Local: ap("[::]:53"), Remote: nobody6, V6Only: true}},
		"IPv4-mapped": {message(unix.AF_INET6, unix.BPF_TCP_LISTEN, ap("[::ffff:192.0.2.1]:22"), nobody6, index), firewall.TCP,
			Socket{Family: unix.AF_INET6, State: unix.BPF_TCP_LISTEN, Local: ap("192.0.2.1:22"), Remote: nobody6}},
		"connected": {message(unix.AF_INET6, unix.BPF_TCP_ESTABLISHED, ap("[2001:db8::1]:22"), ap("[2001:db8::2]:65535"), index), firewall.TCP,
			Socket{Family: unix.AF_INET6, State: unix.BPF_TCP_ESTABLISHED, Local: ap("[2001:db8::1]:22"), Remote: ap("[2001:db8::2]:65535")}},
		"SCTP with several addresses": {message(unix.AF_INET6, unix.BPF_TCP_LISTEN, ap("[::]:9000"), nobody6, index,
			attribute(attrLocals, storage("192.0.2.1", "2001:db8::1", "::ffff:192.0.2.2")...)), firewall.SCTP,
			Socket{Family: unix.AF_INET6, State: unix.BPF_TCP_LISTEN, Local: ap("[::]:9000"), Remote: nobody6,
				Bound: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.2")}}},
		"an unknown attribute, and one without content": {message(unix.AF_INET, unix.BPF_TCP_LISTEN, ap("0.0.0.0:1"), nobody4, index,
			attribute(99, 1), attribute(attrV6Only)), firewall.TCP,
			Socket{Family: unix.AF_INET, State: unix.BPF_TCP_LISTEN, Local: ap("0.0.0.0:1"), Remote: nobody4}},
	} {
		got, ok, err := decodeBytes(c.message, c.protocol)
		if err != nil || !ok {
			t.Errorf("%s: %v, %v", name, ok, err)
			continue
		}
		c.want.Protocol, c.want.UID, c.want.Inode = c.protocol, 1000, 4026531833
		if diff := cmp.Diff(c.want, got, cmpopts.IgnoreFields(Socket{}, "ID"), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
			cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if got.Interface() != index || got.Cookie() != 0xc00c1e {
			t.Errorf("%s: interface %d, cookie %x", name, got.Interface(), got.Cookie())
		}
		// The kernel takes back what it gave.
		if r := request(got.Family, got.Protocol, 1<<10, got.ID); len(r) != requestLen ||
			!bytes.Equal(r[8:], c.message[4:4+IDLen]) {
			t.Errorf("%s: request %x", name, r)
		}
	}
}

func TestDecodeDamaged(t *testing.T) {
	whole := message(
		unix.AF_INET,
		unix.BPF_TCP_LISTEN,
		netip.MustParseAddrPort("0.0.0.0:1"),
		netip.MustParseAddrPort("0.0.0.0:0"),
		0,
	)
	for name, b := range map[string][]byte{
		"empty": nil, "short": whole[:MessageLen-1], "half an attribute": append(bytes.Clone(whole), 9, 0, 1, 0),
		"half an address": append(bytes.Clone(whole), attribute(attrLocals, storage("192.0.2.1")[:100]...)...),
	} {
		if s, ok, err := decodeBytes(b, firewall.TCP); !errors.Is(err, netlink.ErrMalformed) || ok {
			t.Errorf("%s: %+v, %v, %v", name, s, ok, err)
		}
	}
	whole[0] = unix.AF_UNIX
	if _, ok, err := decodeBytes(whole, firewall.TCP); ok || err != nil {
		t.Errorf("another family: %v, %v", ok, err)
	}
}

// FuzzDecode: whatever the kernel sends is a socket with valid addresses, nothing, or an error.
func FuzzDecode(f *testing.F) {
	ap := netip.MustParseAddrPort
	f.Add(
		message(unix.AF_INET, unix.BPF_TCP_LISTEN, ap("192.0.2.1:22"), ap("0.0.0.0:0"), 0),
		uint8(firewall.TCP),
	)
	f.Add(
		message(
			unix.AF_INET6,
			unix.BPF_TCP_CLOSE,
			ap("[::]:53"),
			ap("[::]:0"),
			3,
			attribute(attrV6Only, 1),
		),
		uint8(firewall.UDP),
	)
	f.Add(
		message(
			unix.AF_INET6,
			unix.BPF_TCP_LISTEN,
			ap("[::]:9000"),
			ap("[::]:0"),
			0,
			attribute(attrLocals, storage("192.0.2.1", "::1")...),
		),
		uint8(firewall.SCTP),
	)
	f.Fuzz(func(t *testing.T, b []byte, protocol uint8) {
		s, ok, err := decodeBytes(b, firewall.Protocol(protocol))
		if err != nil && (ok || !errors.Is(err, netlink.ErrMalformed)) {
			t.Fatalf("%v, %v", ok, err)
		}
		if !ok {
			return
		}
		for _, a := range append(s.Bound, s.Local.Addr(), s.Remote.Addr()) {
			if !a.IsValid() || a.Is4In6() || a.Zone() != "" {
				t.Errorf("address %v", a)
			}
		}
		if !bytes.Equal(s.ID[:], b[4:4+IDLen]) {
			t.Error("another id than the kernel's")
		}
	})
}
