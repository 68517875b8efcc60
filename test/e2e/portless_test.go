package e2e

import (
	"github.com/vishvananda/netlink"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/test/lab"
)

// portless are protocols without ports that the host answers: some with a name, some without.
var portless = []firewall.Protocol{firewall.VRRP, firewall.GRE, firewall.ESP, 94, 254, firewall.Ping}

// servePortless sends back what comes for them. The kernel itself answers echo requests.
func (w *world) servePortless() {
	w.t.Helper()
	for _, p := range portless {
		if p != firewall.Ping {
			w.Host.ListenRaw(lab.Protocol(p))
		}
	}
}

// forgetConnections empties the host's table of tracked connections. To it all packets of a protocol without
// ports between two addresses are one connection, which would be an established one to a later State.
func (w *world) forgetConnections() {
	w.t.Helper()
	err := w.Host.Do(func() error { return netlink.ConntrackTableFlush(netlink.ConntrackTable) })
	if err != nil {
		w.t.Fatalf("flushing the table of connections: %v", err)
	}
}
