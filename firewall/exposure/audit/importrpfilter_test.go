package audit

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/nfttext"
)

// Link-local sources are looked up on their own link, so a check of the way back to the source
// refuses no neighbour.
func TestImportOfReversePathOfNeighbours(t *testing.T) {
	rs := &exposure.Ruleset{}
	err := nfttext.Read("f", strings.NewReader("table inet f {\n chain pre {\n"+
		"  type filter hook prerouting priority -150; policy accept;\n"+
		"  meta nfproto ipv6 fib saddr . mark . iif oif missing drop\n }\n"+
		" chain in {\n  type filter hook input priority 0; policy drop;\n"+
		"  meta l4proto { icmp, ipv6-icmp, igmp } accept\n  tcp dport 22 accept\n }\n}\n"), rs)
	if err != nil {
		t.Fatal(err)
	}
	h := world()
	for i, name := range []string{"eth0", "br0"} {
		a := netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: byte(i + 1)})
		h.Interface(name).Addresses = append(h.Interface(name).Addresses, netip.PrefixFrom(a, 64))
	}
	out, err := Import(context.Background(), Input{Rules: rs, Host: h,
		Sockets: listening("sshd [::]:22"), Now: time.Now()}, ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if notes := strings.Join(out.Notes, "\n"); strings.Contains(notes, "only as a whole") {
		t.Errorf("%q", out.Notes)
	}
}
