package hostview

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// readSysctls reads net.* as far as it decides where a packet goes
// (Documentation/networking/ip-sysctl.rst of the kernel).
func readSysctls(h *exposure.Host, f fs.FS) error {
	s := sysctls{f: f}
	h.All = s.of("all")
	h.IPForward = s.number("net/ipv4/ip_forward", 0) != 0
	h.TCPMarkAccept = s.number("net/ipv4/tcp_fwmark_accept", 0) != 0
	h.MarkReflect4 = s.number("net/ipv4/fwmark_reflect", 0) != 0
	h.MarkReflect6 = s.number("net/ipv6/fwmark_reflect", 0) != 0
	// Only where the module br_netfilter is loaded do bridges call the IP hooks at all.
	h.BridgeCallIPTables = s.number("net/bridge/bridge-nf-call-iptables", 0) != 0 ||
		h.BridgeCallIPTables
	h.BridgeCallIP6Tables = s.number("net/bridge/bridge-nf-call-ip6tables", 0) != 0 ||
		h.BridgeCallIP6Tables
	for i := range h.Interfaces {
		h.Interfaces[i].Sysctls = s.of(h.Interfaces[i].Name)
	}
	return s.err
}

// sysctls reads values until the first error.
type sysctls struct {
	f   fs.FS
	err error
}

// of reads an interface's values. An interface that is gone by now has none, and no packet either.
func (s *sysctls) of(name string) exposure.InterfaceSysctls {
	v4, v6 := "net/ipv4/conf/"+name+"/", "net/ipv6/conf/"+name+"/"
	return exposure.InterfaceSysctls{
		RPFilter:      s.number(v4+"rp_filter", 0),
		AcceptLocal:   s.number(v4+"accept_local", 0) != 0,
		RouteLocalnet: s.number(v4+"route_localnet", 0) != 0,
		SrcValidMark:  s.number(v4+"src_valid_mark", 0) != 0,
		ARPIgnore:     s.number(v4+"arp_ignore", 0),
		ARPFilter:     s.number(v4+"arp_filter", 0) != 0,
		Forwarding4:   s.number(v4+"forwarding", 0) != 0,
		Forwarding6:   s.number(v6+"forwarding", 0) != 0,
		DisableIPv6:   s.number(v6+"disable_ipv6", 1) != 0,
	}
}

// number reads a value; missing is what counts where it isn't there.
func (s *sysctls) number(path string, missing int) int {
	b, err := fs.ReadFile(s.f, path)
	if errors.Is(err, fs.ErrNotExist) {
		return missing
	}
	var n int
	if err == nil {
		n, err = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	if err != nil && s.err == nil {
		s.err = fmt.Errorf("reading the sysctl %s: %w", strings.ReplaceAll(path, "/", "."), err)
	}
	return n
}
