package exposure

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/test/lab"
)

// listenTransparent listens on TCP for any address, the node's or not. It doesn't accept
// connections, as probes only need the handshake.
func listenTransparent(t testing.TB, n *lab.Node, port uint64) {
	t.Helper()
	for network, option := range map[string][2]int{
		"tcp4": {unix.SOL_IP, unix.IP_TRANSPARENT},
		"tcp6": {unix.SOL_IPV6, unix.IPV6_TRANSPARENT},
	} {
		config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
			if cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), option[0], option[1], 1) }); cerr != nil {
				return cerr
			}
			return err
		}}
		err := n.Do(func() error {
			l, err := config.Listen(context.Background(), network, fmt.Sprintf(":%d", port))
			if err == nil {
				t.Cleanup(func() { _ = l.Close() })
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Transparent proxies: a rule names the listener and marks the packet, and routing by the mark
// delivers it. The ruleset doesn't show whether a program listens, so the answer is a maybe for
// these packets, and certain for others.
func TestKernelAgreesOnTransparentProxies(t *testing.T) {
	t.Parallel()
	for _, xt := range []string{"nft", "legacy"} {
		t.Run("iptables-"+xt, func(t *testing.T) {
			t.Parallel()
			j := newJudgeOf(t, xt, func(n *lab.Node, port uint64) {
				if n.Name == "host" {
					listenTransparent(t, n, port)
				} else {
					n.ListenTCP(uint16(port))
				}
			})
			j.protocols = []firewall.Protocol{firewall.TCP}
			for _, family := range []string{"-4", "-6"} {
				j.w.Host.Run("ip", family, "rule", "add", "fwmark", "1/1", "lookup", "100")
				j.w.Host.Run(
					"ip",
					family,
					"route",
					"add",
					"local",
					"default",
					"dev",
					"lo",
					"table",
					"100",
				)
			}
			j.host = readHost(t, j.w.Host)
			j.proxies = true
			j.run(max(4, setting("PORTGRAVE_RULESETS", defaultRulesets)/3))
		})
	}
}
