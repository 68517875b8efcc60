package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/test/lab"
)

const officeOnly = `
services:
  - {name: metrics, port: 9090, protocol: [tcp, udp], allow: [10.20.0.0/16, "fd00:20::/48"], except: [10.20.66.0/24, "fd00:20:0:66::/64"]}
`

func TestAllowedReachesOthersDoNot(
	t *testing.T,
) {
	onEveryBackend(t, testAllowedReachesOthersDoNot)
}

func testAllowedReachesOthersDoNot(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(9090, 9091)
	w.expect(both, // the control: everything is open
		ask{lab.Open, w.Internet, whichever, host4, 9090},
		ask{lab.Open, w.Internet, whichever, host6, 9090},
		ask{lab.Open, w.Office, barred4, inside4, 9090},
		ask{lab.Open, w.Office, barred6, inside6, 9090},
	)
	for _, mode := range []struct {
		refuse string
		want   lab.Answer
	}{{"drop", lab.Dropped}, {"reject", lab.Refused}} {
		w.apply("refuse: " + mode.refuse + officeOnly)
		w.expect(both,
			ask{lab.Open, w.Office, office4, inside4, 9090},
			ask{lab.Open, w.Office, office6, inside6, 9090},
			ask{mode.want, w.Office, barred4, inside4, 9090},
			ask{mode.want, w.Office, barred6, inside6, 9090},
			ask{mode.want, w.Internet, whichever, host4, 9090},
			ask{mode.want, w.Internet, whichever, host6, 9090},
			ask{lab.Open, w.Host, whichever, loopback4, 9090},
			ask{lab.Open, w.Host, whichever, loopback6, 9090},
			ask{lab.Open, w.Host, whichever, host4, 9090},
			ask{lab.Open, w.Internet, whichever, host4, 9091}, // unlisted: not ours
			ask{lab.Open, w.Internet, whichever, host6, 9091},
		)
	}
}

func TestEmptyAllowLetsNobodyIn(t *testing.T) { onEveryBackend(t, testEmptyAllowLetsNobodyIn) }

func testEmptyAllowLetsNobodyIn(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(9090)
	w.apply("\nservices: [{name: shut, port: 9090}]\n")
	w.expect(tcp,
		ask{lab.Dropped, w.Office, whichever, inside4, 9090},
		ask{lab.Dropped, w.Office, whichever, inside6, 9090},
		ask{lab.Open, w.Host, whichever, loopback4, 9090},
	)
}

func TestInterfacesAndAddresses(t *testing.T) { onEveryBackend(t, testInterfacesAndAddresses) }

func testInterfacesAndAddresses(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(9090, 9091, 9092, 9093)
	w.apply(`
services:
  - {name: inside,  port: 9090, interfaces: eth1, allow: [any]}
  - {name: glob,    port: 9091, interfaces: ["eth*"], allow: [any]}
  - {name: address, port: 9092, addresses: [198.51.100.11, "fd00:20::1"], allow: [any]}
  - {name: in-eth0, port: 9093, interfaces: eth0, allow: [203.0.113.10]}
  - {name: in-eth1, port: 9093, interfaces: eth1, allow: [10.20.66.6]}
`)
	w.expect(tcp,
		ask{lab.Open, w.Office, whichever, inside4, 9090},
		ask{lab.Open, w.Office, whichever, inside6, 9090},
		ask{lab.Dropped, w.Internet, whichever, host4, 9090},
		ask{lab.Dropped, w.Internet, whichever, host6, 9090},
		ask{lab.Open, w.Internet, whichever, host4, 9091},
		ask{lab.Open, w.Internet, whichever, host6, 9091},
		ask{lab.Dropped, w.Container, whichever, bridge4, 9091},
		ask{lab.Open, w.Internet, whichever, second4, 9092},
		ask{lab.Dropped, w.Internet, whichever, host4, 9092},
		ask{lab.Dropped, w.Internet, whichever, host6, 9092},
		ask{lab.Open, w.Office, whichever, inside6, 9092},
		ask{lab.Open, w.Internet, internet4, host4, 9093},
		ask{lab.Dropped, w.Office, office4, inside4, 9093},
		ask{lab.Open, w.Office, barred4, inside4, 9093},
	)
}

func TestPublishedContainerPortObeys(t *testing.T) {
	onEveryBackend(t, testPublishedContainerPortObeys)
}

