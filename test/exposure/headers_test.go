package exposure

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	ex "github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/hostview"
	"github.com/portgrave/portgrave/firewall/exposure/live"
	"github.com/portgrave/portgrave/test/lab"
)

// headerChains are ways to send a SYN with extension headers that the host's sockets take.
var headerChains = map[string][]lab.Extension{
	"hop":             {lab.HopByHop()},
	"dst":             {lab.DestinationOptions()},
	"hop, dst":        {lab.HopByHop(), lab.DestinationOptions()},
	"rt 0":            {lab.Routing(0)},
	"rt 9":            {lab.Routing(9)},
	"ah":              {lab.Authentication(5)},
	"whole fragment":  {lab.Fragment(false)},
	"fragments":       {lab.Fragment(true)},
	"hop, fragments":  {lab.HopByHop(), lab.Fragment(true)},
	"two fragments":   {lab.Fragment(false), lab.Fragment(false)},
	"dst in fragment": {lab.Fragment(true), lab.DestinationOptions()},
}

// A rule for extension headers concerns packets that a sender makes so. The kernel is the judge of
// which packets get to a socket: where none does, nobody is possible, and what lets in ordinary
// packets leaves everybody certain.
func TestKernelAgreesOnExtensionHeaders(t *testing.T) {
	t.Parallel()
	type rules struct {
		text              string
		certain, possible bool
	}
	var all []rules
	for _, m := range []struct {
		text  string
		opens bool // packets that the match holds for can get to a socket
	}{
		{"-m ipv6header --header hop --soft", true},
		{"-m ipv6header --header hop", false},
		{"-m ipv6header --header hop,prot", true},
		{"-m ipv6header --header none", false},
		{"-m ipv6header --header none --soft", false},
		{"-m ipv6header --header esp --soft", false},
		{"-m ipv6header --header frag --soft", true},
		{"-m ipv6header --header auth --soft", false},
		{"-m rt --rt-type 0", true},
		{"-m rt ! --rt-type 0", true},
		{"-m frag --fragmore", true},
		{"-m frag --fragfirst", true},
		{"-m frag --fraglast", true},
		{"-m hbh", true},
		{"-m dst", true},
		{"-m ah", false},
		{"-p tcp -m ah --ahspi 5", false},
	} {
		all = append(all, rules{"ip6tables: -A INPUT " + m.text + " -j ACCEPT; -P INPUT DROP",
			false, m.opens},
			rules{"ip6tables: -A INPUT " + m.text + " -j DROP", true, true})
	}
	for _, m := range []struct {
		text  string
		opens bool
	}{
		{"exthdr hbh exists", true},
		{"exthdr rt exists", true},
		{"rt type 0", true},
		{"rt type != 0", true},
		{"exthdr frag exists", true},
		{"frag more-fragments 1", true},
		{"frag frag-off 0", true},
		{"frag frag-off != 0", false},
		{"hbh nexthdr tcp", true},
		{"dst nexthdr tcp", true},
		{"ah spi 5", false},
		{"meta l4proto ah", false},
		{"ip6 nexthdr ah", false},
	} {
		all = append(all, rules{"nft: drop; " + m.text + " accept", false, m.opens},
			rules{"nft: accept; " + m.text + " drop", true, true})
	}
	for _, tracked := range []bool{false, true} {
		for _, xt := range []string{"", "legacy", "nft"} {
			if !tracked && xt == "nft" {
				continue // no different with conntrack, and this test is long
			}
			t.Run(fmt.Sprintf("%s, tracked %v", cmp.Or(xt, "native"), tracked), func(t *testing.T) {
				t.Parallel()
				w := newJudge(t, "legacy").w
				for _, r := range all {
					if strings.HasPrefix(r.text, "ip6tables") != (xt != "") || !tracked && r.certain {
						continue
					}
					loadHeaderRules(w, r.text, xt, tracked)
					// Nothing is left of fragments behind conntrack.
					possible := r.possible &&
						(r.certain || !tracked || !strings.Contains(r.text, "frag"))
					checkHeaders(t, w, r.text, r.certain, possible)
					w.Host.Run("nft", "flush", "ruleset")
					w.Host.Run("ip6tables-legacy", "-w", "-P", "INPUT", "ACCEPT")
					w.Host.Run("ip6tables-legacy", "-w", "-F")
					w.Host.Run("ip6tables-legacy", "-w", "-t", "security", "-F")
				}
			})
		}
	}
}

