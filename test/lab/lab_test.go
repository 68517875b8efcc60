package lab

import (
	"net/netip"
	"testing"
	"time"
)

var families = map[string]bool{"IPv4": false, "IPv6": true}

// TestConnect tries every possible answer of a port.
func TestConnect(t *testing.T) {
	RequireRoot(t)
	begin := time.Now()
	w := New(t)
	t.Logf("built in %v", time.Since(begin))
	w.Host.ListenTCP(9090)
	w.Host.ListenUDP(9090)
	w.Host.ListenTCP(9092)
	w.Host.NFT(`table inet t { chain c { type filter hook prerouting priority -110;
		th dport 9091 drop
		th dport 9092 reject with icmpx admin-prohibited
		th dport 9093 reject with icmpx host-unreachable
		tcp dport 9094 reject with tcp reset
		udp dport 9094 reject with icmpx port-unreachable;
	}
	}`)
	for name, six := range families {
		for _, from := range []*Node{w.Internet, w.Office, w.Router, w.Container} {
			for _, p := range []Protocol{TCP, UDP} {
				for port, want := range map[uint16]Answer{
					9090: Open,
					9091: Dropped,
					9092: Prohibited,
					9093: Unreachable,
					9094: Refused,
					9095: Refused,
				} {
					begin := time.Now()
					got := from.Connect(w.Host.At(port, six), Over(p),
						Timeout(100*time.Millisecond))
					if got != want {
						t.Errorf("%s: %s to port %d over %d: %v, want %v",
							name, from.Name, port, p, got, want)
					}
					if d := time.Since(begin); got != Dropped && d > 50*time.Millisecond {
						t.Logf("%s %s %d %d took %v", name, from.Name, port, p, d)
					}
				}
			}
		}
	}
}

func TestPublish(t *testing.T) {
	RequireRoot(t)
	w := New(t)
	w.Container.ListenTCP(80)
	inet := w.Internet.ListenTCP(80)
	w.Container.ListenUDP(80)
	w.Publish("tcp", 8080, 80)
	w.Publish("udp", 8080, 80)
	for name, six := range families {
		for _, from := range []*Node{w.Internet, w.Office, w.Host} {
			if b, err := from.Greeting(w.Host.At(8080, six)); b != "container" {
				t.Errorf("%s: %s reached %q, %v", name, from.Name, b, err)
			}
			if got := from.Connect(w.Host.At(8080, six), Over(UDP)); got != Open {
				t.Errorf("%s: %s over UDP: %v", name, from.Name, got)
			}
		}
		if got := w.Container.Connect(w.Internet.At(80, six)); got != Open {
			t.Errorf("%s: container to internet: %v", name, got)
		}
		client := netip.MustParseAddr("203.0.113.77")
		if six {
			client = netip.MustParseAddr("2001:db8:777::7")
		}
		w.AddSources(w.Internet, netip.PrefixFrom(client, client.BitLen()))
		if got := w.Internet.Connect(w.Host.At(8080, six), From(client)); got != Open {
			t.Errorf("%s: from %v: %v", name, client, got)
		}
	}
	if !waitUntil(3*time.Second, func() bool { return inet.Accepted() == 2 }) {
		t.Errorf("accepted %d", inet.Accepted())
	}
}