func testPublishedContainerPortObeys(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.Container.ListenTCP(80)
	w.Publish("tcp", 8080, 80)
	reaches := func(from *lab.Node, to netip.Addr) {
		t.Helper()
		if got, err := from.RoundTrip(netip.AddrPortFrom(to, 8080), lab.Timeout(longer)); got != "container" {
			t.Errorf("%s reaches %q on %v, want the container: %v", from.Name, got, to, err)
		}
	}
	reaches(w.Internet, host4) // the control
	reaches(w.Internet, host6)
	for _, mode := range []struct {
		refuse string
		want   lab.Answer
	}{{"drop", lab.Dropped}, {"reject", lab.Refused}} {
		w.apply(
			"refuse: " + mode.refuse + "\nservices: [{name: published, port: 8080, allow: [10.20.0.0/16, \"fd00:20::/48\"]}]\n",
		)
		reaches(w.Office, inside4)
		reaches(w.Office, inside6)
		w.expect(tcp,
			ask{mode.want, w.Internet, whichever, host4, 8080},
			ask{mode.want, w.Internet, whichever, host6, 8080},
		)
	}
}

// Routed traffic is never ours, even for a port that is listed.
func TestRoutedTrafficIsNotOurs(t *testing.T) { onEveryBackend(t, testRoutedTrafficIsNotOurs) }

func testRoutedTrafficIsNotOurs(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.Container.ListenTCP(80)
	w.serve(80)
	w.apply("\nservices: [{name: web, port: 80}]\n")
	w.expect(tcp,
		ask{lab.Open, w.Internet, whichever, w.Container.Addr4(), 80},
		ask{lab.Open, w.Internet, whichever, w.Container.Addr6(), 80},
		ask{lab.Dropped, w.Internet, whichever, host4, 80},
		ask{lab.Dropped, w.Internet, whichever, host6, 80},
	)
}

func TestUnlistedDeny(t *testing.T) { onEveryBackend(t, testUnlistedDeny) }

func testUnlistedDeny(t *testing.T, e engine) {
	if _, err := exec.LookPath("ping"); err != nil {
		t.Fatal("ping is missing: install iputils-ping")
	}
	w := newWorld(t, e)
	w.serve(9090, 9091)
	w.Internet.ListenTCP(53)
	w.Internet.ListenUDP(53)
	w.apply("unlisted: deny" + officeOnly)
	w.expect(both,
		ask{lab.Open, w.Office, office4, inside4, 9090},
		ask{lab.Dropped, w.Office, office4, inside4, 9091},
		ask{lab.Dropped, w.Internet, whichever, host6, 9091},
		// Replies to what the host started.
		ask{lab.Open, w.Host, whichever, internet4, 53},
		ask{lab.Open, w.Host, whichever, internet6, 53},
	)
	// Neighbour discovery: with empty caches IPv6 must find its way again, in both directions.
	w.FlushNeighbours()
	w.expect(tcp, ask{lab.Open, w.Office, office6, inside6, 9090})
	w.FlushNeighbours()
	w.expect(tcp, ask{lab.Open, w.Host, whichever, internet6, 53})
	pings(w, true)
	w.apply("unlisted: deny\nessentials: {echo: false}" + officeOnly)
	pings(w, false)
	w.expect(tcp, ask{lab.Open, w.Office, office6, inside6, 9090})
}

// pings checks whether the host answers an echo request of the internet's.
func pings(w *world, want bool) {
	w.t.Helper()
	wait := longer
	if !want {
		wait = patience
	}
	var all sync.WaitGroup
	for _, to := range []netip.Addr{host4, host6} {
		all.Go(func() {
			cmd := w.Internet.Command(
				context.Background(),
				"ping",
				"-c1",
				fmt.Sprintf("-W%.1f", wait.Seconds()),
				"-n",
				to.String(),
			)
			if got := cmd.Run() == nil; got != want {
				w.t.Errorf("an echo request to %s is answered: %v, want %v", to, got, want)
			}
		})
	}
	all.Wait()
}

// A router with a narrow link behind it tells the host by ICMP; large transfers hang if that is
// refused.
func TestPathMTUSurvivesDeny(t *testing.T) { onEveryBackend(t, testPathMTUSurvivesDeny) }

