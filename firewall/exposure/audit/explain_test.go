package audit

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/rulesetfile"
	"github.com/portgrave/portgrave/firewall/ipvs"
)

// Every target has an outcome, also where a service of IPVS takes the packet or a rule stops it.
func TestExplainJudgesEveryTarget(t *testing.T) {
	at := netip.MustParseAddrPort("198.51.100.10:80")
	nat := "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80\nCOMMIT\n"
	for name, c := range map[string]struct {
		rules  string
		port   uint16
		ipvs   []ipvs.Service
		reason Reason
	}{
		"IPVS": {"", 80, []ipvs.Service{{
			VirtualService: firewall.VirtualService{Protocol: firewall.TCP, At: at},
			Targets:        []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:80")},
		}}, Connects},
		"IPVS without a server": {"", 80, []ipvs.Service{{
			VirtualService: firewall.VirtualService{Protocol: firewall.TCP, At: at},
		}}, NothingListens},
		"stopped behind a translation": {nat + "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n", 8080, nil, DroppedHere},
	} {
		in := Input{Rules: rules(t, c.rules), Host: world(), Now: time.Now(), IPVS: c.ipvs}
		p, err := Locate(
			in.Host,
			Packet{
				From:        netip.MustParseAddr("8.8.8.8"),
				Destination: at.Addr(),
				Port:        c.port,
				Protocol:    firewall.TCP,
			},
		)
		if err != nil {
			t.Fatal(err)
		}
		x, err := Explain(in, p)
		if err != nil || x.Reason != c.reason || len(x.Targets) != 1 {
			t.Fatalf("%s: %+v, %v", name, x, err)
		}
		if got := x.Targets[0]; got.Reason != string(c.reason) || got.Connects != x.Connects {
			t.Errorf(
				"%s: connects %v, but the target says %v, %q",
				name,
				x.Connects,
				got.Connects,
				got.Reason,
			)
		}
	}
}

// An address may be written with its zone, or as an IPv6 one.
func TestLocateTakesEveryNotation(t *testing.T) {
	for from, tos := range map[string][2]string{
		"8.8.8.8":         {"::ffff:198.51.100.10", "198.51.100.10"},
		"2001:db8:113::1": {"2001:db8::10%eth0", "2001:db8::10"},
	} {
		p, err := Locate(
			world(),
			Packet{From: netip.MustParseAddr(from), Destination: netip.MustParseAddr(tos[0]),
				Interface: "eth0", Port: 80, Protocol: firewall.TCP},
		)
		if err != nil || p.Destination.String() != tos[1] {
			t.Errorf("%s: %v, %v", tos[0], p.Destination, err)
		}
	}
}

// What may lose a packet on the link is named with its chain, and so is what loses the answer.
func TestUndecidedNamesWhatIsKnown(t *testing.T) {
	rules, err := rulesetfile.Load(rulesetfile.File{
		Name: "rules", Family: exposure.FamilyIPv6, Text: strings.NewReader(
			"*filter\n:INPUT ACCEPT [0:0]\n:OUTPUT DROP [0:0]\nCOMMIT\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	x, err := Explain(Input{Rules: rules, Host: world(), Sockets: listening("sshd [::]:22")}, Packet{
		From:        netip.MustParseAddr("2001:db8:7::1"),
		Destination: netip.MustParseAddr("2001:db8::10"),
		Protocol:    firewall.TCP, Port: 22, Interface: "eth0",
	})
	if err != nil {
		t.Fatal(err)
	}
	var lost []string
	for _, s := range x.Steps {
		if strings.HasPrefix(s.Effect, "may be lost: ") {
			lost = append(lost, s.Effect)
		}
	}
	if len(lost) == 0 || !strings.Contains(lost[0], "chain OUTPUT: policy drop: refuses neighbour") {
		t.Errorf("%q", lost)
	}
	if x.Reason != Unclear ||
		!strings.Contains(x.Summary, "should it get there, the answer is lost: ip6 filter chain OUTPUT") {
		t.Errorf("%s: %s (%+v)", x.Reason, x.Summary, x.Replies)
	}
}
