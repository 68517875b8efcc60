package e2e

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// The kernel's verdict for every source around every border of a random policy is the State's.
func TestEverySourceAroundEveryBorder(t *testing.T) {
	onEveryBackend(t, testEverySourceAroundEveryBorder)
}

func testEverySourceAroundEveryBorder(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(w.host, 9090, hostOffice4, hostOffice6)
	const net4, net6 = "10.21.0.0/16", "fd00:21::/64"
	for _, n := range []string{net4, net6} { // the office answers for every address of these
		w.ip("-n", w.office.name, "route", "add", "local", n, "dev", "lo")
	}
	w.ip("-n", w.host.name, "route", "add", net4, "via", office4)
	w.ip("-n", w.host.name, "route", "add", net6, "via", office6)
	sysctl(w.office, t, "ipv6/conf/all/forwarding", "0")
	random := rand.New(rand.NewPCG(9090, uint64(time.Now().Unix())))
	for round := range 3 {
		var list []netip.Prefix
		for range 60 {
			a4 := netip.AddrFrom4([4]byte{10, 21, byte(random.IntN(256)), byte(random.IntN(256))})
			a6 := netip.MustParseAddr("fd00:21::").As16()
			a6[14], a6[15] = byte(random.IntN(256)), byte(random.IntN(256))
			list = append(list, netip.PrefixFrom(a4, 22+random.IntN(11)).Masked(), netip.PrefixFrom(netip.AddrFrom16(a6), 118+random.IntN(11)).Masked())
		}
		sources, err := firewall.NewPrefixes(list...)
		if err != nil {
			t.Fatal(err)
		}
		s, err := firewall.State{Unlisted: firewall.UnlistedIgnore, Refuse: firewall.RefuseDrop, Established: firewall.EstablishedCut,
			Services: []firewall.Service{{Name: "borders", Sources: sources, Log: firewall.LogNone,
				Ports: []firewall.PortRange{{Protocol: firewall.UDP, First: 9090, Last: 9090}}}}}.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		w.applyState(s)
		probes := borders(sources)
		answered := w.ask(probes)
		allowed := 0
		for _, a := range probes {
			to := netip.MustParseAddr(hostOffice4)
			if a.Is6() {
				to = netip.MustParseAddr(hostOffice6)
			}
			d := s.Decide(firewall.Flow{Protocol: firewall.UDP, Source: a, Destination: to, Port: 9090, Interface: "eth1"}, time.Now())
			if want := d.Verdict == firewall.Allowed; want != answered[a] {
				t.Errorf("round %d: %s: answered %v, but %s", round, a, answered[a], d.Reason)
			} else if want {
				allowed++
			}
		}
		t.Logf("round %d: %d prefixes, %d sources asked, %d allowed", round, sources.Len(), len(probes), allowed)
		if allowed < 50 || len(probes)-allowed < 50 {
			t.Error("too few of one kind to prove anything")
		}
	}
}

// borders lists first and last address of each prefix, and their neighbours.
func borders(p firewall.Prefixes) []netip.Addr {
	seen := map[netip.Addr]bool{}
	var out []netip.Addr
	within := []netip.Prefix{netip.MustParsePrefix("10.21.0.0/16"), netip.MustParsePrefix("fd00:21::/112")}
	for x := range p.All() {
		last := x.Addr().AsSlice()
		for i := x.Bits(); i < x.Addr().BitLen(); i++ {
			last[i/8] |= 0x80 >> (i % 8)
		}
		end, _ := netip.AddrFromSlice(last)
		for _, a := range []netip.Addr{x.Addr().Prev(), x.Addr(), x.Addr().Next(), end.Prev(), end, end.Next()} {
			if a.IsValid() && !seen[a] && (within[0].Contains(a) || within[1].Contains(a)) {
				seen[a] = true
				out = append(out, a)
			}
		}
	}
	return out
}

// ask sends a UDP echo from every source and says which were answered. Lost ones are asked again.
func (w *world) ask(sources []netip.Addr) map[netip.Addr]bool {
	w.t.Helper()
	answered := map[netip.Addr]bool{}
	for range 3 {
		var left []netip.Addr
		for _, a := range sources {
			if !answered[a] {
				left = append(left, a)
			}
		}
		for len(left) > 0 {
			batch := left[:min(200, len(left))]
			left = left[len(batch):]
			w.askOnce(batch, answered)
		}
	}
	return answered
}

func (w *world) askOnce(batch []netip.Addr, answered map[netip.Addr]bool) {
	w.t.Helper()
	conns := map[netip.Addr]net.Conn{}
	w.office.do(func() {
		for _, a := range batch {
			to := hostOffice4
			if a.Is6() {
				to = hostOffice6
			}
			d := net.Dialer{LocalAddr: &net.UDPAddr{IP: a.AsSlice()}, ControlContext: freebind}
			c, err := d.Dial("udp", net.JoinHostPort(to, "9090"))
			if err != nil {
				w.t.Errorf("from %s: %v", a, err)
				continue
			}
			conns[a] = c
			_, _ = c.Write([]byte("ping"))
		}
	})
	time.Sleep(100 * time.Millisecond) // by then every answer that will come is in its socket
	for a, c := range conns {
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond)) // a read whose time is over already would not look
		if n, err := c.Read(make([]byte, 8)); err == nil && n == 4 {
			answered[a] = true
		}
		_ = c.Close()
	}
}

// freebind lets a socket use a source address that no interface has.
func freebind(_ context.Context, _, _ string, c syscall.RawConn) error {
	var err error
	cerr := c.Control(func(fd uintptr) {
		if err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1); err == nil {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_FREEBIND, 1) // an IPv4 socket has no such option
		}
	})
	if cerr != nil {
		return cerr
	}
	return err
}
