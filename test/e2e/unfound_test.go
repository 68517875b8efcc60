package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/test/lab"
)

// An address that the host doesn't claim on a link gets no packet from there: explain and audit
// leave it undecided, and name why.
func TestExplainNamesUnclaimedAddresses(t *testing.T) {
	lab.RequireRoot(t)
	const (
		own4, own6         = "198.51.100.10", "2001:db8:100::10"
		virtual4, virtual6 = "198.51.100.99", "2001:db8:100::99"
		alone4, alone6     = "192.0.2.98", "2001:db8:99::1" // in no network of the link
	)
	arp := func(name, value string) []string {
		return []string{"sysctl", "-qw", "net.ipv4.conf.eth0." + name + "=" + value}
	}
	on := func(dev, a string) []string { return []string{"ip", "addr", "add", a, "dev", dev} }
	virtual := func(a string, more ...[]string) [][]string {
		return append([][]string{on("docker0", a)}, more...)
	}
	awayFrom := strings.Fields("ip rule add from 198.51.100.10 to 198.51.100.0/24 lookup 100")
	byOffice := strings.Fields("ip route add default via 10.20.1.1 dev eth1 table 100")
	for name, c := range map[string]struct {
		commands [][]string
		to       string
		why      string
	}{
		"own":        {[][]string{arp("arp_ignore", "1")}, own4, ""},
		"never":      {[][]string{arp("arp_ignore", "8")}, own4, "arp_ignore"},
		"reserved":   {[][]string{arp("arp_ignore", "5")}, own4, ""},
		"virtual":    {virtual(virtual4), virtual4, ""},
		"virtual, 1": {virtual(virtual4, arp("arp_ignore", "1")), virtual4, "arp_ignore"},
		"virtual, 3": {virtual(virtual4, arp("arp_ignore", "3")), virtual4, ""},
		"virtual, 3, host": {
			[][]string{append(on("docker0", virtual4), "scope", "host"), arp("arp_ignore", "3")},
			virtual4, "arp_ignore",
		},
		"own, 2": {[][]string{arp("arp_ignore", "2")}, own4, ""},
		"own, 2, in a network of another": {
			[][]string{on("eth0", virtual4), arp("arp_ignore", "2")}, virtual4, "",
		},
		"own, 2, in no network": {
			[][]string{on("eth0", alone4), arp("arp_ignore", "2")}, alone4, "arp_ignore",
		},
		"filter":            {[][]string{arp("arp_filter", "1")}, own4, ""},
		"elsewhere":         {[][]string{awayFrom, byOffice}, own4, ""},
		"filter, elsewhere": {[][]string{awayFrom, byOffice, arp("arp_filter", "1")}, own4, "arp_filter"},
		"IPv6, own":         {nil, own6, ""},
		"IPv6, virtual":     {virtual(virtual6), virtual6, "another interface"},
		"IPv6, behind":      {virtual(alone6), alone6, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := lab.New(t)
			to := netip.MustParseAddr(c.to)
			for _, command := range c.commands {
				w.Host.Run(command[0], command[1:]...)
			}
			switch c.to {
			case alone4:
				w.Router.Run("ip", "route", "add", alone4, "dev", "eth1")
			case alone6:
				w.Router.Run("ip", "-6", "route", "add", alone6, "via", own6)
			}
			w.Host.ListenTCP(80)
			i := install(t, w, "version: 1\nservices: []\n")
			from := w.Internet.Addr4()
			if to.Is6() {
				from = w.Internet.Addr6()
			}
			x := i.explain("--from", from.String(), "--to", c.to, "--interface", "eth0",
				"--port", "80")
			w.FlushNeighbours()
			open := w.Internet.Connect(netip.AddrPortFrom(to, 80)) == lab.Open
			want := audit.Unclear
			if c.why == "" {
				want = audit.Connects
			}
			if x.Reason != want || x.Connects != (c.why == "") || open != x.Connects ||
				!strings.Contains(x.Summary, c.why) {
				t.Errorf("%s: %s (connects %v)", x.Reason, x.Summary, open)
			}
			seen := false
			for _, row := range i.audit().Exposures {
				if row.Port != 80 || row.Interface != "eth0" ||
					len(row.Addresses) > 0 && !slices.Contains(row.Addresses, c.to) {
					continue
				}
				seen = true
				if row.Reachable.Certain.Contains(from) != x.Connects ||
					!row.Reachable.Possible.Contains(from) {
					t.Errorf("audit: %+v", row)
				}
			}
			if !seen {
				t.Error("no row of audit")
			}
			t.Logf("connects %v: %s", open, x.Summary)
		})
	}
}
