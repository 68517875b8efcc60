//go:build kernels

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/firewall/exposure/live"
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
	w.auditIPVS()
	w.hostThroughIPVS()
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

// auditIPVS looks at what audit and explain say of the services.
func (w *world) auditIPVS() {
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
		in := audit.Input{Rules: host.Rules, Host: host.Host, Sockets: host.Sockets, IPVS: host.IPVS, Policy: &state,
			Now: time.Now()}
		if report, err = audit.Run(context.Background(), in); err != nil {
			return err
		}
		explained, err = audit.Explain(in, audit.Packet{From: internet4, Destination: virtual4, Port: 9444,
			Protocol: firewall.TCP, Interface: "eth0"})
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	office := firewall.MustPrefixes("10.20.0.0/16", "fd00:20::/48")
	for _, a := range []netip.Addr{virtual4, virtual6} {
		mine := office.Intersect(firewall.MustPrefixes("0.0.0.0/0"))
		if a.Is6() {
			mine = office.Intersect(firewall.MustPrefixes("::/0"))
		}
		listed, unlisted := w.rowOf(report, a, 9090), w.rowOf(report, a, 9444)
		if !listed.Reachable.Certain.Equal(mine) || listed.Finding != audit.OK || listed.Service != "metrics" {
			w.t.Errorf("audit of %v port 9090: %+v", a, listed)
		}
		if len(listed.Target) == 0 || !strings.Contains(listed.Target, ":80") {
			w.t.Errorf("audit of %v port 9090 goes to %q", a, listed.Target)
		}
		if unlisted.Finding != audit.Undeclared || unlisted.Reachable.Certain.Len() == 0 {
			w.t.Errorf("audit of %v port 9444: %+v", a, unlisted)
		}
	}
	if explained.Reason != audit.Connects || !strings.Contains(explained.Summary, w.Container.Addr4().String()) {
		w.t.Errorf("explain: %s: %s", explained.Reason, explained.Summary)
	}
}

// rowOf is the row of an address by the uplink.
func (w *world) rowOf(r audit.Report, a netip.Addr, port uint16) audit.Exposure {
	w.t.Helper()
	for _, x := range r.Exposures {
		if x.Address == a.String() && x.Port == port && x.Protocol == "tcp" && x.Interface == "eth0" {
			return x
		}
	}
	w.t.Errorf("audit has no row of %v port %d", a, port)
	return audit.Exposure{}
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
	w.expect(tcp, ask{lab.Dropped, w.Internet, whichever, virtual4, 8443}) // it would reach the host
}
