package nftables

import (
	"fmt"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/exposure"
	"golang.org/x/sys/unix"
)

// A sender may put an extension header before TCP's, and is then let in by a rule for that header:
// the kernel is the judge of what a TCP packet's next header can be.
func TestExtensionHeadersLetTCPIn(t *testing.T) {
	for _, c := range []struct {
		header uint8
		option int // that makes a socket send it; 0: none
	}{{unix.IPPROTO_TCP, 0}, {unix.IPPROTO_HOPOPTS, unix.IPV6_HOPOPTS}, {unix.IPPROTO_DSTOPTS, unix.IPV6_DSTOPTS}} {
		t.Run(fmt.Sprint(c.header), func(t *testing.T) {
			backendtest.Isolate(t)
			backendtest.Program(t, "", "ip", "link", "set", "lo", "up")
			nft(
				t,
				fmt.Sprintf(
					"table inet t {\nchain c {\ntype filter hook input priority 0; policy drop;\n"+
						"ct state established accept\nip6 nexthdr %d accept\n}\n}\n",
					c.header,
				),
			)
			port := connect6(t, c.option)
			a, err := exposure.Evaluate(
				read(t, Options{}),
				nil,
				exposure.Question{Family: address.IPv6,
					Protocol: firewall.TCP, Interface: "eth0", Port: port},
			)
			if err != nil {
				t.Fatal(err)
			}
			if _, possible := a.Through(); possible.Empty() {
				t.Error("the kernel let it in, and the answer is that nobody gets in")
			}
		})
	}
}

// connect6 opens a port on ::1 and connects to it, with an extension header of one padding option.
func connect6(t *testing.T, option int) uint16 {
	t.Helper()
	socket := func() int {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	loopback := &unix.SockaddrInet6{Addr: [16]byte{15: 1}}
	l := socket()
	if err := unix.Bind(l, loopback); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(l, 1); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(l)
	if err != nil {
		t.Fatal(err)
	}
	c := socket()
	if option != 0 {
		padding := string([]byte{0, 0, 1, 4, 0, 0, 0, 0}) // next header, length, PadN of six bytes
		if err := unix.SetsockoptString(c, unix.IPPROTO_IPV6, option, padding); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Connect(c, name); err != nil {
		t.Fatal(err)
	}
	return uint16(name.(*unix.SockaddrInet6).Port)
}