func testPathMTUSurvivesDeny(t *testing.T, e engine) {
	payload := bytes.Repeat([]byte("portgrave"), 20_000)
	for _, errorsAllowed := range []bool{true, false} {
		w := newWorld(t, e)
		server := w.Host.ListenTCP(9090)
		w.apply(
			fmt.Sprintf(
				"unlisted: deny\nessentials: {icmp-errors: %v}\nservices: [{name: bulk, port: 9090, allow: [any]}]\n",
				errorsAllowed,
			),
		)
		sessions := []*lab.Session{
			w.Internet.Open(server, netip.AddrPortFrom(host4, 9090)),
			w.Internet.Open(server, netip.AddrPortFrom(host6, 9090)),
		}
		w.PathMTU(1300) // both ends believe in 1500
		wait := longer
		if !errorsAllowed {
			wait = 1500 * time.Millisecond // retransmissions and all
		}
		var all sync.WaitGroup
		for _, s := range sessions {
			all.Go(func() {
				if err := s.Echo(payload, lab.Timeout(wait)); (err == nil) != errorsAllowed {
					t.Errorf(
						"icmp-errors %v: a large transfer from %v: %v",
						errorsAllowed,
						s.Server,
						err,
					)
				}
			})
		}
		all.Wait()
	}
}

func TestRevokedSourceLosesItsConnection(t *testing.T) {
	onEveryBackend(t, testRevokedSourceLosesItsConnection)
}

func testRevokedSourceLosesItsConnection(t *testing.T, e engine) {
	for _, established := range []string{"cut", "keep"} {
		w := newWorld(t, e)
		local, published := w.Host.ListenTCP(9090), w.Container.ListenTCP(80)
		w.Publish("tcp", 8080, 80)
		policy := "established: " + established + "\nservices: [{name: s, port: [9090, 8080], allow: [%s]}]\n"
		w.apply(fmt.Sprintf(policy, `10.20.0.0/16, "fd00:20::/48"`))
		revoked, spared := map[string]*lab.Session{}, map[string]*lab.Session{}
		for _, to := range []struct {
			name   string
			server *lab.Server
			at     netip.Addr
			port   uint16
			other  netip.Addr
		}{
			{"local IPv4", local, inside4, 9090, barred4}, {"local IPv6", local, inside6, 9090, barred6},
			{"published IPv4", published, inside4, 8080, barred4}, {"published IPv6", published, inside6, 8080, barred6},
		} {
			at := netip.AddrPortFrom(to.at, to.port)
			revoked[to.name], spared[to.name] = w.Office.Open(
				to.server,
				at,
			), w.Office.Open(
				to.server,
				at,
				lab.From(to.other),
			)
			if want := to.server.Node.Name; revoked[to.name].Banner != want {
				t.Fatalf("%s leads to %s", to.name, revoked[to.name].Banner)
			}
		}
		for _, all := range []map[string]*lab.Session{revoked, spared} {
			for name, s := range all {
				if err := s.Ping(lab.Timeout(longer)); err != nil {
					t.Fatalf("%s, %s, before: %v", established, name, err)
				}
			}
		}
		out := w.apply(fmt.Sprintf(policy, `10.20.66.0/24, "fd00:20:0:66::/64"`))
		var all sync.WaitGroup
		for name, s := range revoked {
			all.Go(func() { checkRevoked(t, established, name, s, out.Cut) })
		}
		for name, s := range spared {
			all.Go(func() {
				if err := s.Ping(lab.Timeout(longer)); err != nil {
					t.Errorf(
						"%s, %s: the source that stays allowed lost its connection: %v",
						established,
						name,
						err,
					)
				}
			})
		}
		all.Wait()
		want := 0
		if established == "cut" {
			want = len(revoked)
		}
		if len(out.Cut) != want {
			t.Errorf(
				"%s: %d connections were cut, want %d: %v",
				established,
				len(out.Cut),
				want,
				out.Cut,
			)
		}
		w.expect(tcp, // no new connection either way
			ask{lab.Dropped, w.Office, office4, inside4, 9090},
			ask{lab.Dropped, w.Office, office6, inside6, 9090},
			ask{lab.Dropped, w.Office, office4, inside4, 8080},
			ask{lab.Dropped, w.Office, office6, inside6, 8080},
		)
	}
}

