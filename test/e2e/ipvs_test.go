package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/firewall/exposure/live"
	"github.com/portgrave/portgrave/firewall/ipvs"
	"github.com/portgrave/portgrave/test/lab"
)

// Addresses that a host holds for IPVS alone, such as kube-proxy's ClusterIPs, are like those that
// only its DNAT knows; see TestVirtualIP. To the kernel they are the host's own. TestIPVS (in
// machines with kernels that have IPVS) tries it with IPVS itself. Here a program of the host
// stands in for it, which shows the rules in every kernel.

// served are the ports that IPVS serves at virtual4 and virtual6; on notServed the host itself
// listens.
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
					out = append(
						out,
						firewall.VirtualService{Protocol: protocol, At: netip.AddrPortFrom(a, p)},
					)
				}
			}
		}
		slices.SortFunc(out, firewall.VirtualService.Compare)
		return out, nil
	}
	pod := w.pod()
	w.judgeVirtual(pod)
	w.translatedToVirtual(pod)
	w.runningToVirtual(pod)
	var services []ipvs.Service
	known, _ := w.networks.Virtual()
	for _, v := range known {
		target := netip.AddrPortFrom(w.Container.Addr(v.At.Addr().Is6()), 80)
		services = append(
			services,
			ipvs.Service{VirtualService: v, Targets: []netip.AddrPort{target}},
		)
	}
	w.auditIPVS(services)
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
					// unlisted on a virtual IP: never ours
					ask{lab.Open, w.Internet, whichever, to, 9444},
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

// translatedToVirtual tries a port of the host's own that its DNAT sends to a service of IPVS: what
// counts is what the client dialled.
func (w *world) translatedToVirtual(pod *lab.Node) {
	w.t.Helper()
	w.Host.NFT(fmt.Sprintf(`table inet detour {
	chain prerouting {
		type nat hook prerouting priority -100; policy accept;
		ip daddr %s meta l4proto { tcp, udp } th dport { 8443, 9446 } dnat ip to %s:9444
		ip6 daddr %s meta l4proto { tcp, udp } th dport { 8443, 9446 } dnat ip6 to [%s]:9444
	}
}`, host4, virtual4, host6, virtual6))
	for _, to := range []netip.Addr{host4, host6} {
		w.apply("unlisted: deny" + virtualPolicy)
		w.expect(both,
			ask{lab.Dropped, w.Internet, whichever, to, 8443}, // unlisted
			ask{lab.Dropped, w.Internet, whichever, to, 9446}, // listed, for the office
			ask{lab.Dropped, pod, whichever, to, 9446},
			ask{lab.Open, w.Office, whichever, to, 9446})
	}
	w.Host.NFT("delete table inet detour")
}

// runningToVirtual tries whether a workload's connection goes on when policies are applied.
func (w *world) runningToVirtual(pod *lab.Node) {
	w.t.Helper()
	w.apply("unlisted: deny" + virtualPolicy)
	for _, a := range []netip.Addr{virtual4, virtual6} {
		for _, port := range []uint16{443, 9444} { // listed, and not
			ctx, cancel := context.WithTimeout(context.Background(), longer)
			c, err := pod.Dial(ctx, "tcp", netip.AddrPortFrom(a, port).String())
			cancel()
			if err != nil {
				w.t.Fatal(err)
			}
			out := w.apply(
				fmt.Sprintf(
					"unlisted: deny%s  - {name: more, port: %d, allow: [any]}\n",
					virtualPolicy,
					10000+port,
				),
			)
			for _, x := range out.Cut {
				w.t.Errorf("a workload's connection to %v port %d was cut: %+v", a, port, x)
			}
			_ = c.Close()
		}
	}
}

// auditIPVS looks at what audit and explain say of the services; those of the host if none are
// given.
func (w *world) auditIPVS(services []ipvs.Service) {
	w.t.Helper()
	state := w.compile("unlisted: deny" + virtualPolicy)
	w.applyState(&state)
	var report audit.Report
	var explained audit.Explanation
	err := w.Host.Do(func() error {
		host, err := live.Read(context.Background())
		if err != nil {
			return err
		}
		if services == nil {
			services = host.IPVS
		}
		in := audit.Input{
			Rules:   host.Rules,
			Host:    host.Host,
			Sockets: host.Sockets,
			IPVS:    services,
			Policy:  &state,
			Now:     time.Now(),
		}
		if report, err = audit.Run(context.Background(), in); err != nil {
			return err
		}
		explained, err = audit.Explain(
			in,
			audit.Packet{From: internet4, Destination: virtual4, Port: 9444,
				Protocol: firewall.TCP, Interface: "eth0"},
		)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, a := range []netip.Addr{virtual4, virtual6} {
		friend, foe := office4, internet4
		if a.Is6() {
			friend, foe = office6, internet6
		}
		listed, unlisted := w.rowOf(report, a, 9090), w.rowOf(report, a, 9444)
		if !listed.Reachable.Certain.Contains(friend) || listed.Reachable.Possible.Contains(foe) ||
			listed.Finding != audit.OK || listed.Service != "metrics" {
			w.t.Errorf("audit of %v port 9090: %+v", a, listed)
		}
		if len(listed.Target) == 0 || !strings.Contains(listed.Target, ":80") {
			w.t.Errorf("audit of %v port 9090 goes to %q", a, listed.Target)
		}
		if unlisted.Finding != audit.Undeclared || !unlisted.Reachable.Certain.Contains(foe) {
			w.t.Errorf("audit of %v port 9444: %+v", a, unlisted)
		}
	}
	if explained.Reason != audit.Connects ||
		!strings.Contains(explained.Summary, w.Container.Addr4().String()) {
		w.t.Errorf("explain: %s: %s", explained.Reason, explained.Summary)
	}
}

// rowOf is the row of an address by the uplink.
func (w *world) rowOf(r audit.Report, a netip.Addr, port uint16) audit.Exposure {
	w.t.Helper()
	for _, x := range r.Exposures {
		if x.Address == a.String() && x.Port == port && x.Protocol == "tcp" &&
			x.Interface == "eth0" {
			return x
		}
	}
	w.t.Errorf("audit has no row of %v port %d", a, port)
	return audit.Exposure{}
}
