package ipvs

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// Service is a service of IPVS with an address. (One may also be known by a packet mark alone.)
type Service struct {
	firewall.VirtualService
	// Targets are the real servers, in the kernel's order.
	Targets []netip.AddrPort
}

// file lists the services of the calling thread's network namespace.
const file = "/proc/thread-self/net/ip_vs"

// maxLine bounds a line of the file; the kernel's have about a hundred bytes.
const maxLine = 4096

// Services reads the services of the calling thread's network namespace, in the order of
// firewall.VirtualService.Compare; none where the kernel has no IPVS.
func Services() ([]Service, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the services of IPVS: %w", err)
	}
	defer func() { _ = f.Close() }()
	list, err := Parse(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return list, nil
}

// Parse reads the text of /proc/net/ip_vs (ip_vs_info_seq_show, net/netfilter/ipvs/ip_vs_ctl.c):
//
//	IP Virtual Server version 1.2.1 (size=4096)
//	Prot LocalAddress:Port Scheduler Flags
//	  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
//	TCP  0A600001:01BB rr
//	  -> 0AF40005:192B      Masq    1      0          0
//	UDP  [fd00:0096:0000:0000:0000:0000:0000:000a]:0035 rr
//	FWM  00000001 rr
//
// Services by packet mark have no address and are left out, and so are those for every port (0),
// which persistent services may be.
func Parse(r io.Reader) (out []Service, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	var current *Service // nil behind a service that is left out
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if n <= 3 || len(words) == 0 { // the head
			continue
		}
		if words[0] == "->" {
			if current == nil || len(words) < 2 {
				continue
			}
			at, err := parseEndpoint(words[1])
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			current.Targets = append(current.Targets, at)
			continue
		}
		current = nil
		protocol, err := firewall.ParseProtocol(strings.ToLower(words[0]))
		if err != nil || !protocol.HasPorts() || len(words) < 2 {
			continue
		}
		at, err := parseEndpoint(words[1])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if at.Port() != 0 {
			out = append(
				out,
				Service{VirtualService: firewall.VirtualService{Protocol: protocol, At: at}},
			)
			current = &out[len(out)-1]
		}
	}
	slices.SortFunc(out, func(a, b Service) int { return a.Compare(b.VirtualService) })
	return out, lines.Err()
}

// parseEndpoint reads "0A600001:01BB" or "[fd00:0096:…:000a]:0035": the port is hexadecimal in
// both.
func parseEndpoint(s string) (netip.AddrPort, error) {
	wrong := fmt.Errorf("%q is not an address and a port as IPVS writes them", s)
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return netip.AddrPort{}, wrong
	}
	port, err := strconv.ParseUint(s[colon+1:], 16, 16)
	if err != nil {
		return netip.AddrPort{}, wrong
	}
	var a netip.Addr
	if text, six := strings.CutPrefix(s[:colon], "["); six {
		a, err = netip.ParseAddr(strings.TrimSuffix(text, "]"))
		if err != nil || a.Is4() || a.Zone() != "" {
			return netip.AddrPort{}, wrong
		}
	} else {
		b, err := hex.DecodeString(text)
		if err != nil || len(b) != 4 {
			return netip.AddrPort{}, wrong
		}
		a, _ = netip.AddrFromSlice(b)
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(port)), nil
}
