package connections

import (
	"net/netip"
	"strings"
)

// Session is the SSH connection that a process runs in, from SSH_CONNECTION (ssh(1)): client
// address and port, server address and port. IPv4-mapped addresses become IPv4, zones are dropped.
func Session(env func(string) string) (client, server netip.AddrPort, ok bool) {
	fields := strings.Fields(env("SSH_CONNECTION"))
	if len(fields) != 4 {
		return client, server, false
	}
	client, okClient := hostPort(fields[0], fields[1])
	server, okServer := hostPort(fields[2], fields[3])
	if !okClient || !okServer {
		return netip.AddrPort{}, netip.AddrPort{}, false
	}
	return client, server, true
}

func hostPort(address, port string) (netip.AddrPort, bool) {
	address, _, _ = strings.Cut(address, "%")
	if strings.Contains(address, ":") {
		address = "[" + address + "]"
	}
	a, err := netip.ParseAddrPort(address + ":" + port)
	if err != nil || a.Port() == 0 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), true
}
