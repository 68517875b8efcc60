package policy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"pgregory.net/rapid"
)

// model is the content of a policy, which can be written in many ways.
type model struct {
	services []modelService
}

type modelService struct {
	name          string
	first, last   int
	protocols     []string
	interfaces    []string
	allow, except []netip.Prefix
	expiring      []netip.Prefix
	expires       time.Time
}

// prefixGenerator draws from a small space, so that prefixes overlap and touch.
func prefixGenerator() *rapid.Generator[netip.Prefix] {
	return rapid.Custom(func(t *rapid.T) netip.Prefix {
		low := byte(rapid.IntRange(0, 31).Draw(t, "low"))
		if rapid.Bool().Draw(t, "v6") {
			return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: low}),
				rapid.IntRange(122, 128).Draw(t, "bits")).Masked()
		}
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, low}),
			rapid.IntRange(26, 32).Draw(t, "bits")).Masked()
	})
}

func modelGenerator() *rapid.Generator[model] {
	return rapid.Custom(func(t *rapid.T) model {
		var m model
		for i := range rapid.IntRange(0, 4).Draw(t, "services") {
			s := modelService{name: fmt.Sprintf("s%d", i), first: 100*i +
				rapid.IntRange(1, 50).Draw(t, "first")}
			s.last = s.first + rapid.IntRange(0, 40).Draw(t, "length")
			s.protocols = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"tcp", "udp", "sctp"}),
				1, 3, rapid.ID).Draw(t, "protocols")
			s.interfaces = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"eth0", "eth1",
				"wlan*"}), 0, 2, rapid.ID).Draw(t, "interfaces")
			s.allow = rapid.SliceOfN(prefixGenerator(), 0, 6).Draw(t, "allow")
			s.except = rapid.SliceOfN(prefixGenerator(), 0, 3).Draw(t, "except")
			s.expiring = rapid.SliceOfN(prefixGenerator(), 0, 3).Draw(t, "expiring")
			s.expires = testClock().Add(time.Duration(rapid.IntRange(-100, 100).Draw(t,
				"hours")) * time.Hour)
			m.services = append(m.services, s)
		}
		return m
	})
}

// write writes the model as YAML, in one of many equivalent ways.
func (m model) write(t *rapid.T) string {
	var networks, services []string
	split := func(list []netip.Prefix) (entries []string) {
		for _, p := range rapid.Permutation(list).Draw(t, "order") {
			switch rapid.IntRange(0, 4).Draw(t, "form") {
			case 0: // as two halves
				if p.Bits() < p.Addr().BitLen() {
					a, b := halves(p)
					entries = append(entries, quoted(b), quoted(a))
					continue
				}
				entries = append(entries, quoted(p), quoted(p))
			case 1: // as a network inside a network
				name := fmt.Sprintf("n%d", len(networks))
				networks = append(networks, fmt.Sprintf("  %s: [%s]\n", name, quoted(p)),
					fmt.Sprintf("  %sn: [%s]\n", name, name))
				entries = append(entries, name+"n")
			case 2: // with a reason
				entries = append(entries, fmt.Sprintf("{cidr: %s, reason: why not}", quoted(p)))
			case 3: // an address without a length
				if p.IsSingleIP() {
					entries = append(entries, fmt.Sprintf("%q", p.Addr()))
					continue
				}
				entries = append(entries, quoted(p))
			default:
				entries = append(entries, quoted(p))
			}
		}
		return entries
	}
	for _, s := range m.services {
		ports := fmt.Sprintf(`"%d-%d"`, s.first, s.last)
		if s.first < s.last && rapid.Bool().Draw(t, "split") {
			middle := rapid.IntRange(s.first, s.last-1).Draw(t, "middle")
			ports = fmt.Sprintf("[%d-%d, %d-%d]", middle+1, s.last, s.first, middle)
		}
		allow := split(s.allow)
		for _, p := range s.expiring {
			allow = append(allow,
				fmt.Sprintf("{cidr: %s, expires: %q}", quoted(p), s.expires.Format(time.RFC3339)))
		}
		keys := rapid.Permutation([]string{"name: " + s.name, "port: " + ports,
			"protocol: [" + strings.Join(
				rapid.Permutation(s.protocols).Draw(t, "protocols"),
				", ",
			) + "]",
			"allow: [" + strings.Join(
				allow,
				", ",
			) + "]", "except: [" + strings.Join(split(s.except), ", ") + "]"}).Draw(t, "keys")
		if len(s.interfaces) > 0 {
			keys = append(keys, `interfaces: ["`+strings.Join(s.interfaces, `", "`)+`"]`)
		}
		services = append(services, "  - {"+strings.Join(keys, ", ")+"}\n")
	}
	parts := []string{"version: 1\n"}
	if len(networks) > 0 {
		parts = append(parts,
			"networks:\n"+strings.Join(rapid.Permutation(networks).Draw(t, "networks"), ""))
	}
	if len(services) > 0 {
		parts = append(parts,
			"services:\n"+strings.Join(rapid.Permutation(services).Draw(t, "services"), ""))
	}
	return strings.Join(rapid.Permutation(parts).Draw(t, "parts"), "")
}

func quoted(p netip.Prefix) string { return fmt.Sprintf("%q", p) }

func halves(p netip.Prefix) (low, high netip.Prefix) {
	bytes := p.Addr().AsSlice()
	bit := p.Bits()
	bytes[bit/8] |= 0x80 >> (bit % 8)
	upper, _ := netip.AddrFromSlice(bytes)
	return netip.PrefixFrom(p.Addr(), bit+1), netip.PrefixFrom(upper, bit+1)
}

