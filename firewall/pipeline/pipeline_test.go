package pipeline

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

func same(t *testing.T, got, want string) {
	t.Helper()
	if diff := cmp.Diff(strings.TrimLeft(want, "\n"), got); diff != "" {
		t.Errorf("want and got differ:\n%s", diff)
	}
}

func ports(p firewall.Protocol, first, last uint16) firewall.PortRange {
	return firewall.PortRange{Protocol: p, First: first, Last: last}
}

func TestLabels(t *testing.T) {
	same(t, text(Labels(firewall.State{})...), `
remember
  by lo → return
  by VRF → goto vrf
  → set label 92
  from fe80::/10, from own here → set label 91
  to own → set label 90
vrf
  no label 92 → return
  from own here → set label 91
  to own → set label 90, return
  to own here → set label 90
`)
	same(t, text(Labels(firewall.State{Direct: []string{"br-*", "docker0"}})...), `
remember
  by lo → return
  by VRF → goto vrf
  → set label 92
  → jump elsewhere
  from fe80::/10, from own here → set label 91
  to own → set label 90
vrf
  no label 92 → return
  from own here → set label 91
  to own → set label 90, return
  to own here → set label 90
elsewhere
  by br-* → return
  by docker0 → return
  → set label 93
`)
}

func TestOwnAddresses(t *testing.T) {
	same(t, rulesText(append(ControlMessages(), FromOwnAddress(Goto(Named(Spoofed)))...)), `
  carries protocol-1 → return
  carries igmp → return
  carries protocol-58 → return
  label 91 → goto spoofed
  from fe80::/10 → return
  by VRF → return
  from own → goto spoofed
`)
	same(t, text(SpoofedChain()), `
spoofed
  → count refused spoofed, log spoofed
  → drop
`)
}

func TestEstablished(t *testing.T) {
	same(t, rulesText(Established(firewall.State{Established: firewall.EstablishedCut})), "")
	same(t, rulesText(Established(firewall.State{Established: firewall.EstablishedKeep})),
		"  running → accept\n")
}

func TestDirect(t *testing.T) {
	s := firewall.State{Direct: []string{"docker0"}}
	begun, reply := PastDNAT()
	direct := Named(Direct)
	same(t, rulesText([]Rule{If(begun...).Jump(direct), If(reply...).Jump(direct)}), `
  beginning → jump direct
  reply, label 93 → jump direct
`)
	same(t, text(Chain{direct, Published(s)}, DirectRefusal(firewall.RefuseReject)), `
direct
  translated → return
  by docker0 → return
direct-refuse
  → count refused direct, log direct
  carries tcp → reset
  → unreachable
`)
}

func TestUnlisted(t *testing.T) {
	all := firewall.State{Essentials: firewall.AllEssentials,
		Connected: address.Must("192.0.2.0/24")}
	got := rulesText(append(Essential(all), Announced()...))
	for _, rule := range []string{
		"  ipv4 destination-unreachable → accept\n", "  ipv6 nd-neighbor-solicit → accept\n",
		"  ipv4 echo-request → accept\n", "  carries igmp → accept\n",
	} {
		if !strings.Contains(got, rule) {
			t.Errorf("no %q in\n%s", rule, got)
		}
	}
	_, last, _ := strings.Cut(got, "carries igmp → accept\n")
	same(t, last, `
  ipv4, udp 67 to 68 → accept
  to fe80::/10, udp 0 to 546 → accept
  carries tcp, expected → accept
  carries udp, expected → accept
`)
	same(t, rulesText(Essential(firewall.State{})), "")
	same(t, rulesText(Essential(firewall.State{Essentials: firewall.EssentialEcho})), `
  ipv4 echo-request → accept
  ipv6 echo-request → accept
`)
	same(t, text(UnlistedRefusal(firewall.RefuseDrop)), `
unlisted-refuse
  → count refused unlisted, log unlisted
  → drop
`)
	if !AnswersIn(all, address.IPv4) || AnswersIn(all, address.IPv6) {
		t.Error("answers are let in where no network is connected, or not where one is")
	}
	all.Essentials = firewall.DefaultEssentials
	if AnswersIn(all, address.IPv4) {
		t.Error("answers are let in though they are no essential of the State")
	}
}

