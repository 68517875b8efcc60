package audit

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// The import's evaluators assume that IPv6 neighbours know each other, also in other namespaces.
func TestImportAssumesNeighboursInNamespaces(t *testing.T) {
	const inside = "2001:db8:1::2"
	own := world()
	own.Interfaces[1].Addresses = []netip.Prefix{netip.MustParsePrefix(inside + "/64")}
	own.Routes = append(own.Routes, exposure.Route{
		Table: 255, Type: exposure.RouteLocal, Dest: netip.MustParsePrefix(inside + "/128"),
		NextHops: []exposure.NextHop{{Index: 2}},
	}, exposure.Route{
		Table: 254, Type: exposure.RouteUnicast, Dest: netip.MustParsePrefix("2001:db8:1::/64"),
		NextHops: []exposure.NextHop{{Index: 2}},
	})
	rules := nftText(t, "table inet f { chain input { type filter hook input priority 0; policy drop; "+
		"tcp dport 80 accept; } }")
	for _, known := range []bool{false, true} {
		a := &auditor{neighboursKnown: known, Input: Input{
			Rules: &exposure.Ruleset{}, Host: world(),
			Enter: func(uint64) (*exposure.Ruleset, *exposure.Host, error) { return rules, own, nil },
		}}
		a.Sockets.Addresses = map[uint64][]netip.Addr{7: {netip.MustParseAddr(inside)}}
		a.collectHost()
		target := netip.AddrPortFrom(netip.MustParseAddr(inside), 80)
		at := a.namespaces.at(target.Addr())
		if at == nil {
			t.Fatal("the namespace isn't found")
		}
		inDoubt := slices.ContainsFunc(a.namespaces.inside(at, firewall.TCP, target).Pieces,
			func(p exposure.Piece) bool {
				return slices.ContainsFunc(p.Unknowns, func(d exposure.Decider) bool {
					return strings.Contains(d.Reason, exposure.RefusesNeighbours)
				})
			})
		if inDoubt == known {
			t.Errorf("neighbours known %v, but in doubt %v", known, inDoubt)
		}
	}
}
