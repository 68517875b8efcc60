package lab

import "testing"

func TestRoundTrip(t *testing.T) {
	RequireRoot(t)
	w := New(t)
	w.Container.ListenTCP(80)
	w.Host.ListenTCP(9090)
	w.Publish("tcp", 8080, 80)
	for name, six := range families {
		for port, want := range map[uint16]string{9090: "host", 8080: "container"} {
			if got, err := w.Office.RoundTrip(w.Host.At(port, six)); got != want {
				t.Errorf("%s: port %d: %q, want %q: %v", name, port, got, want, err)
			}
		}
		if got, err := w.Office.RoundTrip(w.Host.At(9091, six)); err == nil {
			t.Errorf("%s: %q answered on a port without a listener", name, got)
		}
	}
	// If data is dropped after the handshake, RoundTrip fails although Connect finds the port open.
	w.Host.NFT("table inet t {\n chain c {\n type filter hook prerouting priority -110\n tcp " +
		"dport 9090 tcp flags & (psh | ack) == psh | ack drop\n }\n }")
	if got := w.Office.Connect(w.Host.At(9090, false)); got != Open {
		t.Errorf("connecting: %v", got)
	}
	if got, err := w.Office.RoundTrip(w.Host.At(9090, false)); err == nil {
		t.Errorf("%q answered although its client's data is dropped", got)
	}
}
