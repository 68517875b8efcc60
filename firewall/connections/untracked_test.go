package connections

import (
	"context"
	"os/exec"
	"slices"
	"testing"

	"github.com/portgrave/portgrave/firewall/backendtest"
)

// Whoever keeps packets out of connection tracking is named, in whatever language he said so.
func TestUntrackedIsFound(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"nothing":      {"iptables-nft -t raw -A PREROUTING -p udp -j ACCEPT; iptables-legacy -t raw -A PREROUTING -j CT --zone 3", ""},
		"nft":          {`printf 'table inet fast {\n chain pre {\n type filter hook prerouting priority raw\n udp sport 53 notrack\n }\n }\n' | nft -f -`, "table inet fast, chain pre"},
		"iptables-nft": {"iptables-nft -t raw -A PREROUTING -p udp --sport 53 -j CT --notrack", "table ip raw, chain PREROUTING"},
		"ip6tables":    {"ip6tables-legacy -t raw -A OUTPUT -p udp --dport 53 -j CT --notrack", "ip6tables-legacy table raw, chain OUTPUT"},
	} {
		t.Run(name, func(t *testing.T) {
			backendtest.Isolate(t)
			backendtest.Program(t, "", "sh", "-ec", c.script)
			got, err := Untracked(
				t.Context(),
				func(ctx context.Context, name string, args ...string) ([]byte, error) {
					return exec.CommandContext(ctx, name, args...).Output()
				},
			)
			want := []string{c.want}
			if c.want == "" {
				want = nil
			}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		})
	}
}
