package exposure

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	ex "github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/live"
	"github.com/portgrave/portgrave/test/lab"
)

// A target that the host can't find gets no packet, and a target that can't find the host is never
// heard of again: forwarded connections are in doubt where rules refuse neighbour discovery.
func TestKernelAgreesOnFindingTargets(t *testing.T) {
	lab.RequireRoot(t)
	const both = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }"
	for name, c := range map[string]struct {
		rules string
		found bool
	}{
		"none": {"", true},
		"output: solicitations to targets": {"table ip6 a { chain o { type filter hook output " +
			"priority 0; oifname docker0 icmpv6 type nd-neighbor-solicit drop; }; }", false},
		"output: elsewhere": {"table ip6 a { chain o { type filter hook output priority 0; " +
			"oifname eth1 " + both + " drop; }; }", true},
		"postrouting": {"table inet a { chain o { type filter hook postrouting priority 0; " +
			"oifname docker0 " + both + " drop; }; }", false},
		"prerouting": {"table ip6 a { chain i { type filter hook prerouting priority -300; " +
			"iifname docker0 icmpv6 type nd-neighbor-advert drop; }; }", false},
		"input": {"table ip6 a { chain i { type filter hook input priority 0; " +
			"iifname docker0 " + both + " drop; }; }", false},
		"input: policy": {"table ip6 a { chain i { type filter hook input priority 0; policy drop; " +
			"iifname eth0 accept; }; }", false},
		"input: open": {"table ip6 a { chain i { type filter hook input priority 0; policy drop; " +
			both + " accept; }; }", true},
		"egress": {"table netdev a { chain o { type filter hook egress device docker0 priority 0; " +
			both + " drop; }; }", false},
		"another target's": {"table ip6 a { chain o { type filter hook output priority 0; " +
			"oifname docker0 ip6 daddr ff02::1:ff00:77 drop; }; }", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := lab.New(t)
			target := w.Container.Addr6()
			w.Router.Run("ip", "-6", "route", "add", target.String(), "via", w.Host.Addr6().String())
			w.Container.ListenTCP(80)
			w.Host.NFT("flush ruleset")
			w.Host.NFT(c.rules)
			host := readHost(t, w.Host)
			var rules *ex.Ruleset
			if err := w.Host.Do(func() (err error) {
				rules, err = live.Rules(t.Context(), host)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			a, err := ex.NewEvaluator(rules, host).Evaluate(ex.Question{
				Family: address.IPv6, Protocol: firewall.TCP, Port: 80, Interface: "eth0",
				Destination: target, Outside: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			certain, possible := a.Connects(func(p ex.Piece) bool { return p.Outcome.Passes() })
			from := ex.Address(w.Internet.Addr6())
			named := false
			for _, p := range a.Pieces {
				for _, d := range p.Unknowns {
					named = named || strings.Contains(d.Reason, ex.RefusesNeighbours)
				}
			}
			w.FlushNeighbours()
			open := w.Internet.Connect(netip.AddrPortFrom(target, 80)) == lab.Open
			if certain.Contains(from) != c.found || !possible.Contains(from) || named == c.found ||
				open != c.found {
				t.Errorf("certain %v, possible %v, named %v, connects %v",
					certain.Contains(from), possible.Contains(from), named, open)
			}
		})
	}
}
