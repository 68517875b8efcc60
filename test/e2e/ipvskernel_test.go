//go:build kernels

package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/portgrave/portgrave/test/lab"
)

func TestIPVS(t *testing.T) { onEveryBackend(t, testIPVS) }

func testIPVS(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.holdVirtual("dummy")
	w.serveByIPVS()
	w.serve(443, notServed) // who listens on a port that IPVS serves gets nothing
	pod := w.pod()
	w.judgeVirtual(pod)
	w.auditIPVS(nil)
	w.hostThroughIPVS()
	// Without tracking, as a plain director has it, every packet stands for itself.
	w.Host.Sysctl("net.ipv4.vs.conntrack", "0")
	for _, to := range []netip.Addr{virtual4, virtual6} {
		w.expect(both,
			ask{lab.Open, w.Office, whichever, to, 9090},
			ask{lab.Open, w.Internet, whichever, to, 9444},
			ask{lab.Dropped, w.Internet, whichever, to, 9090},
			ask{lab.Dropped, w.Internet, whichever, to, notServed})
	}
}

// serveByIPVS has the container serve the ports of the virtual IPs, as kube-proxy does.
func (w *world) serveByIPVS() {
	w.t.Helper()
	w.Container.ListenTCP(80)
	w.Container.ListenUDP(80)
	for _, a := range []netip.Addr{virtual4, virtual6} {
		real := netip.AddrPortFrom(w.Container.Addr(a.Is6()), 80).String()
		for _, p := range served {
			for _, protocol := range []string{"-t", "-u"} {
				at := netip.AddrPortFrom(a, p).String()
				w.Host.Run("ipvsadm", "-A", protocol, at, "-s", "rr")
				w.Host.Run("ipvsadm", "-a", protocol, at, "-r", real, "-m")
			}
		}
	}
	w.Host.Sysctl("net.ipv4.vs.conntrack", "1")
	// Between two workloads of one bridge answers would not come back this way.
	w.Host.NFT(`table inet virtual {
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		oifname docker0 masquerade
	}
}`)
}

// hostThroughIPVS tries what the host itself begins, under deny, and a service that comes later.
func (w *world) hostThroughIPVS() {
	w.t.Helper()
	for _, to := range []netip.Addr{virtual4, virtual6} {
		w.expect(both, ask{lab.Open, w.Host, whichever, to, 443})
	}
	later := netip.AddrPortFrom(virtual4, 8443).String()
	w.Host.Run("ipvsadm", "-A", "-t", later, "-s", "rr")
	w.Host.Run("ipvsadm", "-a", "-t", later, "-r", fmt.Sprintf("%s:80", w.Container.Addr4()), "-m")
	w.expect(tcp, ask{lab.Dropped, w.Internet, whichever, virtual4, 8443}) // not known yet
	w.apply("unlisted: deny" + virtualPolicy)
	w.expect(tcp, ask{lab.Open, w.Internet, whichever, virtual4, 8443})
	w.Host.Run("ipvsadm", "-D", "-t", later)
	w.apply("unlisted: deny" + virtualPolicy)
	w.Host.ListenTCP(8443)
	// it would reach the host
	w.expect(tcp, ask{lab.Dropped, w.Internet, whichever, virtual4, 8443})
}
