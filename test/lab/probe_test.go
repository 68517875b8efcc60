package lab

import (
	"net/netip"
	"testing"
	"time"
)

// Probe sends from ten thousand sources, half of them dropped, and exactly the other half is
// answered.
func TestProbe(t *testing.T) {
	RequireRoot(t)
	w := New(t)
	w.Host.ListenTCP(9090)
	w.Host.NFT(`table inet t {
	chain c {
		type filter hook prerouting priority -110
		tcp dport 9090 ip saddr 203.0.114.0/23 drop
		tcp dport 9090 ip6 saddr 2001:db8:114::/48 drop
	}
}
`)
	for name, six := range families {
		var sources []netip.Addr
		denied := map[netip.Addr]bool{}
		for i := range 10_000 {
			a := netip.AddrFrom4([4]byte{192, 88, byte(i >> 8), byte(i)})
			if six {
				a = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0x01, 0x15, 14: byte(i >> 8),
					15: byte(i)})
			}
			if i%2 == 1 {
				a = netip.AddrFrom4([4]byte{203, 0, 114 + byte(i>>8)&1, byte(i)})
				if six {
					a = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0x01, 0x14,
						14: byte(i >> 8), 15: byte(i)})
				}
				denied[a] = true
			}
			sources = append(sources, a)
		}
		begin := time.Now()
		answered := w.Probe(w.Internet, sources, w.Host.At(9090, six))
		t.Logf("%s: %d sources in %v", name, len(sources), time.Since(begin))
		wrong := 0
		for _, a := range sources {
			if (answered[a] == Open) == denied[a] {
				wrong++
			}
		}
		if wrong != 0 {
			t.Errorf("%s: %d of %d sources were judged wrong", name, wrong, len(sources))
		}
	}
}
