package exposure

import (
	"net/netip"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/hostview"
	"github.com/portgrave/portgrave/test/lab"
)

// readHost reads a node's exposure.Host once its links are settled: the kernel notices a link's
// carrier some time after it was made, and routes to IPv6 addresses only then.
func readHost(t testing.TB, n *lab.Node) *exposure.Host {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var h *exposure.Host
		err := n.Do(func() (err error) {
			h, err = hostview.Read(t.Context())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if isSettled(h) {
			return h
		}
		if time.Now().After(end) {
			t.Fatalf("the links of %s have not settled: %+v", n.Name, h.Interfaces)
		}
	}
}

// isSettled reports whether every link that is up has a carrier, and every address its local route.
func isSettled(h *exposure.Host) bool {
	local := map[netip.Prefix]bool{}
	for _, r := range h.Routes {
		if r.Type == exposure.RouteLocal {
			local[r.Dest] = true
		}
	}
	for _, i := range h.Interfaces {
		if i.NoCarrier {
			return false
		}
		for _, a := range i.Addresses {
			own := netip.PrefixFrom(a.Addr(), a.Addr().BitLen())
			if i.Up && !local[own] && !a.Addr().IsLoopback() {
				return false
			}
		}
	}
	return true
}
