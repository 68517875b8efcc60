package e2e

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/test/lab"
	"go4.org/netipx"
)

// The kernel's verdict for every source around every border of a random policy is the State's.
func TestEverySourceAroundEveryBorder(t *testing.T) {
	onEveryBackend(t, testEverySourceAroundEveryBorder)
}

func testEverySourceAroundEveryBorder(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(9090)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for round := range 3 {
		var list []netip.Prefix
		for range 60 {
			a4 := netip.AddrFrom4(
				[4]byte{10, 20, byte(128 + random.IntN(64)), byte(random.IntN(256))},
			)
			a6 := netip.MustParseAddr("fd00:20:0:8000::").As16()
			a6[14], a6[15] = byte(random.IntN(256)), byte(random.IntN(256))
			list = append(
				list,
				netip.PrefixFrom(a4, 22+random.IntN(11)),
				netip.PrefixFrom(netip.AddrFrom16(a6), 118+random.IntN(11)),
			)
		}
		sources, err := address.New(list...)
		if err != nil {
			t.Fatal(err)
		}
		s := canonical(
			t,
			firewall.State{
				Unlisted:    firewall.UnlistedIgnore,
				Refuse:      firewall.RefuseDrop,
				Established: firewall.EstablishedCut,
				Services: []firewall.Service{
					{Name: "borders", Sources: sources, Log: firewall.LogNone,
						Ports: []firewall.PortRange{
							{Protocol: firewall.UDP, First: 9090, Last: 9090},
						}},
				},
			},
		)
		w.applyState(&s)
		var questions []lab.Question
		seen := map[netip.Addr]bool{}
		for p := range sources.All() {
			for _, a := range borders(p) {
				if home(w, a) != w.Office || seen[a] {
					continue
				}
				seen[a] = true
				to := inside4
				if a.Is6() {
					to = inside6
				}
				questions = append(
					questions,
					lab.Question{Source: a, To: netip.AddrPortFrom(to, 9090), Over: lab.UDP},
				)
			}
		}
		allowed := 0
		for i, got := range w.ProbeEach(w.Office, questions) {
			q := questions[i]
			d := s.Decide(
				firewall.Flow{
					Protocol:    firewall.UDP,
					Source:      q.Source,
					Destination: q.To.Addr(),
					Port:        9090,
					Interface:   "eth1",
				},
				time.Now(),
			)
			want := lab.Dropped
			if d.Verdict == firewall.Allowed {
				want = lab.Open
				allowed++
			}
			if got != want {
				t.Errorf("round %d: from %s the port is %v, but %s", round, q.Source, got, d.Reason)
			}
		}
		t.Logf(
			"round %d: %d prefixes, %d sources asked, %d allowed",
			round,
			sources.Len(),
			len(questions),
			allowed,
		)
		if allowed < 50 || len(questions)-allowed < 50 {
			t.Error("too few of one kind to prove anything")
		}
	}
}

// borders lists first and last address of a prefix, and their neighbours.
func borders(p netip.Prefix) []netip.Addr {
	first, last := p.Addr(), netipx.PrefixLastIP(p)
	var out []netip.Addr
	for _, a := range []netip.Addr{first.Prev(), first, first.Next(), last.Prev(), last, last.Next()} {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// Regions of addresses that no node holds as its own, each answered by way of one node.
var (
	officeRegion    = address.Must("10.20.128.0/18", "fd00:20:0:8000::/64")
	containerRegion = address.Must("172.30.0.0/20", "fd00:30::/64") // once AddSources has routed it
	// What no packet can come from, or can't be answered to: reserved, multicast, the host's own
	// and its neighbours'.
	nobodysRegion = address.Must(
		"0.0.0.0/8",
		"127.0.0.0/8",
		"169.254.0.0/16",
		"224.0.0.0/3",
		"10.20.0.0/16",
		"172.17.0.0/24",
		"198.51.100.0/24",
		"203.0.113.0/24",
		"::/8",
		"fe80::/10",
		"ff00::/8",
		"fd00:20::/48",
		"fd00:17::/64",
		"2001:db8:100::/64",
		"2001:db8:113::/64",
	)
)

// home is the node to which the host's answers to a source go, so that only a probe from there sees
// them; nil if there is none.
func home(w *world, source netip.Addr) *lab.Node {
	switch {
	case officeRegion.Contains(source):
		return w.Office
	case containerRegion.Contains(source):
		return w.Container
	case nobodysRegion.Contains(source):
		return nil
	}
	return w.Internet
}
