package e2e

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/test/lab"
)

// Sets that packets fill, as port-knocking and rate limits keep them: what audit says must hold
// before and after they fill, and even what it said before must hold afterwards.
func TestSetsThatPacketsFill(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	w := lab.New(t)
	for _, port := range []uint16{22, 9090, 9091, 9092, 9093} {
		w.Host.ListenTCP(port)
	}
	w.Host.NFT(`table inet guard {
 set banned4 { type ipv4_addr; flags dynamic,timeout; timeout 10m; }
 set banned6 { type ipv6_addr; flags dynamic,timeout; timeout 10m; }
 set knocked { type ipv4_addr; flags dynamic,timeout; timeout 10m; }
 set rate { type ipv4_addr . inet_service; flags dynamic,timeout; timeout 10m; }
 chain in {
  type filter hook input priority filter - 1; policy accept;
  tcp dport 9091 ip saddr 192.0.2.0/24 add @banned4 { ip saddr } drop
  tcp dport 9091 ip6 saddr 2001:db8:4000::/36 add @banned6 { ip6 saddr } drop
  tcp dport 9091 ip saddr 192.88.99.0/24 add @knocked { ip saddr }
  ip saddr @banned4 tcp dport { 22, 9090 } drop
  ip6 saddr @banned6 tcp dport 9090 drop
  tcp dport 9093 ip saddr @knocked accept
  tcp dport 9093 meta nfproto ipv4 drop
  tcp dport 9092 add @rate { ip saddr . tcp dport limit rate over 1/hour burst 2 packets } drop
 }
}
`)
	i := install(t, w, "version: 1\nservices: []\n")
	before := i.audit()
	for _, port := range []uint16{22, 9090, 9093} {
		found(t, before, audit.Undecided, port)
	}
	found(t, before, audit.RateLimited, 9092)
	// Each asks for the port that fills the sets last; the others are asked before.
	sources := map[string]lab.Answer{
		"192.0.2.7":        lab.Dropped,
		"192.0.2.70":       lab.Dropped,
		"192.88.99.130":    lab.Open,
		"2001:db8:4000::1": lab.Dropped,
	}
	reached := func() map[string]bool {
		got := map[string]bool{}
		for _, port := range []uint16{22, 9090, 9093} {
			for s := range sources {
				a := netip.MustParseAddr(s)
				got[netip.AddrPortFrom(a, port).String()] = w.Probe(w.Internet, []netip.Addr{a}, w.Host.At(port, a.Is6()))[a] == lab.Open
			}
		}
		return got
	}
	holds := func(when string, r audit.Report, got map[string]bool) {
		t.Helper()
		for _, x := range r.Exposures {
			if x.Interface != "eth0" || x.Protocol != "tcp" {
				continue
			}
			for s := range sources {
				a := netip.MustParseAddr(s)
				open, asked := got[netip.AddrPortFrom(a, x.Port).String()]
				if asked &&
					(open && !x.Reachable.Possible.Contains(a) || !open && x.Reachable.Certain.Contains(a)) {
					t.Errorf(
						"%s: %s reaches port %d: %v; audit says certain %v, possible %v",
						when,
						s,
						x.Port,
						open,
						x.Reachable.Certain.Strings(),
						x.Reachable.Possible.Strings(),
					)
				}
			}
		}
	}
	early := reached()
	holds("before the sets fill", before, early)
	for s, want := range sources {
		a := netip.MustParseAddr(s)
		if got := w.Probe(w.Internet, []netip.Addr{a}, w.Host.At(9091, a.Is6()))[a]; got != want {
			t.Errorf("9091 from %s is %s, want %s", s, got, want)
		}
	}
	late := reached()
	for at, want := range map[string][2]bool{ // the control: the sets do fill
		"192.0.2.7:9090": {true, false}, "192.0.2.70:22": {true, false}, "192.88.99.130:9093": {false, true}, "[2001:db8:4000::1]:9090": {true, false}, "[2001:db8:4000::1]:22": {true, true},
	} {
		if got := [2]bool{early[at], late[at]}; got != want {
			t.Errorf("%s was and is open: %v, want %v", at, got, want)
		}
	}
	after := i.audit()
	holds("after", after, late)
	holds("what was said before, after", before, late)
	importChangesNothing(t, i, after)
	// The meter on 9092 lets two through and no more.
	a := netip.MustParseAddr("8.8.8.8")
	var answers []lab.Answer
	for range 4 {
		answers = append(
			answers,
			w.Probe(w.Internet, []netip.Addr{a}, w.Host.At(9092, false), lab.Attempts(1))[a],
		)
	}
	if !slices.Equal(answers, []lab.Answer{lab.Open, lab.Open, lab.Dropped, lab.Dropped}) {
		t.Errorf("the meter: %v", answers)
	}
	explained{"8.8.8.8", "9092", []string{"undecided", "guard", "limit rate over"}}.check(t, i)
}
