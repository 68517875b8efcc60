package audit

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtables"
)

const (
	acceptAll = "*filter\n:INPUT ACCEPT [0:0]\n"
	denyAll   = "*filter\n:INPUT DROP [0:0]\n"
)

// importOf imports rules for both families.
func importOf(t *testing.T, four, six string, listeners ...string) (Imported, error) {
	t.Helper()
	return importAt(t, world(), four, six, listeners...)
}

// importOn imports rules for both families on a host.
func importOn(
	t *testing.T, h *exposure.Host, four, six string, listeners ...string,
) Imported {
	t.Helper()
	out, err := importAt(t, h, four, six, listeners...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func importAt(
	t *testing.T, h *exposure.Host, four, six string, listeners ...string,
) (Imported, error) {
	t.Helper()
	rs := rules(t, four+"COMMIT\n")
	err := xtables.ReadSave(
		"rules.v6",
		exposure.FamilyIPv6,
		strings.NewReader(six+"COMMIT\n"),
		xtables.NewSets(),
		rs,
	)
	if err != nil {
		t.Fatal(err)
	}
	rs.MarkDynamic()
	in := Input{Rules: rs, Host: h, Sockets: listening(listeners...), Now: time.Now()}
	return Import(context.Background(), in, ImportOptions{})
}

// mustImport imports rules for both families.
func mustImport(t *testing.T, four, six string, listeners ...string) Imported {
	t.Helper()
	out, err := importOf(t, four, six, listeners...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// serviceFor is the service for a port, on any interface.
func serviceFor(out Imported, p firewall.Protocol, port uint16) *ImportedService {
	n := slices.IndexFunc(out.Services, func(s ImportedService) bool {
		return slices.ContainsFunc(
			s.Ports,
			func(r firewall.PortRange) bool { return r.Contains(p, port) },
		)
	})
	if n < 0 {
		return nil
	}
	return &out.Services[n]
}

// Rules about thousands of ports are imported port by port. If there are too many, on a host that
// leaves other ports open, a policy would open ports that the rules close, so the import fails.
func TestImportOfManyPorts(t *testing.T) {
	ports := func(count int) string {
		var b strings.Builder
		for n := range count {
			fmt.Fprintf(
				&b,
				"-A INPUT -p tcp --dport %d ! -s 10.%d.%d.0/24 -j DROP\n",
				1001+2*n,
				n>>8,
				n&255,
			)
		}
		return b.String()
	}
	out := mustImport(t, acceptAll+ports(2500), acceptAll, "sshd 0.0.0.0:22")
	for n := range 2500 {
		s := serviceFor(out, firewall.TCP, uint16(1001+2*n))
		want := address.Must(fmt.Sprintf("10.%d.%d.0/24", n>>8, n&255), "::/0")
		if s == nil || !s.Sources.Equal(want) {
			t.Fatalf("port %d: %+v", 1001+2*n, s)
		}
	}
	_, err := importOf(t, acceptAll+ports(12_000), acceptAll, "sshd 0.0.0.0:22")
	if err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("too many ports: %v", err)
	}
	out = mustImport(
		t,
		denyAll+"-A INPUT -p tcp --dport 22 -j ACCEPT\n"+ports(12_000),
		denyAll,
		"sshd 0.0.0.0:22",
	)
	if out.Unlisted != firewall.UnlistedDeny || serviceFor(out, firewall.TCP, 22) == nil {
		t.Errorf("%v %+v", out.Unlisted, out.Services)
	}
}

// Ports of one process make one service. Two processes of an interpreter make two. systemd and
// inetd hold ports of other programs.
func TestImportJoinsPortsOfOneProcess(t *testing.T) {
	out := mustImport(
		t,
		denyAll+"-A INPUT -p tcp --dport 9001:9008 -j ACCEPT\n",
		denyAll,
		"python3#7 0.0.0.0:9001",
		"python3#7 0.0.0.0:9003",
		"python3#8 0.0.0.0:9005",
		"systemd#1 0.0.0.0:9006",
		"systemd#1 0.0.0.0:9007",
		"web#9 0.0.0.0:9002",
		"web#10 0.0.0.0:9004",
	)
	var got []string
	for _, s := range out.Services {
		words := s.Name
		for _, r := range s.Ports {
			words += " " + r.String()
		}
		if !s.Idle {
			got = append(got, words)
		}
	}
	want := []string{
		"tcp-9001 tcp/9001 tcp/9003", "web tcp/9002 tcp/9004", "tcp-9005 tcp/9005", "tcp-9006 tcp/9006",
		"tcp-9007 tcp/9007",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A port that is open in two ways has two services, and their names say each word once.
func TestImportedNamesRepeatNothing(t *testing.T) {
	out := mustImport(t,
		denyAll+"-A INPUT -d 198.51.100.10 -p tcp --dport 9001 -s 10.1.0.0/16 -j ACCEPT\n"+
			"-A INPUT -d 172.17.0.1 -p tcp --dport 9001 -s 10.2.0.0/16 -j ACCEPT\n",
		denyAll, "python3 0.0.0.0:9001")
	for _, s := range out.Services {
		if strings.Count(s.Name, "9001") > 1 {
			t.Errorf("a service is called %q", s.Name)
		}
	}
}

// The import keeps IPv4 groups and broadcast addresses that rules allow.
func TestImportKeepsGroups(t *testing.T) {
	out := mustImport(t, denyAll+"-A INPUT -d 224.0.0.251/32 -p udp --dport 5353 -j ACCEPT\n"+
		"-A INPUT -d 255.255.255.255/32 -p udp --dport 5353 -j ACCEPT\n",
		denyAll, "avahi-daemon udp:0.0.0.0:5353")
	var at address.Set
	for _, s := range out.Services {
		at = at.Union(s.Addresses)
	}
	want := address.Must("224.0.0.251/32", "255.255.255.255/32")
	if !at.Equal(want) {
		t.Errorf("%v of %+v", at, out.Services)
	}
}

// Sources that rules block, on a host that leaves other ports open, stay blocked on every port, and
// the policy says so.
func TestImportKeepsBlocklists(t *testing.T) {
	everyone := address.Must("0.0.0.0/0", "::/0")
	barred := address.Must("203.0.113.0/24")
	for _, tt := range []struct {
		rule     string
		tcp, udp address.Set // blocked from ports that other rules don't name
	}{
		{"-A INPUT -s 203.0.113.0/24 -j DROP\n", barred, barred},
		{"-A INPUT -p udp -s 203.0.113.0/24 -j DROP\n", address.Set{}, barred},
		{"COMMIT\n*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -s 203.0.113.0/24 -j DROP\n",
			barred, address.Set{}},
	} {
		out := mustImport(t, acceptAll+tt.rule, acceptAll, "sshd 0.0.0.0:22")
		if out.Unlisted != firewall.UnlistedIgnore {
			t.Errorf("%s: %v", tt.rule, out.Unlisted)
		}
		for p, bars := range map[firewall.Protocol]address.Set{firewall.TCP: tt.tcp, firewall.UDP: tt.udp} {
			for _, port := range []uint16{1, 67, 68, 8080, 65535} {
				s := serviceFor(out, p, port)
				switch {
				case bars.Len() == 0 && s != nil:
					t.Errorf("%s: %v/%d has %s", tt.rule, p, port, s.Name)
				case bars.Len() > 0 && (s == nil || !everyone.Minus(bars).Equal(s.Sources)):
					t.Errorf("%s: %v/%d: %+v", tt.rule, p, port, s)
				}
			}
		}
		notes := strings.Join(out.Notes, "\n")
		if !strings.Contains(notes, "203.0.113.0/24") || !strings.Contains(notes, "all-ports") {
			t.Errorf("%s: notes %q", tt.rule, out.Notes)
		}
	}
	if out := mustImport(t, acceptAll, acceptAll, "sshd 0.0.0.0:22"); len(out.Services) != 1 ||
		len(out.Notes) > 0 {
		t.Errorf("no rules: %+v", out)
	}
}

// If some interfaces or families are open and others closed, the policy names them.
func TestImportNamesOpenInterfaces(t *testing.T) {
	for _, tt := range []struct{ four, six, want string }{
		{denyAll, acceptAll, "open over ipv6:"},
		{acceptAll, denyAll, "open over ipv4:"},
		{denyAll, denyAll, ""},
	} {
		out := mustImport(t, tt.four, tt.six, "sshd 0.0.0.0:22")
		if notes := strings.Join(out.Notes, "\n"); !strings.Contains(notes, tt.want) ||
			tt.want == "" && strings.Contains(notes, "open over") {
			t.Errorf("%s%s%q", tt.four, tt.six, notes)
		}
	}
}

// Each note is present only when it applies.
func TestImportNotes(t *testing.T) {
	mac := "-A INPUT -m mac --mac-source 02:00:00:00:00:01 -j "
	for _, tt := range []struct{ rules, says, never string }{
		{denyAll + "-A INPUT -i tun+ -p tcp --dport 22 -j ACCEPT\n", "interface tun*", ""},
		{denyAll + "-A INPUT -p igmp -j ACCEPT\n", "refuse MLD", "refuse IGMP"},
		{denyAll, "", "MLD"},
		{denyAll, "ICMP errors that belong to no connection", ""},
		{denyAll + "-A INPUT -p icmp -j ACCEPT\n", "", "ICMP errors"},
		{denyAll + "-A INPUT -i eth+ -p tcp --dport 22 -j ACCEPT\n", "", "interface eth"},
		{acceptAll + mac + "DROP\n", "known whom it stops: ip filter", "lets in"},
		{denyAll + mac + "ACCEPT\n", "known whom it lets in: ip filter", "stops"},
		{acceptAll + mac + "DROP\n", "nobody gets in by this policy to sshd (tcp/22)", ""},
		{denyAll + "-A INPUT -p tcp --dport 22 -j ACCEPT\n", "", "nobody gets in"},
		{denyAll + "-A INPUT -p tcp --dport 25 -j REJECT\n", "this one says drop", ""},
		{denyAll + "-A INPUT -d 198.51.100.10 -p tcp --dport 22 -j ACCEPT\n", "", "list those of today"},
		{denyAll + "-A INPUT ! -d 198.51.100.10 -p tcp --dport 22 -j ACCEPT\n", "sshd list those of today", ""},
	} {
		out := mustImport(t, tt.rules, denyAll, "sshd 0.0.0.0:22")
		notes := strings.Join(out.Notes, "\n")
		if !strings.Contains(notes, tt.says) ||
			tt.never != "" && strings.Contains(notes, tt.never) {
			t.Errorf("%snotes %q", tt.rules, notes)
		}
		if tt.says != "" && strings.HasPrefix(tt.says, "nobody") &&
			!strings.HasPrefix(out.Notes[0], "nobody") {
			t.Errorf("the warning of being locked out is not the first of %q", out.Notes)
		}
	}
}

// A policy is valid with and without the # before services without a listener.
func TestImportedCommentsCanBeRemoved(t *testing.T) {
	for _, listeners := range [][]string{nil, {"sshd 0.0.0.0:22"}} {
		out := mustImport(
			t,
			denyAll+"-A INPUT -p tcp --dport 22 -j ACCEPT\n-A INPUT -p tcp --dport 8443 -j ACCEPT\n",
			denyAll,
			listeners...)
		document := documentOf(out)
		state(t, strings.TrimPrefix(document, "version: 1\n"))
		opened := strings.ReplaceAll(document, "\n  #", "\n  ")
		opened = strings.Replace(opened, "   Opened by", "  # Opened by", 1)
		s := state(t, strings.TrimPrefix(opened, "version: 1\n"))
		if !slices.ContainsFunc(
			s.Services,
			func(x firewall.Service) bool { return x.Ports[len(x.Ports)-1].First == 8443 },
		) {
			t.Errorf("not opened:\n%s", opened)
		}
	}
}

// If the rules refuse neighbour discovery to every source, so does the policy, and says so.
func TestImportOfRefusedNeighbourDiscovery(t *testing.T) {
	for six, closed := range map[string]bool{
		denyAll: true,
		denyAll + "-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT\n": true,
		denyAll + "-A INPUT -p ipv6-icmp --icmpv6-type 128 -j ACCEPT\n":       true,
		denyAll + "-A INPUT -p ipv6-icmp -m state --state NEW -j ACCEPT\n":    true,
		denyAll + "-A INPUT -p ipv6-icmp -j ACCEPT\n":                         false,
		denyAll + "-A INPUT -p ipv6-icmp --icmpv6-type 135 -j ACCEPT\n":       false,
		denyAll + "-A INPUT -s fe80::/10 -p ipv6-icmp -j ACCEPT\n":            false,
		acceptAll: false,
	} {
		out := mustImport(t, denyAll, six, "sshd 0.0.0.0:22")
		if got := out.Closed.Has(firewall.EssentialNeighbourDiscovery); got != closed {
			t.Errorf("%sclosed %v", six, got)
		}
	}
}