func TestEntry(t *testing.T) {
	everywhere := firewall.Service{Name: "web"}
	some := firewall.Service{Name: "ssh", Interfaces: []string{"eth0"}}
	here := firewall.Service{Name: "dns", Addresses: address.Must("192.0.2.1/32")}
	leased, someLeased := everywhere, some
	leased.Leases = []firewall.Lease{{Ports: []firewall.PortRange{ports(firewall.TCP, 22, 23)}}}
	someLeased.Leases = leased.Leases
	for want, services := range map[string][]firewall.Service{
		"service web": {everywhere}, "where ssh": {some}, "where dns": {here},
		"service web lease tcp/22": {leased}, "where ssh lease tcp/22": {someLeased},
		"shared tcp/22-23": {here, someLeased},
	} {
		piece := firewall.PortPiece{Ports: ports(firewall.TCP, 22, 23), Services: services}
		if got := nameText(Entry(piece)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestPlaces(t *testing.T) {
	svc := firewall.Service{Name: "a"}
	same(t, rulesText(Places(svc)), "  → goto service a\n")
	svc.Interfaces = []string{"eth0", "wg*"}
	same(t, rulesText(Places(svc)), `
  through eth0 → goto service a
  through wg* → goto service a
`)
	svc.Addresses = address.Must("192.0.2.1/32", "2001:db8::1/128")
	same(t, rulesText(Places(svc)), `
  through eth0, at 192.0.2.1/32 2001:db8::1/128 → goto service a
  through wg*, at 192.0.2.1/32 2001:db8::1/128 → goto service a
`)
	svc.Interfaces = nil
	same(t, rulesText(Places(svc)), "  at 192.0.2.1/32 2001:db8::1/128 → goto service a\n")
	svc.Leases = []firewall.Lease{{Ports: []firewall.PortRange{ports(firewall.TCP, 22, 23)}}}
	same(t, rulesText(Places(svc)),
		"  at 192.0.2.1/32 2001:db8::1/128 → goto service a lease tcp/22\n")
}

func TestPortless(t *testing.T) {
	pieces := firewall.PortPieces([]firewall.Service{
		{Name: "a", Ports: []firewall.PortRange{firewall.Portless(firewall.VRRP),
			firewall.Portless(firewall.Ping)}},
		{Name: "b", Ports: []firewall.PortRange{ports(firewall.TCP, 22, 22)}},
	})
	same(t, rulesText(Portless(pieces, Entry)), `
  vrrp → goto service a
  ping → goto service a
`)
	none := func(firewall.PortPiece) Name { return Name{} }
	same(t, rulesText(Portless(pieces, none)), "")
}

func TestAllowAndRefuse(t *testing.T) {
	svc := firewall.Service{Name: "a", Log: firewall.LogNone}
	same(t, text(AllowChain(svc), Refusal(svc, firewall.RefuseDrop)), `
allow a
  → count allowed a, accept
refuse a
  → count refused service a
  → drop
`)
	svc.Log = firewall.LogAll
	svc.Rate = &firewall.Rate{Count: 20, Per: time.Second, Burst: 40}
	same(t, text(AllowChain(svc), Refusal(svc, firewall.RefuseReject)), `
allow a
  first packet, over 20/second burst 40 → goto refuse a
  first packet → log allowed a
  → count allowed a, accept
refuse a
  → count refused service a, log a
  carries tcp → reset
  → unreachable
`)
}

func TestChanges(t *testing.T) {
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.FixedZone("", 3600))
	for _, c := range []struct {
		action firewall.Action
		end    time.Time
		want   string
	}{
		{firewall.Add, time.Time{}, "10.0.0.0/8"},
		{firewall.Add, at, "10.0.0.0/8 until 2026-11-30T11:00:00Z"},
		{firewall.Remove, at, "10.0.0.0/8"},
	} {
		if got := Until(c.action, "10.0.0.0/8", c.end); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	few := Elements(firewall.Add, "a", address.IPv4, 1, func(int) string { return "10.0.0.0/8" })
	want := []firewall.Change{{Action: firewall.Add, Object: firewall.ObjectElement, Service: "a",
		Family: "ipv4", Detail: "10.0.0.0/8", Count: 1}}
	if diff := cmp.Diff(want, few); diff != "" {
		t.Error(diff)
	}
	words := 0
	many := Elements(firewall.Remove, "a", address.IPv6, 10_000, func(i int) string {
		words++
		return map[int]string{0: "2001:db8::/64", 9_999: "2001:db9::/64"}[i]
	})
	want = []firewall.Change{{Action: firewall.Remove, Object: firewall.ObjectElement, Service: "a",
		Family: "ipv6", Detail: "2001:db8::/64 … 2001:db9::/64 (10000 in all)", Count: 10_000}}
	if diff := cmp.Diff(want, many); diff != "" || words != 2 {
		t.Errorf("%d elements were worded: %s", words, diff)
	}
	if c := Changed(firewall.Add, firewall.ObjectTable, "", 0, "x"); c.Family != "" ||
		c.Count != 1 {
		t.Errorf("got %+v", c)
	}
}

// A renderer that doesn't know a condition would panic where a State first needs it.
func TestRenderersKnowEveryWord(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "rule.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl: // func (X) condition() {}
			if d.Recv != nil && (d.Name.Name == "condition" || d.Name.Name == "action") {
				words = append(words, d.Recv.List[0].Type.(*ast.Ident).Name)
			}
		case *ast.GenDecl: // constants of Role, EndKind and Fact
			for _, s := range d.Specs {
				if v, ok := s.(*ast.ValueSpec); ok && d.Tok == token.CONST {
					words = append(words, v.Names[0].Name)
				}
			}
		}
	}
	if len(words) < 40 {
		t.Fatalf("found only %v", words)
	}
	for _, backend := range []string{"nft", "xt"} {
		var code []byte
		for _, name := range []string{"render.go", "names.go"} {
			b, err := os.ReadFile(filepath.Join("..", backend, name))
			if err != nil {
				t.Fatal(err)
			}
			code = append(code, b...)
		}
		for _, w := range words {
			handled := regexp.MustCompile(`(case |, |\t)pipeline\.` + w + `\b[:,]`)
			if w != "Other" && !handled.Match(code) {
				t.Errorf("%s doesn't render %s", backend, w)
			}
		}
	}
}

// A rule has a copy for each form of its action, and each copy its end. So what is done in several
// steps, as a record is, doesn't end.
func TestRecordsDontEnd(t *testing.T) {
	svc := firewall.Service{Name: "a"}
	for _, how := range []firewall.Refuse{firewall.RefuseDrop, firewall.RefuseReject} {
		chains := []Chain{
			SpoofedChain(), DirectRefusal(how), UnlistedRefusal(how), Refusal(svc, how), AllowChain(svc),
		}
		for _, c := range chains {
			for _, r := range c.Rules {
				if _, records := r.Do.(Record); records && r.End != (End{}) {
					t.Errorf("%s", text(c))
				}
			}
		}
	}
}
