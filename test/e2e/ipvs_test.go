package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/test/lab"
)

// Addresses that a host holds for IPVS alone, such as kube-proxy's ClusterIPs, are like those that only
// its DNAT knows; see TestVirtualIP. To the kernel they are the host's own. TestIPVS (in machines with
// kernels that have IPVS) tries it with IPVS itself. Here a program of the host stands in for it, which
// shows the rules in every kernel.

// served are the ports that IPVS serves at virtual4 and virtual6; on notServed the host itself listens.
var served = []uint16{443, 444, 9090, 9444}

const notServed = 9445

// holdVirtual gives the host the two addresses, on the interface that kube-proxy would make.
func (w *world) holdVirtual(kind string) {
	w.t.Helper()
	w.Host.Run("ip", "link", "add", "kube-ipvs0", "type", kind)
	w.Host.Run("ip", "link", "set", "kube-ipvs0", "up")
	for _, a := range []netip.Addr{virtual4, virtual6} {
		p := netip.PrefixFrom(a, a.BitLen()).String()
		w.Router.Run("ip", "route", "add", p, "via", w.Host.Addr(a.Is6()).String())
		nodad := []string{"address", "add", p, "dev", "kube-ipvs0"}
		if a.Is6() {
			nodad = append(nodad, "nodad")
		}
		w.Host.Run("ip", nodad...)
	}
}

// pod is a workload beside the container.
func (w *world) pod() *lab.Node {
	w.t.Helper()
	pod := w.Guest("pod")
	pod.Run("ip", "route", "add", "default", "via", bridge4.String())
	pod.Run("ip", "route", "add", "default", "via", bridge6.String())
	return pod
}

func TestAddressesHeldForIPVS(t *testing.T) { onEveryBackend(t, testAddressesHeldForIPVS) }

func testAddressesHeldForIPVS(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.holdVirtual("bridge")
	w.serve(append(served, notServed)...)
	w.networks.Virtual = func() (out []firewall.VirtualService, err error) {
		for _, a := range []netip.Addr{virtual4, virtual6} {
			for _, p := range served {
				for _, protocol := range []firewall.Protocol{firewall.TCP, firewall.UDP} {
					out = append(out, firewall.VirtualService{Protocol: protocol, At: netip.AddrPortFrom(a, p)})
				}
			}
		}
		return out, nil
	}
	w.judgeVirtual(w.pod())
}

// judgeVirtual tries who reaches the addresses under policies of every mode.
func (w *world) judgeVirtual(pod *lab.Node) {
	w.t.Helper()
	w.expect(both, // the control
		ask{lab.Open, w.Internet, whichever, virtual4, 9090},
		ask{lab.Open, w.Internet, whichever, virtual6, 9090},
		ask{lab.Open, w.Internet, whichever, virtual4, notServed},
		ask{lab.Open, w.Internet, whichever, virtual6, notServed},
		ask{lab.Open, pod, whichever, virtual4, 443},
		ask{lab.Open, pod, whichever, virtual6, 443})
	for _, mode := range refusals {
		for _, unlisted := range []string{"ignore", "deny"} {
			w.apply(fmt.Sprintf("refuse: %s\nunlisted: %s%s", mode.refuse, unlisted, virtualPolicy))
			own := lab.Open // a port that no service lists and IPVS does not serve
			if unlisted == "deny" {
				own = mode.want
			}
			var asks []ask
			for _, to := range []netip.Addr{virtual4, virtual6} {
				asks = append(asks,
					ask{mode.want, w.Internet, whichever, to, 9090},
					ask{mode.want, w.Internet, whichever, to, 444},
					ask{lab.Open, w.Office, whichever, to, 9090},
					ask{lab.Open, w.Office, whichever, to, 444},
					ask{lab.Open, pod, whichever, to, 443}, // the workloads' own business
					ask{lab.Open, pod, whichever, to, 444},
					ask{lab.Open, pod, whichever, to, 9444},
					ask{lab.Open, w.Internet, whichever, to, 9444}, // unlisted on a virtual IP: never ours
					ask{own, w.Internet, whichever, to, notServed},
					ask{own, pod, whichever, to, notServed})
			}
			w.expect(both, append(asks,
				ask{own, w.Internet, whichever, host4, notServed},
				ask{own, w.Internet, whichever, host6, notServed})...)
		}
	}
	// A service that names the address decides for workloads too.
	w.apply(fmt.Sprintf(`
services:
  - {name: metrics, port: [443, 9090], protocol: [tcp, udp], addresses: [%s, "%s"], allow: [10.20.0.0/16, "fd00:20::/48"]}
`, virtual4, virtual6))
	for _, to := range []netip.Addr{virtual4, virtual6} {
		w.expect(both,
			ask{lab.Dropped, w.Internet, whichever, to, 9090},
			ask{lab.Open, w.Office, whichever, to, 9090},
			ask{lab.Dropped, pod, whichever, to, 443})
	}
	// Also where it is open by another interface only.
	w.apply(fmt.Sprintf(`
services:
  - {name: metrics, port: [443, 9090], protocol: [tcp, udp], addresses: [%s, "%s"], interfaces: eth1, allow: [any]}
`, virtual4, virtual6))
	for _, to := range []netip.Addr{virtual4, virtual6} {
		w.expect(both,
			ask{lab.Open, w.Office, whichever, to, 9090},
			ask{lab.Dropped, w.Internet, whichever, to, 9090},
			ask{lab.Dropped, pod, whichever, to, 443})
	}
	// One that names another address does not.
	w.apply(fmt.Sprintf(`
services:
  - {name: metrics, port: [443, 9090], protocol: [tcp, udp], addresses: [%s, "%s"], allow: [any]}
`, host4, host6))
	for _, to := range []netip.Addr{virtual4, virtual6} {
		w.expect(both,
			ask{lab.Dropped, w.Office, whichever, to, 9090},
			ask{lab.Open, pod, whichever, to, 443})
	}
	if w.t.Failed() {
		w.t.FailNow()
	}
}
