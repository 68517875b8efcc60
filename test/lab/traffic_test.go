package lab

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSessions(t *testing.T) {
	RequireRoot(t)
	w := New(t)
	echo, pusher := w.Host.ListenTCP(9090), w.Host.ListenPusher(9091)
	w.Container.ListenTCP(80)
	w.Publish("tcp", 8080, 80)
	for name, six := range families {
		s, p := w.Office.Open(echo, w.Host.At(9090, six)),
			w.Office.Open(pusher, w.Host.At(9091, six))
		if s.Banner != "host" || !s.Alive() || !p.Pushing() || !p.Pushing() {
			t.Fatalf("%s: a session is dead", name)
		}
		w.Host.NFT("table inet t {\n chain c {\n type filter hook prerouting priority -110\n " +
			"iifname eth1 tcp dport { 9090, 9091 } drop\n }\n }")
		if s.Alive() {
			t.Errorf("%s: the echo came through", name)
		}
		// Data in flight has arrived. Without acknowledgements no more can follow.
		if !waitUntil(2*time.Second,
			func() bool { return !p.Pushing(Timeout(100 * time.Millisecond)) }) {
			t.Errorf("%s: the pusher still pushes", name)
		}
		if _, ok := s.ServerEnded(Timeout(10 * time.Millisecond)); ok {
			t.Errorf("%s: the server's end is gone", name)
		}
		w.Host.NFT("delete table inet t")
		w.Host.Run("ss", "-K", "-t", "state", "established", "( sport = :9090 or sport = :9091 )")
		for _, one := range []*Session{s, p} {
			if why, ok := one.ServerEnded(); !ok {
				t.Errorf("%s: the server's end still stands", name)
			} else if !errors.Is(why, unix.ECONNABORTED) {
				t.Errorf("%s: the server's end: %v", name, why)
			}
		}
	}
}

func TestPathMTU(t *testing.T) {
	RequireRoot(t)
	payload := bytes.Repeat([]byte("portgrave"), 20000)
	for name, six := range families {
		w := New(t)
		server := w.Host.ListenTCP(9090)
		s := w.Internet.Open(server, w.Host.At(9090, six))
		w.PathMTU(1300)
		w.Host.NFT("table inet t {\n counter small {}\n chain c {\n type filter hook prerouting " +
			"priority -110\n icmp type destination-unreachable icmp code frag-needed counter " +
			"name small\n icmpv6 type packet-too-big counter name small\n }\n }")
		if err := s.Echo(payload, Timeout(5*time.Second)); err != nil {
			t.Errorf("%s: a large payload over a narrow path: %v", name, err)
		}
		if out := w.Host.Run("nft", "list", "counter", "inet", "t",
			"small"); strings.Contains(out, "packets 0 ") {
			t.Errorf("%s: the path was narrow, but nobody was told: %s", name, out)
		}
		// The control uses a new world, which knows no path MTU: without those messages no large
		// packet gets through.
		w = New(t)
		server = w.Host.ListenTCP(9090)
		s = w.Internet.Open(server, w.Host.At(9090, six))
		w.PathMTU(1300)
		w.Host.NFT("table inet t {\n chain c {\n type filter hook prerouting priority -110\n " +
			"icmp type destination-unreachable drop\n icmpv6 type packet-too-big drop\n }\n }")
		if err := s.Echo(payload, Timeout(500*time.Millisecond)); err == nil {
			t.Errorf("%s: a large payload got through without path MTU discovery", name)
		}
		w.Host.NFT("delete table inet t")
		w.PathMTU(0)
	}
}

func TestNeighbours(t *testing.T) {
	RequireRoot(t)
	w := New(t)
	w.Host.ListenTCP(9090)
	six := w.Host.At(9090, true)
	if got := w.Office.Connect(six); got != Open {
		t.Fatal(got)
	}
	w.Host.NFT("table inet t {\n chain c {\n type filter hook prerouting priority -110\n icmpv6 " +
		"type { nd-neighbor-solicit, nd-neighbor-advert } drop\n }\n }")
	w.PinNeighbours()
	if got := w.Office.Connect(six); got != Open {
		t.Errorf("with pinned neighbours: %v", got)
	}
	w.FlushNeighbours()
	if got := w.Office.Connect(six); got == Open {
		t.Errorf("without neighbour discovery: %v", got)
	}
	if got := w.Office.Connect(w.Host.At(9090, false)); got != Open {
		t.Errorf("IPv4 needs none: %v", got)
	}
	w.Host.NFT("delete table inet t")
	w.FlushNeighbours()
	if got := w.Office.Connect(six); got != Open {
		t.Errorf("with neighbour discovery: %v", got)
	}
}

func TestGroups(t *testing.T) {
	RequireRoot(t)
	w := New(t)
	s := w.Host.ListenUDP(5353)
	for i, to := range []string{
		"224.0.0.251", "ff02::fb", "ff05::1:3", "10.20.255.255", "255.255.255.255",
	} {
		a := netip.MustParseAddr(to)
		if a.IsMulticast() {
			s.Join(a, "eth1")
		}
		payload := strings.Repeat("x", i+1)
		w.Office.Send("eth0", netip.AddrPortFrom(a, 5353), payload)
		if !s.Got(payload) {
			t.Errorf("%s did not arrive", to)
		}
		for _, d := range s.Received() {
			if string(d.Payload) == payload && d.To != a {
				t.Errorf("%s arrived as %v", to, d.To)
			}
		}
	}
	w.Host.NFT("table inet t {\n chain c {\n type filter hook prerouting priority -110\n udp " +
		"dport 5353 fib daddr type { multicast, broadcast } drop\n }\n }")
	w.Office.Send("eth0", netip.MustParseAddrPort("224.0.0.251:5353"), "dropped")
	w.Office.Send("eth0", w.Host.At(5353, false), "unicast")
	if !s.Got("unicast") || s.Got("dropped", Timeout(0)) {
		t.Error("the control failed")
	}
}

func TestSCTP(t *testing.T) {
	RequireRoot(t)
	w := New(t)
	w.Host.ListenSCTP(3868)
	w.Host.ListenSCTP(3869)
	w.Container.ListenSCTP(80)
	w.Publish("sctp", 8080, 80)
	w.Host.NFT("table inet t {\n chain c {\n type filter hook prerouting priority -110\n ct " +
		"state invalid drop\n sctp dport 3870 drop\n sctp dport 3871 reject\n sctp dport 3872 " +
		"reject with icmpx admin-prohibited\n }\n }")
	for name, six := range families {
		for port, want := range map[uint16]Answer{
			3868: Open,
			3869: Open,
			3870: Dropped,
			3871: Refused,
			3872: Prohibited,
			3873: Refused,
			8080: Open,
		} {
			if got := w.Internet.Connect(w.Host.At(port, six), Over(SCTP)); got != want {
				t.Errorf("%s: port %d: %v, want %v", name, port, got, want)
			}
		}
		source := netip.MustParseAddr("10.20.5.5")
		if six {
			source = netip.MustParseAddr("fd00:20::5:5")
		}
		w.AddSources(w.Office, netip.PrefixFrom(source, source.BitLen()))
		if got := w.Office.Connect(w.Host.At(3868, six), Over(SCTP), From(source)); got != Open {
			t.Errorf("%s: from %v: %v", name, source, got)
		}
	}
}
