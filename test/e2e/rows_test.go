package e2e

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/test/lab"
)

// A second address of the host, of each family.
var (
	aimed4 = netip.MustParseAddr("198.51.100.77")
	aimed6 = netip.MustParseAddr("2001:db8:100::77")
)

// aimed are rules that let in packets for one address and not for another, or that are about
// addresses of others.
var aimed = map[string]struct {
	load   func(*lab.World)
	dump   []string // prints the rules
	family func(netip.Addr) bool
	open   []netip.Addr // where tcp/22 can be dialled from the internet; nowhere else
}{
	"iptables": {
		load: func(w *lab.World) {
			restore(w, "iptables-nft-restore", `*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP
-A PREROUTING -m rpfilter --loose --invert -j DROP
COMMIT
*filter
:INPUT DROP [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -d 127.0.0.0/8 ! -i lo -j REJECT
-A INPUT ! -s 127.0.0.0/8 -d 127.0.0.0/8 -j DROP
-A INPUT -d 198.51.100.77/32 -p tcp --dport 22 -j ACCEPT
-A INPUT -p tcp --dport 9090 -j ACCEPT
COMMIT
`)
		},
		dump:   []string{"iptables-nft-save"},
		family: netip.Addr.Is4,
		open:   []netip.Addr{aimed4},
	},
	"ip6tables": {
		load: func(w *lab.World) {
			restore(w, "ip6tables-nft-restore", `*filter
:INPUT DROP [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -p ipv6-icmp -j ACCEPT
-A INPUT -d ::1/128 ! -i lo -j REJECT
-A INPUT -d 2001:db8:100::77/128 -p tcp --dport 22 -j ACCEPT
-A INPUT -p tcp --dport 9090 -j ACCEPT
COMMIT
`)
		},
		dump:   []string{"ip6tables-nft-save"},
		family: netip.Addr.Is6,
		open:   []netip.Addr{aimed6},
	},
	"nft": {
		load: func(w *lab.World) {
			w.Host.NFT(`table inet t {
 chain early {
  type filter hook prerouting priority raw
  ip daddr 172.17.0.2 iifname != "docker0" drop
  fib saddr oif missing drop
 }
 chain in {
  type filter hook input priority filter; policy drop
  iif lo accept
  meta l4proto ipv6-icmp accept
  ip daddr 127.0.0.0/8 iifname != "lo" reject
  ip daddr . tcp dport { 198.51.100.77 . 22 } accept
  ip6 daddr 2001:db8:100::77 tcp dport 22 accept
  tcp dport 9090 accept
 }
}
`)
		},
		dump:   []string{"nft", "-j", "list", "ruleset"},
		family: netip.Addr.IsValid,
		open:   []netip.Addr{aimed4, aimed6},
	},
}

// A port that is let in at one address of the host and not at another has a row for each, on the
// host and from its rules alone; and packets agree with both.
func TestRowForEachAddress(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	for name, rules := range aimed {
		t.Run(name, func(t *testing.T) {
			w := lab.New(t)
			w.Host.AddAddress("eth0", netip.PrefixFrom(aimed4, 24))
			w.Host.AddAddress("eth0", netip.PrefixFrom(aimed6, 64))
			w.Host.ListenTCP(22)
			w.Host.ListenTCP(9090)
			rules.load(w)
			i := install(t, w, "version: 1\nservices: []\n")
			report := i.audit()
			agree(t, w, report)

			dialled := map[string]bool{}
			for _, x := range report.Exposures {
				if x.Interface != "eth0" || x.Port != 22 || x.Target != "" {
					continue
				}
				at, err := netip.ParseAddr(x.Address)
				if err != nil || !rules.family(at) || at.IsUnspecified() {
					continue
				}
				dialled[x.Address] = x.Reachable.Certain.Len() > 0
			}
			for _, at := range []netip.Addr{w.Host.Addr4(), w.Host.Addr6(), aimed4, aimed6} {
				if got, told := dialled[at.String()]; rules.family(at) &&
					(!told || got != slices.Contains(rules.open, at)) {
					t.Errorf("%v: a row %v, open %v: %+v", at, told, got, report.Exposures)
				}
			}

			file := filepath.Join(t.TempDir(), "rules")
			text := w.Host.Run(rules.dump[0], rules.dump[1:]...)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var offline audit.Report
			out := i.verb("audit", "--ruleset", file, "--port", "22", "-o", "json")
			if err := json.Unmarshal([]byte(out), &offline); err != nil {
				t.Fatal(err)
			}
			got, want := map[string]bool{}, map[string]bool{"*": false}
			for _, x := range offline.Exposures {
				if !x.Reachable.Certain.Equal(x.Reachable.Possible) {
					t.Errorf("nothing here is unknowable: %+v", x)
				}
				got[x.Address] = x.Reachable.Certain.Len() > 0
			}
			for _, at := range rules.open {
				want[at.String()] = true
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("from the rules alone (-want +got):\n%s", diff)
			}
		})
	}
}

// What is published to a container in which the program is bound to 127.0.0.1 is refused there, and
// audit and explain say why.
func TestBoundElsewhereInContainer(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	w := lab.New(t)
	if _, err := w.Container.Listen("tcp", "127.0.0.1:80"); err != nil {
		t.Fatal(err)
	}
	w.Publish("tcp", 8080, 80)
	i := install(t, w, "version: 1\nservices: []\n")
	to := netip.AddrPortFrom(w.Host.Addr4(), 8080)
	source := netip.MustParseAddr("8.8.8.8")
	if got := w.Probe(w.Internet, []netip.Addr{source}, to)[source]; got == lab.Open {
		t.Fatalf("%v is %v", to, got)
	}
	report := i.audit()
	if !slices.ContainsFunc(report.Findings, func(f audit.Finding) bool {
		return f.Kind == audit.BoundInside && f.Port == 8080 &&
			strings.Contains(f.Detail, "127.0.0.1")
	}) {
		t.Errorf("%+v", report.Findings)
	}
	out := i.explained("--from", source.String(), "--port", "8080")
	if !strings.Contains(out, "bound-elsewhere") {
		t.Error(out)
	}
}
