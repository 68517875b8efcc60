package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

const officeOnly = `
services:
  - {name: metrics, port: 9090, protocol: [tcp, udp], allow: [10.20.0.0/24, "fd00:20::/64"], except: [10.20.0.66]}
`

var hostAddresses = []string{hostInternet4, hostInternet6, hostOffice4, hostOffice6, "127.0.0.1", "::1"}

func TestAllowedReachesOthersDoNot(t *testing.T) { onEveryBackend(t, testAllowedReachesOthersDoNot) }

func testAllowedReachesOthersDoNot(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(w.host, 9090, hostAddresses...)
	w.serve(w.host, 9091, hostAddresses...)
	for _, network := range []string{"tcp", "udp"} { // the control: everything is open
		w.expect(open, w.internet, network, "", hostInternet4, 9090)
		w.expect(open, w.internet, network, "", hostInternet6, 9090)
	}
	for _, mode := range []struct{ refuse, want string }{{"drop", dropped}, {"reject", refused}} {
		w.apply("refuse: " + mode.refuse + officeOnly)
		for _, network := range []string{"tcp", "udp"} {
			w.expect(open, w.office, network, office4, hostOffice4, 9090)
			w.expect(open, w.office, network, office6, hostOffice6, 9090)
			w.expect(mode.want, w.office, network, officeOther4, hostOffice4, 9090)
			w.expect(mode.want, w.internet, network, "", hostInternet4, 9090)
			w.expect(mode.want, w.internet, network, "", hostInternet6, 9090)
			w.expect(open, w.host, network, "", "127.0.0.1", 9090)
			w.expect(open, w.host, network, "", "::1", 9090)
			w.expect(open, w.host, network, "", hostInternet4, 9090)
			w.expect(open, w.internet, network, "", hostInternet4, 9091) // unlisted: not ours
		}
	}
}

func TestEmptyAllowLetsNobodyIn(t *testing.T) { onEveryBackend(t, testEmptyAllowLetsNobodyIn) }

func testEmptyAllowLetsNobodyIn(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(w.host, 9090)
	w.apply("\nservices: [{name: shut, port: 9090}]\n")
	w.expect(dropped, w.office, "tcp", "", hostOffice4, 9090)
	w.expect(dropped, w.office, "tcp", "", hostOffice6, 9090)
	w.expect(open, w.host, "tcp", "", "127.0.0.1", 9090)
}

func TestInterfacesAndAddresses(t *testing.T) { onEveryBackend(t, testInterfacesAndAddresses) }

func testInterfacesAndAddresses(t *testing.T, e engine) {
	w := newWorld(t, e)
	for port := 9090; port <= 9093; port++ {
		w.serve(w.host, port)
	}
	w.apply(`
services:
  - {name: inside,  port: 9090, interfaces: eth1, allow: [any]}
  - {name: glob,    port: 9091, interfaces: ["eth*"], allow: [any]}
  - {name: address, port: 9092, addresses: [203.0.113.9, "fd00:20::1"], allow: [any]}
  - {name: in-eth0, port: 9093, interfaces: eth0, allow: [203.0.113.2]}
  - {name: in-eth1, port: 9093, interfaces: eth1, allow: [10.20.0.66]}
`)
	w.expect(open, w.office, "tcp", "", hostOffice4, 9090)
	w.expect(open, w.office, "tcp", "", hostOffice6, 9090)
	w.expect(dropped, w.internet, "tcp", "", hostInternet4, 9090)
	w.expect(dropped, w.internet, "tcp", "", hostInternet6, 9090)
	w.expect(open, w.internet, "tcp", "", hostInternet4, 9091)
	w.expect(dropped, w.container, "tcp", "", "172.17.0.1", 9091)
	w.expect(open, w.internet, "tcp", "", hostSecond4, 9092)
	w.expect(dropped, w.internet, "tcp", "", hostInternet4, 9092)
	w.expect(dropped, w.internet, "tcp", "", hostInternet6, 9092)
	w.expect(open, w.office, "tcp", "", hostOffice6, 9092)
	w.expect(open, w.internet, "tcp", "", hostInternet4, 9093)
	w.expect(dropped, w.office, "tcp", office4, hostOffice4, 9093)
	w.expect(open, w.office, "tcp", officeOther4, hostOffice4, 9093)
}

func TestPublishedContainerPortObeys(t *testing.T) {
	onEveryBackend(t, testPublishedContainerPortObeys)
}

