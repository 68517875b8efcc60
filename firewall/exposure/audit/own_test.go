package audit

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portgrave/portgrave/firewall"
)

// Portgrave's own rules leave nothing undecided, also as nft prints them: neither labels nor rates.
func TestOfflineOwnTable(t *testing.T) {
	for _, name := range []string{"own.nft", "own.json"} {
		t.Run(name, func(t *testing.T) {
			rs := fromFile(t, testFile(t, name))
			for protocol, want := range map[firewall.Protocol][]string{
				firewall.TCP: {"tcp/1-9089 * 0.0.0.0/0 ::/0", "tcp/9090 * 10.0.0.0/8 2001:db8::/32",
					"tcp/9091-65535 * 0.0.0.0/0 ::/0"},
				firewall.UDP: {"udp/1-52 * 0.0.0.0/0 ::/0", "udp/53 * 0.0.0.0/0 ::/0",
					"udp/54-65535 * 0.0.0.0/0 ::/0"},
			} {
				r := RunOffline(rs, Offline{Protocol: protocol}, Input{Now: time.Now()})
				if diff := cmp.Diff(want, rowsOf(r)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}
