package audit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Ports with the same answer get the same words, however many answers came before: a set of many
// elements that expire leaves none of the work to the ports that are asked about later.
func TestImportNamesEqualEndingsEqually(t *testing.T) {
	var text strings.Builder
	text.WriteString("table inet f {\nset m { type ipv4_addr; flags timeout; elements = { ")
	for i := range 60_000 {
		fmt.Fprintf(&text, "10.%d.%d.%d comment \"1h\", ", i>>15, i>>7&255, 2*(i&127))
	}
	text.WriteString("} }\nchain input { type filter hook input priority 0; policy drop; " +
		"ct state established,related accept; iif lo accept; ip saddr @m tcp dport { ")
	const ports = 300
	var listeners []string
	for i := range ports {
		fmt.Fprintf(&text, "%d, ", 2*i+1001)
		listeners = append(listeners, fmt.Sprintf("web%d [::]:%d", i, 2*i+1001))
	}
	text.WriteString("} accept; }\n}\n")
	out := importNFT(t, world(), text.String(), listeners...)
	words := map[string]int{}
	for i := range ports {
		s := serviceFor(out, firewall.TCP, uint16(2*i+1001))
		if s == nil {
			t.Fatalf("no service for port %d", 2*i+1001)
		}
		var said []string
		for _, e := range s.Ending {
			said = append(said, e.Name()+" "+e.Set)
		}
		words[strings.Join(said, ", ")+"; "+s.MoreEnding]++
	}
	if len(words) != 1 {
		t.Errorf("equal ports are described in %d ways: %v", len(words), words)
	}
}

// Lists of sources that end are only equal if the elements are too that let the sources in: what a
// message offers must not be wider than these.
func TestEndingsDifferByElements(t *testing.T) {
	ranges := func(texts ...string) (s sources) {
		s[slot(address.IPv4)] = exposure.SourcesOf(address.Must(texts...), address.IPv4)
		return s
	}
	s := &survey{auditor: &auditor{unroutable: martians()}, pool: newPool()}
	s.pool.unroutable = s.unroutable
	sources := ranges("126.0.0.0/8", "128.0.0.0/8") // between them is 127.0.0.0/8
	until := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	wide := ending{sources: sources, within: ranges("126.0.0.0/7", "128.0.0.0/8"), until: until, set: "a"}
	narrow := wide
	narrow.within = sources
	if a, b := s.pool.numberEndings([]ending{wide}), s.pool.numberEndings([]ending{narrow}); a == b {
		t.Error("two lists with other elements have one number")
	} else if got, _ := s.endingOf(s.pool.endings[b]); len(got) != 2 {
		t.Errorf("more than the elements is offered: %v", got)
	}
}

// Broadcasts are asked about whatever the order of the families is.
func TestAskBroadcastsInAnyOrder(t *testing.T) {
	host := world()
	host.Interfaces[1].Addresses = append(
		host.Interfaces[1].Addresses, netip.MustParsePrefix("198.51.100.11/24"),
	)
	rs := nftText(t, "table inet f { chain input { type filter hook input priority 0; policy drop; "+
		"fib daddr type broadcast udp dport 5000 accept; ip daddr 198.51.100.10 udp dport 5000 accept; } }")
	s := &survey{
		auditor: &auditor{Input: Input{Rules: rs, Host: host}, neighboursKnown: true},
		pool:    newPool(),
		telling: true,
	}
	s.evaluator = s.newEvaluator(rs, host)
	x := &subject{PortRange: firewall.PortRange{Protocol: firewall.UDP, First: 5000, Last: 5000}}
	spots := []addressAnswer{
		{family: address.IPv4, address: netip.MustParseAddr("198.51.100.10")},
		{family: address.IPv4, address: netip.MustParseAddr("198.51.100.11")},
		{family: address.IPv6, address: netip.MustParseAddr("2001:db8::10")},
	}
	var mu sync.Mutex
	count := func(spots []addressAnswer) (n int) {
		out, err := s.askBroadcasts(x, "eth0", spots, &mu)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range out {
			if s.group(o.address) || len(o.also) > 0 {
				n++
			}
		}
		return n
	}
	if n := count(slices.Clone(spots)); n == 0 {
		t.Fatal("no answer for broadcasts")
	}
	slices.Reverse(spots)
	if count(spots) == 0 {
		t.Error("no answer for broadcasts if IPv6 comes first")
	}
}