func testPublishedContainerPortObeys(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(w.container, 80)
	for _, to := range []string{hostInternet4, hostInternet6} {
		w.expect(open, w.internet, "tcp", "", to, 8080) // the control
	}
	w.apply("\nservices: [{name: published, port: 8080, allow: [10.20.0.0/24, \"fd00:20::/64\"]}]\n")
	w.expect(open, w.office, "tcp", "", hostOffice4, 8080)
	w.expect(open, w.office, "tcp", "", hostOffice6, 8080)
	w.expect(dropped, w.internet, "tcp", "", hostInternet4, 8080)
	w.expect(dropped, w.internet, "tcp", "", hostInternet6, 8080)
}

// Routed traffic is never ours, even for a port that is listed.
func TestRoutedTrafficIsNotOurs(t *testing.T) { onEveryBackend(t, testRoutedTrafficIsNotOurs) }

func testRoutedTrafficIsNotOurs(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(w.container, 80)
	w.ip("-n", w.internet.name, "route", "add", "172.17.0.0/24", "via", hostInternet4)
	w.apply("\nservices: [{name: web, port: 80}]\n")
	w.expect(open, w.internet, "tcp", "", "172.17.0.2", 80)
}

func TestUnlistedDeny(t *testing.T) { onEveryBackend(t, testUnlistedDeny) }

func testUnlistedDeny(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(w.host, 9090, hostAddresses...)
	w.serve(w.host, 9091, hostAddresses...)
	w.serve(w.internet, 53, internet4, internet6)
	ping := func(to string) bool {
		return exec.Command("ip", "netns", "exec", w.internet.name, "ping", "-c1", "-W1", "-n", to).Run() == nil
	}
	if _, err := exec.LookPath("ping"); err != nil {
		t.Fatal("ping is missing: install iputils-ping")
	}
	w.apply("unlisted: deny" + officeOnly)
	for _, network := range []string{"tcp", "udp"} {
		w.expect(open, w.office, network, office4, hostOffice4, 9090)
		w.expect(dropped, w.office, network, office4, hostOffice4, 9091)
		w.expect(dropped, w.internet, network, "", hostInternet6, 9091)
		// Replies to what the host started.
		w.expect(open, w.host, network, "", internet4, 53)
		w.expect(open, w.host, network, "", internet6, 53)
	}
	// Neighbour discovery: with an empty cache IPv6 must find its way again, in both directions.
	w.ip("-n", w.host.name, "neigh", "flush", "all")
	w.ip("-n", w.office.name, "neigh", "flush", "all")
	w.expect(open, w.office, "tcp", office6, hostOffice6, 9090)
	w.ip("-n", w.host.name, "neigh", "flush", "all")
	w.expect(open, w.host, "tcp", "", internet6, 53)
	for _, to := range []string{hostInternet4, hostInternet6} {
		if !ping(to) {
			t.Errorf("echo to %s is not answered", to)
		}
	}
	w.apply("unlisted: deny\nessentials: {echo: false}" + officeOnly)
	for _, to := range []string{hostInternet4, hostInternet6} {
		if ping(to) {
			t.Errorf("echo to %s is answered although it is turned off", to)
		}
	}
	w.expect(open, w.office, "tcp", office6, hostOffice6, 9090)
}

// A router with a narrow link behind it tells the host by ICMP; large transfers hang if that is refused.
func TestPathMTUSurvivesDeny(t *testing.T) { onEveryBackend(t, testPathMTUSurvivesDeny) }

func testPathMTUSurvivesDeny(t *testing.T, e engine) {
	for _, errorsAllowed := range []bool{true, false} {
		t.Run(fmt.Sprintf("icmp-errors %v", errorsAllowed), func(t *testing.T) {
			w := newWorld(t, e)
			// The host's peer in the internet routes on to the container's namespace over a narrow link.
			w.ip("link", "add", "name", "narrow", "netns", w.internet.name, "type", "veth", "peer", "name", "far0", "netns", w.container.name)
			w.ip("-n", w.internet.name, "addr", "add", "198.51.100.1/24", "dev", "narrow")
			w.ip("-n", w.container.name, "addr", "add", "198.51.100.2/24", "dev", "far0")
			w.ip("-n", w.internet.name, "link", "set", "narrow", "mtu", "1280", "up")
			w.ip("-n", w.container.name, "link", "set", "far0", "up") // believes in 1500, so it announces a large MSS
			w.ip("-n", w.container.name, "route", "replace", "default", "via", "198.51.100.1")
			w.ip("-n", w.host.name, "route", "add", "198.51.100.0/24", "via", internet4)
			sysctl(w.internet, t, "ipv4/ip_forward", "1")
			w.serve(w.host, 9090)
			w.apply(fmt.Sprintf("unlisted: deny\nessentials: {icmp-errors: %v}\nservices: [{name: bulk, port: 9090, allow: [any]}]\n", errorsAllowed))
			received := 0
			w.container.do(func() {
				c, err := net.DialTimeout("tcp", hostInternet4+":9090", time.Second)
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = c.Close() }()
				const chunk = 64 << 10
				go func() { _, _ = c.Write(make([]byte, chunk)) }()
				_ = c.SetReadDeadline(time.Now().Add(1500 * time.Millisecond))
				b := make([]byte, chunk)
				for received < chunk {
					n, err := c.Read(b)
					received += n
					if err != nil {
						break
					}
				}
			})
			if whole := received == 64<<10; whole != errorsAllowed {
				t.Errorf("%d bytes came back", received)
			}
		})
	}
}

