package systemd

import (
	"net/netip"
	"time"

	"github.com/portgrave/portgrave/test/lab"
)

// friend may reach the port that the policies of these tests list, foe may not. Both come from the
// internet.
var friend, foe = netip.MustParseAddr("192.88.99.1"), netip.MustParseAddr("192.88.98.1")

const port = 9090

// document lets friend, and nobody else, reach the port.
const document = "version: 1\nservices: [{name: metrics, port: 9090, allow: [192.88.99.0/24]}]\n"

// owned is document with a table that is the daemon's alone, although the image's nft can't print
// it.
const owned = document + "daemon: {protect: always}\n"

// touchable is document with a table that others may change.
const touchable = document + "daemon: {protect: never}\n"

// gate fails the test unless friend gets in and foe does not.
func (m *machine) gate(when string) {
	m.t.Helper()
	for source, want := range map[netip.Addr]lab.Answer{friend: lab.Open, foe: lab.Dropped} {
		if got := m.ask(source); got != want {
			m.t.Errorf("%s: %s is %s, want %s", when, source, got, want)
		}
	}
}

// ask is what becomes of a connection from a source.
func (m *machine) ask(source netip.Addr) lab.Answer {
	m.t.Helper()
	wait := lab.Timeout(300 * time.Millisecond)
	return m.Probe(m.Internet, []netip.Addr{source}, m.Host.At(port, false), wait, lab.Attempts(2))[source]
}

// siege has foe knock without pause, every half a millisecond: a daemon or a firewall takes much
// longer than that to start.
func siege(w *lab.World) *lab.Stream {
	s := w.Stream(w.Internet, []netip.Addr{foe}, w.Host.At(port, false), lab.Rate(2000))
	s.WaitRounds(20)
	return s
}

// held fails the test if anything got through a siege, or nothing was sent.
func (m *machine) held(what string, s *lab.Stream) {
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
