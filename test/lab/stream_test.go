package lab

import (
	"net/netip"
	"testing"
)

// Stream finds a gap while a rule shuts a port, and none for a source that the rule doesn't match.
func TestStreamFindsAGap(t *testing.T) {
	RequireRoot(t)
	w := New(t)
	w.Host.ListenTCP(9090)
	w.Host.NFT("table inet t {\n set shut {\n type ipv4_addr\n }\n chain c {\n type filter hook " +
		"prerouting priority -110\n tcp dport 9090 ip saddr @shut drop\n }\n }\n")
	shut, free := netip.MustParseAddr("192.88.99.1"), netip.MustParseAddr("192.88.99.2")
	s := w.Stream(w.Internet, []netip.Addr{shut, free}, w.Host.At(9090, false), Rate(5000))
	s.WaitRounds(50)
	w.Host.NFT("add element inet t shut { 192.88.99.1 }\n")
	s.WaitRounds(50)
	w.Host.NFT("delete element inet t shut { 192.88.99.1 }\n")
	s.WaitRounds(50)
	r := s.Stop()
	if r.Lost > 0 {
		t.Fatalf("%d frames were lost: this run proves nothing", r.Lost)
	}
	if x := r.Sources[0]; x.Unanswered < 40 || x.Open < 80 || x.LongestGap == 0 {
		t.Errorf("the shut source: %+v", x)
	}
	if x := r.Sources[1]; x.Unanswered != 0 || x.LongestGap != 0 {
		t.Errorf("the free source: %+v", x)
	}
}