func TestRevokedSourceLosesItsConnection(t *testing.T) {
	onEveryBackend(t, testRevokedSourceLosesItsConnection)
}

func testRevokedSourceLosesItsConnection(t *testing.T, e engine) {
	for _, established := range []string{"cut", "keep"} {
		for name, to := range map[string]struct {
			address string
			port    int
		}{"local ipv4": {hostOffice4, 9090}, "local ipv6": {hostOffice6, 9090}, "published ipv4": {hostOffice4, 8080}, "published ipv6": {hostOffice6, 8080}} {
			t.Run(established+" "+name, func(t *testing.T) {
				w := newWorld(t, e)
				w.serve(w.host, 9090)
				w.serve(w.container, 80)
				policy := "established: " + established + "\nservices: [{name: s, port: [9090, 8080], allow: [%s]}]\n"
				w.apply(fmt.Sprintf(policy, `10.20.0.0/24, "fd00:20::/64"`))
				var c net.Conn
				w.office.do(func() {
					var err error
					if c, err = net.DialTimeout("tcp", net.JoinHostPort(to.address, fmt.Sprint(to.port)), time.Second); err != nil {
						t.Error(err)
					}
				})
				if c == nil {
					t.FailNow()
				}
				defer func() { _ = c.Close() }()
				if got := echo(c, longer); got != open {
					t.Fatalf("before: %s", got)
				}
				out := w.apply(fmt.Sprintf(policy, "192.0.2.1"))
				wait := patience
				if established == "keep" {
					wait = longer
				}
				switch got := echo(c, wait); {
				case established == "keep" && (got != open || len(out.Cut) != 0):
					t.Errorf("keep: the connection is %s, %d were cut", got, len(out.Cut))
				case established == "cut" && (got == open || len(out.Cut) != 1):
					t.Errorf("cut: the connection is %s, %d were cut", got, len(out.Cut))
				}
				w.expect(dropped, w.office, "tcp", "", to.address, to.port)
			})
		}
	}
}

func TestExpiringSource(t *testing.T) { onEveryBackend(t, testExpiringSource) }

