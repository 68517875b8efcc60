package lab

import (
	"net/netip"
	"testing"
)

// Probe distinguishes refusals, silence and open ports for each source, over both protocols.
func TestProbeDistinguishesRefusals(t *testing.T) {
	RequireRoot(t)
	w := New(t)
	w.Host.ListenTCP(9090)
	w.Host.ListenUDP(9090)
	w.Host.NFT(`table inet t {
	chain c {
		type filter hook prerouting priority -110
		ct state invalid drop
		ip saddr & 0.0.0.3 == 1 th dport 9090 drop
		ip6 saddr & ::3 == ::1 th dport 9090 drop
		ip saddr & 0.0.0.3 == 2 th dport 9090 reject
		ip6 saddr & ::3 == ::2 th dport 9090 reject
		ip saddr & 0.0.0.3 == 3 th dport 9090 reject with icmpx admin-prohibited
		ip6 saddr & ::3 == ::3 th dport 9090 reject with icmpx admin-prohibited
	}
	}
`)
	wants := [4]Answer{Open, Dropped, Refused, Prohibited}
	for name, six := range families {
		for _, protocol := range []Protocol{TCP, UDP} {
			first := "8.1.0.0"
			if six {
				first = "2a00:1::"
			}
			sources := consecutiveAddresses(first, 2000)
			answers := w.Probe(w.Internet, sources, w.Host.At(9090, six), Over(protocol))
			wrong := 0
			for i, s := range sources {
				if answers[s] != wants[i%4] {
					wrong++
				}
			}
			if wrong != 0 {
				t.Errorf("%s over %d: %d of %d sources were judged wrong",
					name, protocol, wrong, len(sources))
			}
		}
	}
	// Answers also find their way back from the other interface.
	for name, begin := range map[string]string{"IPv4": "10.20.7.0", "IPv6": "fd00:20:0:7::"} {
		sources := consecutiveAddresses(begin, 400)
		eth1 := w.Host.Link("eth1")
		to := netip.AddrPortFrom(firstAddress(&eth1, sources[0].Is6()), 9090)
		answers := w.Probe(w.Office, sources, to)
		for i, s := range sources {
			if answers[s] != wants[i%4] {
				t.Fatalf("%s: %v from the office: %v", name, s, answers[s])
			}
		}
	}
}

// Stream finds a denied source that gets in while a rule is briefly missing.
func TestStreamFindsAnOpening(t *testing.T) {
	RequireRoot(t)
	w := New(t)
	w.Host.ListenTCP(9090)
	const shut = "add rule inet t c tcp dport 9090 drop\n"
	w.Host.NFT("table inet t {\n chain c {\n type filter hook prerouting priority -110\n }\n }\n" +
		shut)
	for name, begin := range map[string]string{"IPv4": "8.2.0.0", "IPv6": "2a00:2::"} {
		sources := consecutiveAddresses(begin, 20)
		s := w.Stream(w.Internet, sources, w.Host.At(9090, sources[0].Is6()))
		s.WaitRounds(20)
		if s.Answered() != 0 {
			t.Fatalf("%s: the control: a shut port answered", name)
		}
		w.Host.NFT("flush chain inet t c\n")
		w.Host.NFT(shut)
		s.WaitRounds(20)
		if r := s.Stop(); r.Open == 0 || r.Unanswered == 0 || r.Sources[0].Sent < 40 {
			t.Errorf("%s: the opening was missed: %d open, %d unanswered",
				name, r.Open, r.Unanswered)
		}
	}
}

// FuzzFrame checks that any frame can be parsed.
func FuzzFrame(f *testing.F) {
	link := &Link{MAC: mac(1, 1), gateway: &Link{MAC: mac(1, 2)}}
	for _, to := range []string{"198.51.100.10:9090", "[2001:db8:100::10]:9090"} {
		for _, p := range []Protocol{TCP, UDP} {
			x := newTemplate(link, p, netip.MustParseAddrPort(to))
			x.fill(netip.MustParseAddrPort(to).Addr(), 1, 2)
			f.Add(x.frame)
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		for _, to := range []string{"198.51.100.10:9090", "[2001:db8:100::10]:9090"} {
			for _, p := range []Protocol{TCP, UDP} {
				x := newTemplate(link, p, netip.MustParseAddrPort(to))
				if r, ok := x.read(frame); ok && (r.answer == Dropped || r.source.Is6() != x.six) {
					t.Errorf("read as %+v", r)
				}
			}
		}
	})
}
