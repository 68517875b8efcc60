//go:build boot

package boot

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/test/lab"
)

// Packets a second from all sources together. One packet of a refused source falls into 0.5 ms.
const (
	refusedRate = 2000
	allowedRate = 20
)

// watcher sends packets to the machine from outside, and records what it sends.
type watcher struct {
	*testing.T
	wire             *lab.Wire
	capture          *lab.Capture
	refused, allowed []*lab.Stream
	connectedAt      time.Time // when a full connection was made
}

// newWatcher makes the machine's network, and starts to send.
func newWatcher(t *testing.T) *watcher {
	t.Helper()
	w := &watcher{
		T:    t,
		wire: lab.NewWire(t, wireMAC, machineMAC, []netip.Addr{machine4, machine6}, wire4, wire6),
	}
	w.wire.AddSources(netip.PrefixFrom(client4, 24))
	w.wire.AddSources(netip.PrefixFrom(client6, 64))
	w.capture = w.wire.Capture()
	for _, to := range []netip.AddrPort{at(machine4), at(machine6)} {
		refused, allowed := refused4, allowed4
		if to.Addr().Is6() {
			refused, allowed = refused6, allowed6
		}
		w.refused = append(w.refused, w.wire.Stream(refused, to, lab.Rate(refusedRate/2)))
		w.allowed = append(w.allowed, w.wire.Stream(allowed, to, lab.Rate(allowedRate/2)))
	}
	return w
}

func at(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, port) }

// boot starts a machine after a script has changed its disk. The changes are lost at the end.
func boot(t *testing.T, w *watcher, disk, prepare string) *machine {
	t.Helper()
	return start(t, w, disk, prepare, false)
}

func start(t *testing.T, w *watcher, disk, prepare string, keep bool) *machine {
	t.Helper()
	initrd := filepath.Join(t.TempDir(), "initrd")
	writeInitrd(t, initrd, prepare)
	return powerOn(t, w.wire, disk, initrd, keep)
}

// toRefused and toAllowed classify the machine's answers.
func toRefused(s lab.Segment) bool {
	return s.From.Port() == port &&
		(slices.Contains(refused4, s.To.Addr()) || slices.Contains(refused6, s.To.Addr()))
}

func toAllowed(s lab.Segment) bool { return s.From.Port() == port && !toRefused(s) }

// connectAllowed makes a full connection over each family, and reads the service's answer.
func (w *watcher) connectAllowed() {
	w.Helper()
	for source, to := range map[netip.Addr]netip.AddrPort{
		client4: at(machine4),
		client6: at(machine6),
	} {
		c, err := w.wire.Dial(w.Context(), "tcp",
			to.String(), lab.From(source), lab.Timeout(machineTimeout))
		if err != nil {
			w.Errorf("%v is allowed, and could not connect: %v", source, err)
			continue
		}
		_ = c.SetDeadline(time.Now().Add(machineTimeout))
		answer, err := io.ReadAll(c)
		_ = c.Close()
		if !bytes.Equal(answer, []byte("hello\n")) {
			w.Errorf("the service answer %q to %v, which is allowed, and %v", answer, source, err)
		}
	}
	w.connectedAt = time.Now()
}

// stopRefused stops sending from refused sources, because a machine that answers all of them has no
// time for anything else.
func (w *watcher) stopRefused() {
	for _, s := range w.refused {
		s.Stop()
	}
}

// finish stops sending, and returns what the machine sent from its port.
func (w *watcher) finish() []lab.Segment {
	w.Helper()
	for _, s := range append(slices.Clone(w.refused), w.allowed...) {
		if r := s.Stop(); r.Sent == 0 {
			w.Errorf("nothing was sent from %v", r.Sources[0].Source)
		}
	}
	seen, lost, err := w.capture.Stop()
	if err != nil || lost != 0 {
		w.Fatalf("%d packets of the machine were lost, so that it proves nothing: %v", lost, err)
	}
	return slices.DeleteFunc(seen, func(s lab.Segment) bool { return s.From.Port() != port })
}

// answers returns what the machine sent to refused and to allowed sources.
func (w *watcher) answers() (refused, allowed []lab.Segment) {
	w.Helper()
	for _, s := range w.finish() {
		if toRefused(s) {
			refused = append(refused, s)
		} else {
			allowed = append(allowed, s)
		}
	}
	return refused, allowed
}

// answersUntil waits for a packet from the machine; false if it doesn't come in time.
func (w *watcher) answersUntil(match func(lab.Segment) bool) (lab.Segment, bool) {
	w.Helper()
	for end := time.Now().Add(machineTimeout); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if s, ok := w.capture.Find(match); ok {
			return s, true
		}
	}
	return lab.Segment{}, false
}

// report returns portgrave's report about this boot.
func (m *machine) report() host.Booted {
	m.t.Helper()
	var r host.Booted
	text := m.await("boot.json").text
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		m.t.Fatalf("boot.json is %q: %v", text, err)
	}
	return r
}

// refusals returns the machine's own counter of refused packets.
func (m *machine) refusals() int {
	m.t.Helper()
	var n int
	text := m.await("refusals").text
	if _, err := fmt.Sscan(text, &n); err != nil {
		m.t.Fatalf("the machine's counter of refused packets is %q: %v", text, err)
	}
	return n
}

// checkHealthy checks that the daemon took over, and that no unit failed.
func (w *watcher) checkHealthy(m *machine) {
	w.Helper()
	if failed := m.await("failed").text; failed != "" {
		w.Errorf("units failed: %s", failed)
	}
	if state := m.await("daemon").text; state != "active" {
		w.Errorf("the daemon is %s", state)
	}
}

// logIfFailed logs what the machine wrote, including the details at the end.
func (w *watcher) logIfFailed(m *machine) {
	w.Helper()
	if w.Failed() {
		m.await("details")
		w.Logf("the machine wrote:\n%s", m.tail())
	}
}

// timeline logs when everything happened, in seconds from power-on.
func (w *watcher) timeline(m *machine) {
	w.Helper()
	type event struct {
		at   time.Time
		what string
	}
	var events []event
	add := func(at time.Time, what string) {
		if !at.IsZero() {
			events = append(events, event{at, what})
		}
	}
	for _, e := range [][2]string{
		{"disk", "the disk is there, systemd begins"},
		{"listener", "the listener is up"},
		{"rules", "the boot unit is done"},
		{"nic begins", "the network may come up"},
		{"nic up", "the network card is up"},
		{"up", "multi-user.target"},
	} {
		if l, ok := m.find(e[0]); ok {
			add(l.at, e[1])
		}
	}
	add(w.capture.First(), "first packet from the machine")
	if s, ok := w.capture.Find(func(s lab.Segment) bool { return toAllowed(s) && s.Open() }); ok {
		add(s.At, "first answer to an allowed source, "+s.To.Addr().String())
	}
	if s, ok := w.capture.Find(toRefused); ok {
		add(s.At, "FIRST ANSWER TO A REFUSED SOURCE, "+s.To.Addr().String())
	}
	add(w.connectedAt, "connections made in full, over IPv4 and IPv6")
	slices.SortFunc(events, func(a, b event) int { return a.at.Compare(b.at) })
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "\n%8.3f s  %s", e.at.Sub(m.on).Seconds(), e.what)
	}
	sent := 0
	for _, s := range w.refused {
		sent += s.Sent()
	}
	w.Logf("from power-on, with %d packets sent from refused sources:%s", sent, b.String())
}
