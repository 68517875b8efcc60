package lab

import (
	"net/netip"
	"testing"
)

// Questions to different ports, addresses, families and protocols each get their own answer.
func TestProbeEach(t *testing.T) {
	RequireRoot(t)
	w := New(t)
	for port := uint16(9090); port <= 9093; port++ {
		w.Host.ListenTCP(port)
		w.Host.ListenUDP(port)
	}
	w.Host.NFT(`table inet t {
	chain c {
		type filter hook prerouting priority -110
		ip daddr 198.51.100.11 drop
		ip6 daddr 2001:db8:100::11 drop
		tcp dport 9091 drop
		udp dport 9092 reject
		tcp dport 9092 reject with tcp reset
		th dport 9093 reject with icmpx admin-prohibited
	}
	}
`)
	eth0 := w.Host.Link("eth0")
	var questions []Question
	var wants []Answer
	for i := range 4000 {
		port, second, over := uint16(9090+i%4), i/4%2, []Protocol{TCP, UDP}[i/8%2]
		a, to := netip.AddrFrom4([4]byte{8, 3, byte(i >> 8), byte(i)}), eth0.V4[second]
		if i/16%2 == 1 {
			a, to = netip.AddrFrom16([16]byte{0x2a, 0, 14: byte(i >> 8), 15: byte(i)}),
				eth0.V6[second]
		}
		want := [4]Answer{Open, Open, Refused, Prohibited}[i%4]
		if second == 1 || port == 9091 && over == TCP {
			want = Dropped
		}
		questions, wants = append(questions,
			Question{Source: a, To: netip.AddrPortFrom(to, port), Over: over}), append(wants, want)
	}
	wrong := 0
	for i, got := range w.ProbeEach(w.Internet, questions) {
		if got != wants[i] {
			if wrong++; wrong < 10 {
				t.Errorf("%+v: %v, want %v", questions[i], got, wants[i])
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d answers are wrong", wrong, len(questions))
	}
}