// loadHeaderRules writes "ip6tables: arguments; arguments" or "nft: policy; rule", and what has
// connections tracked.
func loadHeaderRules(w *lab.World, text, xt string, tracked bool) {
	program, text, _ := strings.Cut(text, ": ")
	first, second, _ := strings.Cut(text, "; ")
	if program == "nft" {
		w.Host.NFT("table inet t {\nchain in {\ntype filter hook input priority 0; policy " + first +
			";\nmeta l4proto icmpv6 accept\n" + second + "\n}\n}\n")
		if tracked {
			w.Host.NFT("table inet tracks {\nchain in {\ntype filter hook input priority 100;\n" +
				"ct state invalid counter\n}\n}\n")
		}
		return
	}
	program = "ip6tables-" + xt
	w.Host.Run(program, "-w", "-A", "INPUT", "-p", "icmpv6", "-j", "ACCEPT")
	for _, args := range []string{first, second} {
		if args != "" {
			w.Host.Run(program, strings.Fields("-w "+args)...)
		}
	}
	if tracked {
		w.Host.Run(program, strings.Fields("-w -t security -A INPUT -m conntrack --ctstate INVALID")...)
	}
}

// checkHeaders compares the answer with what ordinary packets and those with headers do.
func checkHeaders(t *testing.T, w *lab.World, name string, certain, possible bool) {
	t.Helper()
	e, err := liveEvaluator(w.Host)
	if err != nil {
		t.Fatal(err)
	}
	for _, proto := range []firewall.Protocol{firewall.TCP, firewall.UDP} {
		q := ex.Question{
			Family: address.IPv6, Protocol: proto, Interface: "eth0", Destination: host6, Port: 80,
		}
		a, err := e.Evaluate(q)
		if err != nil {
			t.Fatal(err)
		}
		surely, perhaps := a.Through()
		source := netip.MustParseAddr("2600::7")
		asked := []lab.Question{{
			Source: source, To: netip.AddrPortFrom(host6, 80), Over: lab.Protocol(proto),
		}}
		ordinary := w.ProbeEach(w.Internet, asked, lab.Attempts(2))[0] == lab.Open
		open := openWith(w, asked)
		if !ordinary && certain { // probes may be lost on a busy machine
			ordinary = w.ProbeEach(w.Internet, asked, lab.Attempts(10))[0] == lab.Open
		}
		isCertain, isPossible := surely.Contains(ex.Address(source)), perhaps.Contains(ex.Address(source))
		if isCertain && !ordinary || (ordinary || len(open) > 0) && !isPossible {
			t.Errorf("%s: unsound: %s: certain %v, possible %v; open to ordinary packets %v, with %q",
				name, proto, isCertain, isPossible, ordinary, open)
		}
		if isCertain != certain || ordinary != certain {
			t.Errorf("%s: %s: certain %v, ordinary packets %v, want %v",
				name, proto, isCertain, ordinary, certain)
		}
		if isPossible != possible {
			t.Errorf("%s: %s: possible %v, packets %q, want %v %s",
				name, proto, isPossible, open, possible, doubts(a))
		}
		t.Logf("%s: %s: certain %v, possible %v; ordinary packets %v, with %q; assumed %q",
			name, proto, isCertain, isPossible, ordinary, open, a.Assumed)
	}
}

// openWith lists the chains of headers with which a probe gets an answer.
func openWith(w *lab.World, asked []lab.Question) (open []string) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for name, chain := range headerChains {
		// Two fragments hold a SYN with data; what an echo would return of them isn't told apart.
		if asked[0].Over == lab.UDP && slices.ContainsFunc(chain, lab.Extension.Cuts) {
			continue
		}
		all.Go(func() {
			got := w.ProbeEach(w.Internet, asked, lab.Attempts(1), lab.Extended(chain...))
			mu.Lock()
			defer mu.Unlock()
			if got[0] == lab.Open {
				open = append(open, name)
			}
		})
	}
	all.Wait()
	slices.Sort(open)
	return open
}

// liveEvaluator reads a node's rules from the kernel.
func liveEvaluator(n *lab.Node) (e *ex.Evaluator, err error) {
	err = n.Do(func() error {
		host, err := hostview.Read(context.Background())
		if err == nil {
			var rules *ex.Ruleset
			if rules, err = live.Rules(context.Background(), host); err == nil {
				e = ex.NewEvaluator(rules, host).NeighboursKnown()
			}
		}
		return err
	})
	return e, err
}
