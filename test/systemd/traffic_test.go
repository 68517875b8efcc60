package systemd

import (
	"net/netip"
	"time"

	"github.com/portgrave/portgrave/test/lab"
)

// The policies of these tests list a port. allowedSource may reach it, refusedSource may not. Both
// are on the internet.
var allowedSource, refusedSource = netip.MustParseAddr("192.88.99.1"),
	netip.MustParseAddr("192.88.98.1")

const port = 9090

// policyText allows only allowedSource to reach the port.
const policyText = "version: 1\nservices: [{name: metrics, port: 9090, allow: [192.88.99.0/24]}]\n"

// protectedPolicy is policyText with a table that the daemon owns, although the image's nft can't
// print such tables.
const protectedPolicy = policyText + "daemon: {protect: always}\n"

// unprotectedPolicy is policyText with a table that others may change.
const unprotectedPolicy = policyText + "daemon: {protect: never}\n"

// checkAccess fails the test unless allowedSource gets in and refusedSource does not.
func (m *machine) checkAccess(when string) {
	m.t.Helper()
	for source, want := range map[netip.Addr]lab.Answer{
		allowedSource: lab.Open,
		refusedSource: lab.Dropped,
	} {
		if got := m.connectFrom(source); got != want {
			m.t.Errorf("%s: %s is %s, want %s", when, source, got, want)
		}
	}
}

// connectFrom tries a connection from a source.
func (m *machine) connectFrom(source netip.Addr) lab.Answer {
	m.t.Helper()
	wait := lab.Timeout(300 * time.Millisecond)
	return m.Probe(m.Internet, []netip.Addr{source}, m.Host.At(port, false), wait,
		lab.Attempts(2))[source]
}

// probeRefused probes from refusedSource every half a millisecond. A daemon or firewall takes much
// longer to start.
func probeRefused(w *lab.World) *lab.Stream {
	s := w.Stream(w.Internet, []netip.Addr{refusedSource}, w.Host.At(port, false), lab.Rate(2000))
	s.WaitRounds(20)
	return s
}

// checkNothingPassed fails the test if a probe got through, or none was sent.
func (m *machine) checkNothingPassed(what string, s *lab.Stream) {
	m.t.Helper()
	s.WaitRounds(20)
	r := s.Stop()
	m.t.Logf(
		"%s: %d of %d packets of a refused source got through, in %.1f s",
		what,
		r.Open,
		r.Sent,
		r.End.Sub(r.Begin).Seconds(),
	)
	if r.Open > 0 || r.Sent == 0 {
		m.t.Errorf("%s: %d of %d packets of a refused source got through", what, r.Open, r.Sent)
	}
}
