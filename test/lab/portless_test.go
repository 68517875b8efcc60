package lab

import "testing"

// Probes of protocols without ports are answered by their listeners and not mixed up.
func TestPortlessProbes(t *testing.T) {
	RequireRoot(t)
	w := New(t)
	w.Host.ListenRaw(112)
	w.Host.ListenRaw(47)
	var questions []Question
	var wants []Answer
	for _, six := range []bool{false, true} {
		for _, q := range []struct {
			over Protocol
			want Answer
		}{{112, Open}, {47, Open}, {Ping, Open}, {94, Unreachable}} {
			if q.over == 94 && six {
				continue // ICMPv6 answers "parameter problem"
			}
			questions = append(
				questions,
				Question{Source: w.Internet.Addr(six), To: w.Host.At(0, six), Over: q.over},
			)
			wants = append(wants, q.want)
		}
	}
	for i, got := range w.ProbeEach(w.Internet, questions) {
		if got != wants[i] {
			t.Errorf("protocol %d to %v is %v, want %v",
				questions[i].Over, questions[i].To, got, wants[i])
		}
	}
	w.Host.NFT(
		"table inet t {\n chain c {\n type filter hook input priority 0\n meta l4proto { 47, 112 " +
			"} drop\n icmp type echo-request reject\n icmpv6 type echo-request reject\n }\n }",
	)
	for i, got := range w.ProbeEach(w.Internet, questions[:3]) {
		want := Dropped
		if questions[i].Over == Ping {
			want = Refused
		}
		if got != want {
			t.Errorf(
				"refused: protocol %d to %v is %v, want %v",
				questions[i].Over,
				questions[i].To,
				got,
				want,
			)
		}
	}
}
