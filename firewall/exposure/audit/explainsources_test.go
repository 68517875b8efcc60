package audit

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Sources that fare alike are one block, whatever rules stand between; every source is in one.
func TestExplainSources(t *testing.T) {
	const save = "*filter\n:INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n"
	in := Input{
		Rules: fromFile(t, save+
			"-A INPUT -s 10.1.0.0/16 -j DROP\n-A INPUT -s 10.3.0.0/16 -j REJECT\n"+
			"-A INPUT -s 10.0.0.0/14 -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n"),
		Host: world(), Sockets: listening("sshd 0.0.0.0:22"),
	}
	p := Packet{Protocol: firewall.TCP, Port: 22, Interface: "eth0"}
	blocks, err := ExplainSources(in, p, address.Must("10.0.0.0/13", "2001:db8:7::/48"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range blocks {
		got = append(got, fmt.Sprint(b.Sources.Strings(), " ", b.Reason))
	}
	slices.Sort(got)
	want := []string{
		"[10.0.0.0/16 10.2.0.0/16] connects",
		"[10.1.0.0/16] dropped-here",
		"[10.3.0.0/16] dropped-here",
		"[10.4.0.0/14] dropped-here",
		"[2001:db8:7::/48] bound-elsewhere",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var many strings.Builder
	many.WriteString(save)
	for i := range 2 * maxBlocks {
		fmt.Fprintf(&many, "-A INPUT -s 10.%d.0.0/16 -m comment --comment %d -j DROP\n", i, i)
	}
	in.Rules = fromFile(t, many.String()+"COMMIT\n")
	if _, err := ExplainSources(in, p, address.Must("10.0.0.0/8")); !errors.Is(err, ErrManyBlocks) {
		t.Errorf("%v", err)
	}
}

// Sources that a rule may tell apart in a way that can't be followed have no certain fate. One
// address has.
func TestExplainSourcesUndecided(t *testing.T) {
	const masked = "table ip t { chain input { type filter hook input priority 0; policy accept;\n" +
		"ip saddr & 85.85.85.85 == 1.1.1.1 drop } }"
	in := Input{
		Rules: loadDump(t, masked), Host: world(), Sockets: listening("sshd 0.0.0.0:22"),
	}
	p := Packet{Protocol: firewall.TCP, Port: 22, Interface: "eth0"}
	for sources, want := range map[string]Reason{
		"1.0.0.0/8":  Unclear,
		"1.1.1.1/32": DroppedHere,
		"1.0.0.0/32": Connects,
	} {
		blocks, err := ExplainSources(in, p, address.Must(sources))
		if err != nil {
			t.Fatal(err)
		}
		if len(blocks) != 1 || blocks[0].Reason != want || blocks[0].Connects != (want == Connects) {
			t.Errorf("%s: %+v", sources, blocks)
		}
		if want == Unclear && (blocks[0].Verdict != "unknown" ||
			!strings.Contains(blocks[0].Summary, "85.85.85.85")) {
			t.Errorf("%s: %s, %s", sources, blocks[0].Verdict, blocks[0].Summary)
		}
	}
}

// Sources that one rule sends to different targets are different blocks, and so are those whose
// answers are lost in different places.
func TestExplainSourcesKeepsTargetsApart(t *testing.T) {
	in := Input{
		Rules: loadDump(t, "table ip t { chain pre { type nat hook prerouting priority -100;\n"+
			"dnat to ip saddr map { 10.0.0.0/8 : 203.0.113.5, 11.0.0.0/8 : 203.0.113.6 } } }"),
		Host: world(),
	}
	p := Packet{Protocol: firewall.TCP, Port: 80, Interface: "eth0"}
	blocks, err := ExplainSources(in, p, address.Must("10.0.0.0/7"))
	if err != nil {
		t.Fatal(err)
	}
	if len(blocks) != 2 || blocks[0].Target == blocks[1].Target {
		t.Errorf("%d blocks: %+v", len(blocks), blocks)
	}
	base := Block{address.Must("10.0.0.0/8"), Explanation{From: netip.MustParseAddr("10.0.0.1")}}
	other := base
	other.Replies = &exposure.Replies{LostTo: "a rule"}
	if got := joinBlock([]Block{base}, other); len(got) != 2 {
		t.Errorf("joined: %+v", got)
	}
	other = base
	other.Targets = []exposure.Target{{Address: "203.0.113.5:80"}}
	if got := joinBlock([]Block{base}, other); len(got) != 2 {
		t.Errorf("joined: %+v", got)
	}
	if got := joinBlock([]Block{base}, base); len(got) != 1 {
		t.Errorf("kept apart: %+v", got)
	}
}

// An IP version that Locate can't place is undecided, and not passed over.
func TestExplainSourcesUnlocated(t *testing.T) {
	host := world()
	for i := range host.Interfaces {
		on := &host.Interfaces[i]
		on.Addresses = slices.DeleteFunc(on.Addresses, func(p netip.Prefix) bool {
			return p.Addr().Is6()
		})
	}
	host.Routes = slices.DeleteFunc(host.Routes, func(r exposure.Route) bool {
		return r.Dest.Addr().Is6()
	})
	in := Input{Rules: fromFile(t, "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"), Host: host,
		Sockets: listening("sshd 0.0.0.0:22")}
	p := Packet{Protocol: firewall.TCP, Port: 22}
	both := address.Must("10.0.0.0/13", "2001:db8:7::/48")
	blocks, err := ExplainSources(in, p, both)
	if err != nil || len(blocks) != 2 {
		t.Fatal(blocks, err)
	}
	for _, b := range blocks {
		want := Connects
		if b.From.Is6() {
			want = Unclear
		}
		if b.Reason != want || b.Connects != (want == Connects) {
			t.Errorf("%s: %s: %s", b.Sources, b.Reason, b.Summary)
		}
	}
	var unlocated LocateError
	if _, err := ExplainSources(in, p, both.Of(address.IPv6)); !errors.As(err, &unlocated) {
		t.Errorf("%v", err)
	}
	can, cannot := Dialling(netip.MustParseAddr("::ffff:192.0.2.10"), both)
	if !can.Equal(both.Of(address.IPv4)) || !cannot.Equal(both.Of(address.IPv6)) {
		t.Error(can, cannot)
	}
}
