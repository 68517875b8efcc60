package e2e

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/test/lab"
)

// A container is known by its address, but packets for the address may not get there. What is
// reported as certain must get there.
func TestPacketsThatMissTheContainer(t *testing.T) {
	lab.RequireRoot(t)
	for name, c := range map[string]struct {
		commands [][]string // of the host
		beyond   bool       // to a machine behind the router, not to the container
		says     string     // nothing: packets get there
	}{
		"nothing in the way": {},
		"the bridge is down": {
			commands: [][]string{{"link", "set", "docker0", "down"}}, says: "elsewhere",
		},
		"its port is down": {
			commands: [][]string{{"link", "set", "PORT", "down"}}, says: "is down",
		},
		"its port has left the bridge": {
			commands: [][]string{{"link", "set", "PORT", "nomaster"}}, says: "isn't a port of docker0",
		},
		"the bridge has no port": {
			commands: [][]string{{"link", "del", "other0"}, {"link", "set", "PORT", "down"}},
			says:     "docker0 has no carrier",
		},
		"through another namespace": {beyond: true, says: "elsewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			w := lab.New(t)
			port := strings.TrimSpace(w.Host.Run(
				"sh", "-c", "ls /sys/class/net/docker0/brif 2>/dev/null || "+
					"ip -o link show master docker0 | sed 's/^[0-9]*: //; s/[@:].*//'"))
			w.Host.Run("ip", "link", "add", "other0", "type", "veth", "peer", "name", "other1")
			w.Host.Run("ip", "link", "set", "other1", "up")
			w.Host.Run("ip", "link", "set", "other0", "master", "docker0", "up")
			// Other worlds have the usual addresses too.
			to := [2]netip.Addr{
				netip.MustParseAddr("172.17.0.201"), netip.MustParseAddr("fd00:17::201"),
			}
			server, dials, iface := w.Container, w.Internet, "eth0"
			if c.beyond {
				server, dials, iface = w.Internet, w.Office, "eth1"
				to = [2]netip.Addr{
					netip.MustParseAddr("10.99.0.7"),
					netip.MustParseAddr("fd00:99::7"),
				}
			}
			for _, at := range to {
				server.AddAddress("eth0", netip.PrefixFrom(at, at.BitLen()))
			}
			server.ListenTCP(80)
			w.Host.NFT("table inet t { chain p { type nat hook prerouting priority -100; " +
				"tcp dport 8080 dnat ip to " + to[0].String() + ":80; " +
				"tcp dport 8080 dnat ip6 to [" + to[1].String() + "]:80; }; }")
			for _, command := range c.commands {
				for i := range command {
					command[i] = strings.Replace(command[i], "PORT", port, 1)
				}
				w.Host.Run("ip", command...)
			}
			i := install(t, w, "version: 1\nservices: []\n")
			for _, six := range []bool{false, true} {
				at := w.Host.At(8080, six)
				client := dials.Addr(six)
				x := i.explain(
					"--from",
					client.String(),
					"--to",
					at.Addr().String(),
					"--port",
					"8080",
					"--interface",
					iface,
				)
				open := dials.Connect(at) == lab.Open
				if x.Reason == audit.Connects && !open || x.Connects != (c.says == "") ||
					!strings.Contains(x.Summary, c.says) {
					t.Errorf("open %v, %s: %s", open, x.Reason, x.Summary)
				}
				for _, row := range i.audit().Exposures {
					if row.Port != 8080 || row.Interface != iface {
						continue
					}
					if row.Reachable.Certain.Contains(client) != (c.says == "") {
						t.Errorf("certain %v: %q", row.Reachable.Certain, row.DecidedBy)
					}
				}
			}
		})
	}
}

// A container that dials its own published port gets its packets back only if its bridge's port
// sends them back.
func TestContainerDialsItself(t *testing.T) {
	lab.RequireRoot(t)
	w := lab.New(t)
	port := strings.Fields(w.Host.Run("ip", "-o", "link", "show", "master", "docker0"))[1]
	port, _, _ = strings.Cut(strings.TrimSuffix(port, ":"), "@")
	to := [2]netip.Addr{
		netip.MustParseAddr("172.17.0.202"), netip.MustParseAddr("fd00:17::202"),
	}
	for _, at := range to { // other worlds have the usual addresses too
		w.Container.AddAddress("eth0", netip.PrefixFrom(at, at.BitLen()))
	}
	w.Container.ListenTCP(80)
	w.Host.NFT("table inet t { chain p { type nat hook prerouting priority -100; " +
		"tcp dport 8080 dnat ip to 172.17.0.202:80; " +
		"tcp dport 8080 dnat ip6 to [fd00:17::202]:80; }; " +
		"chain s { type nat hook postrouting priority 100; oifname docker0 masquerade; }; }")
	i := install(t, w, "version: 1\nservices: []\n")
	for _, mode := range []string{"off", "on"} {
		w.Host.Run("ip", "link", "set", port, "type", "bridge_slave", "hairpin", mode)
		for n, from := range to {
			at := w.Host.At(8080, n == 1)
			x := i.explain("--from", from.String(), "--to", at.Addr().String(), "--port", "8080",
				"--interface", "docker0")
			open := w.Container.Connect(at, lab.From(from)) == lab.Open
			if x.Connects != open || open != (mode == "on") {
				t.Errorf("hairpin mode %s: open %v, %s: %s", mode, open, x.Reason, x.Summary)
			}
		}
	}
}