func checkRevoked(
	t *testing.T,
	established, name string,
	s *lab.Session,
	cut []firewall.Connection,
) {
	listed := slices.ContainsFunc(
		cut,
		func(c firewall.Connection) bool { return c.Client == s.Client && c.Dialled == s.Server },
	)
	if established == "keep" {
		if err := s.Ping(lab.Timeout(longer)); err != nil || listed {
			t.Errorf("keep, %s: listed as cut: %v, and the connection: %v", name, listed, err)
		}
		return
	}
	if alive := s.Alive(lab.Timeout(patience)); alive || !listed {
		t.Errorf("cut, %s: listed as cut: %v, alive: %v", name, listed, alive)
	}
	if s.Banner != "host" {
		return // ending a forwarded connection leaves the container's socket to the container
	}
	if _, ended := s.ServerEnded(lab.Timeout(longer)); !ended {
		t.Errorf("cut, %s: the server's end still stands", name)
	}
}

func TestExpiringSource(t *testing.T) { onEveryBackend(t, testExpiringSource) }

func testExpiringSource(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(9090)
	until := time.Now().Add(4 * time.Second)
	s := canonical(
		t,
		firewall.State{
			Unlisted:    firewall.UnlistedIgnore,
			Refuse:      firewall.RefuseReject,
			Established: firewall.EstablishedCut,
			Services: []firewall.Service{
				{
					Name:  "lease",
					Ports: []firewall.PortRange{{Protocol: firewall.TCP, First: 9090, Last: 9090}},
					Log:   firewall.LogNone,
					Expiring: []firewall.ExpiringSource{
						{Prefix: netip.MustParsePrefix("10.20.0.0/16"), Until: until},
						{Prefix: netip.MustParsePrefix("fd00:20::/48"), Until: until},
					},
				},
			},
		},
	)
	w.applyState(&s)
	var all sync.WaitGroup
	for _, to := range []netip.Addr{inside4, inside6} {
		all.Go(func() {
			var closed time.Time
			for closed.IsZero() && time.Now().Before(until.Add(10*time.Second)) {
				at := time.Now()
				if w.Office.Connect(
					netip.AddrPortFrom(to, 9090),
					lab.Timeout(longer),
				) == lab.Refused {
					closed = at
				}
				time.Sleep(50 * time.Millisecond)
			}
			// The kernel counts in its own clock, and in whole seconds.
			if off := closed.Sub(until); off.Abs() > firewall.ExpiryTolerance {
				t.Errorf("on %v the source ended %v after its time", to, off)
			}
		})
	}
	all.Wait()
}