func compileModel(t *rapid.T, content string) *Compiled {
	p, err := Parse("policy.yaml", []byte(content))
	if err != nil {
		t.Fatalf("%v\n%s", err, content)
	}
	c, err := p.Compile(t.Context(), &Networks{Now: testClock})
	if err != nil {
		t.Fatalf("%v\n%s", err, content)
	}
	return c
}

// TestEqualPoliciesCompileEqually checks that equivalent policies compile to the same State.
func TestEqualPoliciesCompileEqually(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := modelGenerator().Draw(t, "model")
		one, two := m.write(t), m.write(t)
		a, b := compileModel(t, one).State, compileModel(t, two).State
		if !a.Equal(b) {
			t.Fatalf("\n%s\ncompiles to %+v, and\n%s\nto %+v", one, a, two, b)
		}
		x, _ := json.Marshal(a)
		y, _ := json.Marshal(b)
		if string(x) != string(y) {
			t.Fatalf("\n%s\n%s", x, y)
		}
	})
}

// TestStateDecidesAsThePolicy checks that the State decides about each address as the entries do,
// one by one.
func TestStateDecidesAsThePolicy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := modelGenerator().Draw(t, "model")
		c := compileModel(t, m.write(t))
		in := func(list []netip.Prefix, a netip.Addr) bool {
			return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
		}
		for _, s := range m.services {
			source := prefixGenerator().Draw(t, "source").Addr()
			want := (in(s.allow, source) || s.expires.After(testClock()) &&
				in(s.expiring, source)) && !in(s.except, source)
			protocol, err := firewall.ParseProtocol(s.protocols[0])
			if err != nil {
				t.Fatal(err)
			}
			port := uint16(rapid.IntRange(s.first, s.last).Draw(t, "port"))
			d := c.State.Decide(firewall.Flow{Protocol: protocol, Source: source, Port: port},
				testClock())
			if (d.Verdict == firewall.Allowed) != want {
				t.Fatalf("%s from %s: %+v, but the policy says %v", s.name, source, d, want)
			}
		}
	})
}

// TestTestsAgreeWithDecide checks that the result for a CIDR is the one for all of its addresses.
func TestTestsAgreeWithDecide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := compileModel(t, modelGenerator().Draw(t, "model").write(t))
		test := Test{From: prefixGenerator().Draw(t, "from"), Protocol: firewall.TCP,
			Port: uint16(rapid.IntRange(1, 500).Draw(t, "port")), Expect: "allow",
			Interface: rapid.SampledFrom([]string{"", "eth0", "eth1", "wlan7", "eth9"}).Draw(t,
				"interface")}
		got := newJudge(c.State, testClock()).run(test).Got
		seen := map[firewall.Verdict]bool{}
		for a := test.From.Addr(); test.From.Contains(a); a = a.Next() {
			seen[c.State.Decide(firewall.Flow{Protocol: test.Protocol, Source: a, Port: test.Port,
				Interface: test.Interface}, testClock()).Verdict] = true
		}
		want := "partial"
		switch {
		case len(seen) > 1:
		case seen[firewall.Allowed]:
			want = "allow"
		case seen[firewall.Refused]:
			want = "deny"
		case seen[firewall.Ignored]:
			want = "ignored"
		}
		if got != want {
			t.Fatalf("%+v of %+v: %s, but address by address %s", test, c.State, got, want)
		}
	})
}

// TestSchemaAcceptsWhatReadAccepts replaces some values of good documents, so that many of the
// results are still valid.
func TestSchemaAcceptsWhatReadAccepts(t *testing.T) {
	schema := compiledSchema(t)
	var tokens []string
	var documents [][]string
	for _, file := range append(corpus(t, "good"), append(corpus(t, "bad"), corpus(t, "bad/semantic")...)...) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		words := splitKeeping(string(content), " \n,[]{}:")
		tokens = append(tokens, words...)
		if strings.Contains(file, "good") {
			documents = append(documents, words)
		}
	}
	slices.Sort(tokens)
	tokens = slices.Compact(tokens)
	accepted := 0
	rapid.Check(t, func(rt *rapid.T) {
		words := slices.Clone(rapid.SampledFrom(documents).Draw(rt, "document"))
		for range rapid.IntRange(1, 3).Draw(rt, "changes") {
			words[rapid.IntRange(0, len(words)-1).Draw(rt,
				"where")] = rapid.SampledFrom(tokens).Draw(rt, "what")
		}
		content := []byte(strings.Join(words, ""))
		if _, err := Parse("policy.yaml", content); err != nil {
			return
		}
		accepted++
		document, err := asJSON(t, content)
		if err != nil {
			return // for example an alias that the library reads differently
		}
		if err := schema.Validate(document); err != nil {
			rt.Fatalf("the reader accepts and the schema refuses:\n%s\n%v", content, err)
		}
	})
	if accepted == 0 {
		t.Error("no changed document was right; the test proves nothing")
	}
}

// splitKeeping splits at the separators and keeps them as words.
func splitKeeping(s, separators string) (words []string) {
	for s != "" {
		i := strings.IndexAny(s, separators)
		switch {
		case i < 0:
			return append(words, s)
		case i > 0:
			words = append(words, s[:i])
		}
		words, s = append(words, s[i:i+1]), s[i+1:]
	}
	return words
}
