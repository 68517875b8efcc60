package audit

import (
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/sockets"
)

// hostWithSockets is the host, which knows where nobody listens if all sockets could be read.
func (in Input) hostWithSockets() *exposure.Host {
	if in.Host == nil || len(in.Sockets.Unread) > 0 {
		return in.Host
	}
	host, listeners := *in.Host, in.Sockets.Current()
	host.NobodyAt = func(p firewall.Protocol, at netip.AddrPort, iface string) bool {
		return len(sockets.Takers(listeners, p, at.Addr(), at.Port(), iface)) == 0
	}
	return &host
}