// canonical is the State's canonical form; a State without one fails the test.
func canonical(t *testing.T, s firewall.State) firewall.State {
	t.Helper()
	c, err := s.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRateLimitsNewConnections(t *testing.T) { onEveryBackend(t, testRateLimitsNewConnections) }

func testRateLimitsNewConnections(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(9090)
	w.apply(
		"refuse: reject\nservices: [{name: slow, port: 9090, allow: [any], rate: {per_source: 1/minute, burst: 3}}]\n",
	)
	for i := 1; i <= 5; i++ {
		want := lab.Open
		if i > 3 {
			want = lab.Refused
		}
		if got := w.Office.Connect(netip.AddrPortFrom(inside4, 9090), lab.From(office4), lab.Timeout(longer)); got != want {
			t.Errorf("connection %d is %s, want %s", i, got, want)
		}
	}
	w.expect(tcp,
		ask{lab.Open, w.Office, barred4, inside4, 9090}, // another source has its own rate
		ask{lab.Open, w.Office, office6, inside6, 9090},
	)
}

// Multicast to a listed port is for this host too.
func TestMulticastIsFiltered(t *testing.T) { onEveryBackend(t, testMulticastIsFiltered) }

func testMulticastIsFiltered(t *testing.T, e engine) {
	w := newWorld(t, e)
	server := w.Host.ListenUDP(9090)
	group4, group6 := netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("ff02::1234")
	send := func(payload string) {
		for _, group := range []netip.Addr{group4, group6} {
			to := netip.AddrPortFrom(group, 9090)
			w.Router.Send("eth1", to, fmt.Sprintf("refused %v %s", group, payload))
			own := office4
			if group.Is6() {
				own = office6
			}
			w.Office.Send("eth0", to, fmt.Sprintf("allowed %v %s", group, payload), lab.From(own))
		}
	}
	for _, group := range []netip.Addr{group4, group6} {
		server.Join(group, "eth0")
		server.Join(group, "eth1")
	}
	arrives := func(who string, group netip.Addr, payload string, wait time.Duration) bool {
		return server.Got(fmt.Sprintf("%s %v %s", who, group, payload), lab.Timeout(wait))
	}
	send("before")
	for _, group := range []netip.Addr{group4, group6} {
		if !arrives("refused", group, "before", longer) ||
			!arrives("allowed", group, "before", longer) {
			t.Fatalf("the control: a datagram to %v did not arrive", group)
		}
	}
	w.apply(officeOnly)
	send("after")
	for _, group := range []netip.Addr{group4, group6} {
		if !arrives("allowed", group, "after", longer) {
			t.Errorf("a datagram from an allowed source to %v did not arrive", group)
		}
	}
	time.Sleep(patience)
	for _, group := range []netip.Addr{group4, group6} {
		if arrives("refused", group, "after", 0) {
			t.Errorf("a datagram from a refused source to %v arrived", group)
		}
	}
}

// While a large list is replaced, the allowed source meets no gap and the refused one no opening.
func TestReplacingManySourcesShowsNoGap(t *testing.T) {
	onEveryBackend(t, testReplacingManySourcesShowsNoGap)
}

// manyStates are made once for all engines, since that takes longer than to enforce one.
var manyStates = sync.OnceValues(func() ([]firewall.State, error) {
	state := func(first byte, interfaces ...string) (firewall.State, error) {
		prefixes := []netip.Prefix{netip.MustParsePrefix("fd00:20::/48")}
		for i := range 100_000 {
			prefixes = append(
				prefixes,
				netip.PrefixFrom(
					netip.AddrFrom4([4]byte{first + byte(i>>16), byte(i >> 8), byte(i), 0}),
					25,
				),
			)
		}
		sources, err := address.New(prefixes...)
		if err != nil {
			return firewall.State{}, err
		}
		return firewall.State{
			Unlisted:    firewall.UnlistedIgnore,
			Refuse:      firewall.RefuseDrop,
			Established: firewall.EstablishedCut,
			Services: []firewall.Service{
				{Name: "big", Interfaces: interfaces, Sources: sources, Log: firewall.LogNone,
					Ports: []firewall.PortRange{
						{Protocol: firewall.TCP, First: 9090, Last: 9090},
					}},
			},
		}.Canonical()
	}
	first, err1 := state(20)
	content, err2 := state(60)
	rules, err3 := state(60, "eth1")
	bothChanged, err4 := state(100, "eth*")
	return []firewall.State{
			first,
			content,
			rules,
			bothChanged,
			first,
		}, errors.Join(
			err1,
			err2,
			err3,
			err4,
		)
})

func testReplacingManySourcesShowsNoGap(t *testing.T, e engine) {
	states, err := manyStates()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, e)
	w.serve(9090)
	w.applyState(&states[0])
	allowed := w.Stream(
		w.Office,
		[]netip.Addr{office6.Next()},
		netip.AddrPortFrom(inside6, 9090),
		lab.Rate(2500),
	)
	refused := w.Stream(
		w.Office,
		[]netip.Addr{office4.Next()},
		netip.AddrPortFrom(inside4, 9090),
		lab.Rate(2500),
	)
	allowed.WaitRounds(50)
	for i := range states[1:] {
		w.applyState(&states[i+1])
	}
	allowed.WaitRounds(50)
	a, r := allowed.Stop(), refused.Stop()
	seen := w.traffic("big")
	t.Logf(
		"%d probes while 100000 sources were replaced four times, the longest gap %v; counted as allowed %v, as refused %v",
		a.Sent+r.Sent,
		a.LongestGap,
		seen.Allowed,
		seen.Refused,
	)
	if n := seen.Allowed[address.IPv4].Packets; n != 0 || r.Open != 0 {
		t.Errorf("%d packets of the refused source got through, %d were answered", n, r.Open)
	}
	shut := a.Refused + max(0, a.Unanswered-a.Lost)
	if n := seen.Refused[address.IPv6].Packets; n != 0 || shut != 0 {
		t.Errorf("%d packets of the allowed source were refused, %d found the port shut", n, shut)
	}
	if a.Open < 300 || r.Sent < 300 || seen.Allowed[address.IPv6].Packets == 0 ||
		seen.Refused[address.IPv4].Packets == 0 {
		t.Error("too few packets to prove anything")
	}
}
