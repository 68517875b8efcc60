package audit

import (
	"fmt"
	"testing"

	"github.com/portgrave/portgrave/firewall"
)

// The import takes ordinary clients' ports over UDP as over TCP, but for protocols whose clients
// may send from a port below 1024.
func TestImportKnowsClientPorts(t *testing.T) {
	for port, open := range map[uint16]bool{53: true, 5060: true, 8080: true, 123: false, 500: false} {
		rule := fmt.Sprintf("-A INPUT -p udp --sport 1024:65535 --dport %d -j ACCEPT\n", port)
		out := importOn(t, world(), denyAll+rule, denyAll, fmt.Sprintf("server udp:0.0.0.0:%d", port))
		s := serviceFor(out, firewall.UDP, port)
		if s == nil || (s.Sources.Len() > 0) != open || (len(s.Unknown) > 0) == open {
			t.Errorf("udp/%d: %+v", port, s)
		}
	}
}