func testExpiringSource(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(w.host, 9090)
	s := firewall.State{Unlisted: firewall.UnlistedIgnore, Refuse: firewall.RefuseReject, Established: firewall.EstablishedCut,
		Services: []firewall.Service{{Name: "lease", Ports: []firewall.PortRange{{Protocol: firewall.TCP, First: 9090, Last: 9090}}, Log: firewall.LogNone,
			Expiring: []firewall.ExpiringSource{{Prefix: netip.MustParsePrefix("10.20.0.0/24"), Until: time.Now().Add(2 * time.Second)}}}}}
	w.applyState(s)
	w.expect(open, w.office, "tcp", "", hostOffice4, 9090)
	deadline := time.Now().Add(10 * time.Second)
	for connect(w.office, "tcp", "", hostOffice4, 9090) == open {
		if time.Now().After(deadline) {
			t.Fatal("the source did not expire")
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func TestRateLimitsNewConnections(t *testing.T) { onEveryBackend(t, testRateLimitsNewConnections) }

func testRateLimitsNewConnections(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(w.host, 9090)
	w.apply("refuse: reject\nservices: [{name: slow, port: 9090, allow: [any], rate: {per_source: 1/minute, burst: 3}}]\n")
	for i := 1; i <= 5; i++ {
		want := open
		if i > 3 {
			want = refused
		}
		if got := connectWithin(longer, w.office, "tcp", office4, hostOffice4, 9090); got != want {
			t.Errorf("connection %d is %s, want %s", i, got, want)
		}
	}
	w.expect(open, w.office, "tcp", officeOther4, hostOffice4, 9090) // another source has its own rate
	w.expect(open, w.office, "tcp", office6, hostOffice6, 9090)
}

// Multicast to a listed port is for this host too.
func TestMulticastIsFiltered(t *testing.T) { onEveryBackend(t, testMulticastIsFiltered) }

func testMulticastIsFiltered(t *testing.T, e engine) {
	w := newWorld(t, e)
	var got atomic.Int64
	w.host.do(func() {
		iface, err := net.InterfaceByName("eth0")
		if err != nil {
			t.Error(err)
			return
		}
		for network, group := range map[string]string{"udp4": "239.1.2.3", "udp6": "ff02::1234"} {
			c, err := net.ListenMulticastUDP(network, iface, &net.UDPAddr{IP: net.ParseIP(group), Port: 9090})
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			go func() {
				for b := make([]byte, 64); ; got.Add(1) {
					if _, _, err := c.ReadFrom(b); err != nil {
						return
					}
				}
			}()
		}
	})
	send := func() {
		w.internet.do(func() {
			for _, to := range []string{"239.1.2.3:9090", "[ff02::1234%eth0]:9090"} {
				d := net.Dialer{}
				if strings.HasPrefix(to, "239") {
					d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(internet4)}
				}
				c, err := d.Dial("udp", to)
				if err != nil {
					t.Errorf("%s: %v", to, err)
					continue
				}
				_, _ = c.Write([]byte("x"))
				_ = c.Close()
			}
		})
		time.Sleep(200 * time.Millisecond)
	}
	w.ip("-n", w.internet.name, "route", "add", "239.0.0.0/8", "dev", "eth0")
	send()
	before := got.Load()
	if before != 2 {
		t.Fatalf("the control: %d multicasts arrived, want 2", before)
	}
	w.apply(officeOnly)
	send()
	if n := got.Load() - before; n != 0 {
		t.Errorf("%d multicasts from a refused source arrived", n)
	}
}

// While a large list is replaced, the allowed source meets no gap and the refused one no opening.
func TestReplacingManySourcesShowsNoGap(t *testing.T) {
	onEveryBackend(t, testReplacingManySourcesShowsNoGap)
}

func testReplacingManySourcesShowsNoGap(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(w.host, 9090, hostOffice4, hostOffice6)
	list := func(first byte) firewall.Prefixes {
		prefixes := []netip.Prefix{netip.MustParsePrefix("fd00:20::/64")}
		for i := range 100_000 {
			prefixes = append(prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{first + byte(i>>16), byte(i >> 8), byte(i), 0}), 25))
		}
		p, err := firewall.NewPrefixes(prefixes...)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	state := func(first byte, interfaces ...string) firewall.State {
		s, err := firewall.State{Unlisted: firewall.UnlistedIgnore, Refuse: firewall.RefuseDrop, Established: firewall.EstablishedCut,
			Services: []firewall.Service{{Name: "big", Interfaces: interfaces, Sources: list(first), Log: firewall.LogNone,
				Ports: []firewall.PortRange{{Protocol: firewall.UDP, First: 9090, Last: 9090}}}}}.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	w.applyState(state(20))
	ctx, stop := context.WithCancel(context.Background())
	var sent atomic.Int64
	var done []chan struct{}
	for _, to := range []string{hostOffice4, hostOffice6} {
		w.office.do(func() {
			c, err := net.Dial("udp", net.JoinHostPort(to, "9090"))
			if err != nil {
				t.Error(err)
				return
			}
			finished := make(chan struct{})
			done = append(done, finished)
			go func() {
				defer close(finished)
				defer func() { _ = c.Close() }()
				for ctx.Err() == nil { // bounded by stop, below, and by pauses
					for range 20 {
						if _, err := c.Write([]byte("x")); err == nil {
							sent.Add(1)
						}
					}
					time.Sleep(time.Millisecond)
				}
			}()
		})
	}
	for _, s := range []firewall.State{state(60), state(60, "eth1"), state(100, "eth*"), state(20)} {
		w.applyState(s)
	}
	stop()
	for _, d := range done {
		<-d
	}
	var seen firewall.Observation
	w.host.do(func() {
		var err error
		if seen, err = w.rec.Backend.Observe(context.Background()); err != nil {
			t.Error(err)
		}
	})
	traffic, _ := seen.Traffic("big")
	t.Logf("%d packets during four replacements of 100000 sources; allowed %v, refused %v", sent.Load(), traffic.Allowed, traffic.Refused)
	if n := traffic.Allowed[firewall.IPv4].Packets; n != 0 {
		t.Errorf("%d packets of the refused source got through", n)
	}
	if n := traffic.Refused[firewall.IPv6].Packets; n != 0 {
		t.Errorf("%d packets of the allowed source were refused", n)
	}
	if sent.Load() < 1000 || traffic.Allowed[firewall.IPv6].Packets == 0 || traffic.Refused[firewall.IPv4].Packets == 0 {
		t.Error("too few packets to prove anything")
	}
}
