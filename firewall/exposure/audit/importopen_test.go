package audit

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtables"
)

const (
	acceptAll = "*filter\n:INPUT ACCEPT [0:0]\n"
	denyAll   = "*filter\n:INPUT DROP [0:0]\n"
)

// importOf is what import finds of rules for both families.
func importOf(t *testing.T, four, six string, listeners ...string) (Imported, error) {
	t.Helper()
	rs := rules(t, four+"COMMIT\n")
	err := xtables.ReadSave("rules.v6", exposure.FamilyIPv6, strings.NewReader(six+"COMMIT\n"), xtables.NewSets(), rs)
	if err != nil {
		t.Fatal(err)
	}
	rs.MarkDynamic()
	in := Input{Rules: rs, Host: world(), Sockets: listening(listeners...), Now: time.Now()}
	return Import(context.Background(), in, ImportOptions{})
}

// mustImport is what import finds of rules for both families.
func mustImport(t *testing.T, four, six string, listeners ...string) Imported {
	t.Helper()
	out, err := importOf(t, four, six, listeners...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// serviceFor is the service that has a port, on some interface.
func serviceFor(out Imported, p firewall.Protocol, port uint16) *ImportedService {
	n := slices.IndexFunc(out.Services, func(s ImportedService) bool {
		return slices.ContainsFunc(s.Ports, func(r firewall.PortRange) bool { return r.Contains(p, port) })
	})
	if n < 0 {
		return nil
	}
	return &out.Services[n]
}

// Rules about thousands of ports are imported port by port. Where there are too many on a host that
// leaves other ports open, a policy would open those that the rules close, so there is none.
func TestImportOfManyPorts(t *testing.T) {
	ports := func(count int) string {
		var b strings.Builder
		for n := range count {
			fmt.Fprintf(&b, "-A INPUT -p tcp --dport %d ! -s 10.%d.%d.0/24 -j DROP\n", 1001+2*n, n>>8, n&255)
		}
		return b.String()
	}
	out := mustImport(t, acceptAll+ports(2500), acceptAll, "sshd 0.0.0.0:22")
	for n := range 2500 {
		s := serviceFor(out, firewall.TCP, uint16(1001+2*n))
		want := firewall.MustPrefixes(fmt.Sprintf("10.%d.%d.0/24", n>>8, n&255), "::/0")
		if s == nil || !s.Sources.Equal(want) {
			t.Fatalf("port %d: %+v", 1001+2*n, s)
		}
	}
	_, err := importOf(t, acceptAll+ports(12_000), acceptAll, "sshd 0.0.0.0:22")
	if err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("too many ports: %v", err)
	}
	out = mustImport(t, denyAll+"-A INPUT -p tcp --dport 22 -j ACCEPT\n"+ports(12_000), denyAll, "sshd 0.0.0.0:22")
	if out.Unlisted != firewall.UnlistedDeny || serviceFor(out, firewall.TCP, 22) == nil {
		t.Errorf("%v %+v", out.Unlisted, out.Services)
	}
}

// Groups and broadcast addresses that rules let packets to are kept in both families.
func TestImportKeepsGroups(t *testing.T) {
	out := mustImport(t, denyAll+"-A INPUT -d 224.0.0.251/32 -p udp --dport 5353 -j ACCEPT\n"+
		"-A INPUT -d 255.255.255.255/32 -p udp --dport 5353 -j ACCEPT\n",
		denyAll+"-A INPUT -d ff02::fb/128 -p udp --dport 5353 -j ACCEPT\n", "avahi-daemon udp:0.0.0.0:5353")
	var at firewall.Prefixes
	for _, s := range out.Services {
		at = at.Union(s.Addresses)
	}
	want := firewall.MustPrefixes("224.0.0.251/32", "255.255.255.255/32", "ff02::fb/128")
	if !at.Equal(want) {
		t.Errorf("%v of %+v", at, out.Services)
	}
}
