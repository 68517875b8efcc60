package policy

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// randomNetworks returns n disjoint CIDRs of one family, of many lengths, sorted or shuffled. The
// result is always the same.
func randomNetworks(n int, v6, sorted bool) []netip.Prefix {
	r := rand.New(rand.NewPCG(9090, uint64(n)))
	list := make([]netip.Prefix, n)
	step := uint32(1<<22) / uint32(n)
	for i := range list {
		block := uint32(i)*step + r.Uint32N(step) // of 2^22 blocks with the size of a /22
		if v6 {
			a := [16]byte{
				0x20,
				byte(block >> 16),
				byte(block >> 8),
				byte(block),
				4: byte(r.Uint32()),
				5: byte(r.Uint32()),
			}
			list[i] = netip.PrefixFrom(netip.AddrFrom16(a), 48+r.IntN(17)).Masked()
			continue
		}
		a := [4]byte{
			byte(block >> 14),
			byte(block >> 6),
			byte(block<<2) | byte(r.IntN(4)),
			byte(r.Uint32()),
		}
		list[i] = netip.PrefixFrom(netip.AddrFrom4(a), 22+r.IntN(11)).Masked()
	}
	if !sorted {
		r.Shuffle(n, func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	return list
}

func listLines(list []netip.Prefix) []byte {
	var b bytes.Buffer
	for _, p := range list {
		fmt.Fprintln(&b, p)
	}
	return b.Bytes()
}

func BenchmarkReadList(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		for _, v6 := range []bool{false, true} {
			for _, sorted := range []bool{true, false} {
				name := fmt.Sprintf(
					"entries=%d/family=%s/order=%s",
					n,
					map[bool]string{false: "ipv4", true: "ipv6"}[v6],
					map[bool]string{false: "shuffled", true: "sorted"}[sorted],
				)
				b.Run(name, func(b *testing.B) {
					content := listLines(randomNetworks(n, v6, sorted))
					b.ReportAllocs()
					b.SetBytes(int64(len(content)))
					for b.Loop() {
						if _, err := (listReader{name: "list", size: int64(len(content)),
							limit: n}).read(bytes.NewReader(content)); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}

// millionPolicy returns a policy with n CIDRs in ten network files.
func millionPolicy(t testing.TB, n int, sorted bool) *Policy {
	t.Helper()
	dir := t.TempDir()
	var text strings.Builder
	text.WriteString("version: 1\nnetworks:\n")
	var names []string
	for i, part := range slices.Collect(slices.Chunk(randomNetworks(n, false, sorted), n/10)) {
		path := filepath.Join(dir, fmt.Sprintf("n%d.txt", i))
		if err := os.WriteFile(path, listLines(part), 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, fmt.Sprintf("n%d", i))
		fmt.Fprintf(&text, "  n%d: {file: %s}\n", i, path)
	}
	fmt.Fprintf(&text, "services: [{name: web, port: 443, allow: [%s]}]\n",
		strings.Join(names, ", "))
	return mustParse(t, text.String())
}

func BenchmarkCompileNetworks(b *testing.B) {
	for _, sorted := range []bool{true, false} {
		b.Run(fmt.Sprintf("entries=1000000/sorted=%v", sorted), func(b *testing.B) {
			p := millionPolicy(b, 1_000_000, sorted)
			n := &Networks{Now: testClock}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Compile(b.Context(), n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// serviceShapes are ways in which n services may differ from each other.
var serviceShapes = map[string]func(i int) string{
	"ports":      func(i int) string { return fmt.Sprintf("port: %d", 1000+i) },
	"addresses":  func(i int) string { return fmt.Sprintf("port: 443, addresses: [10.%d.%d.%d]", i>>16, i>>8&255, i&255) },
	"interfaces": func(i int) string { return fmt.Sprintf("port: 443, interfaces: [veth%d]", i) },
	"ranges": func(i int) string {
		return fmt.Sprintf(
			"port: %d-%d, interfaces: [veth%d], addresses: [10.9.%d.%d]",
			1000+i%100*50,
			1200+i%100*50,
			i%50,
			i>>8,
			i&255,
		)
	},
}

// manyServices returns a policy with n services of a shape, and a test for every fifth.
func manyServices(n int, shape func(int) string) string {
	var b strings.Builder
	b.WriteString("version: 1\nnetworks: {office: [203.0.113.0/24]}\nservices:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {name: s%d, %s, allow: [office, 10.%d.%d.0/24]}\n",
			i, shape(i), i>>8, i&255)
	}
	b.WriteString("tests:\n")
	for i := 0; i < n; i += 5 {
		fmt.Fprintf(&b, "  - {from: 203.0.113.7, to: s%d, expect: allow}\n", i)
	}
	return b.String()
}

func BenchmarkServices(b *testing.B) {
	for _, name := range sortedNames(serviceShapes) {
		text := manyServices(10_000, serviceShapes[name])
		p := mustParse(b, text)
		c := mustCompile(b, text)
		b.Run("parse/services=10000/differ="+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				mustParse(b, text)
			}
		})
		b.Run("compile/services=10000/differ="+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Compile(b.Context(), &Networks{Now: testClock}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("tests/services=10000/differ="+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.RunTests(testClock())
			}
		})
	}
}

// encodeJSON writes networks in the format of AWS, or of Spamhaus if lines.
func encodeJSON(list []netip.Prefix, lines bool) []byte {
	var b bytes.Buffer
	if !lines {
		b.WriteString("{\n  \"syncToken\": \"1\",\n  \"prefixes\": [")
	}
	for i, p := range list {
		if lines {
			fmt.Fprintf(&b, "{\"cidr\":%q,\"sblid\":\"SBL%d\",\"rir\":\"apnic\"}\n", p, i)
			continue
		}
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n    {\n      \"ip_prefix\": %q,\n      \"region\": \"eu-west-1\",\n"+
			"      \"service\": \"EC2\",\n      \"network_border_group\": \"eu-west-1\"\n    }", p)
	}
	if !lines {
		b.WriteString("\n  ]\n}\n")
	}
	return b.Bytes()
}

func BenchmarkReadJSON(b *testing.B) {
	for _, c := range []struct {
		form    string
		entries int
		path    string
	}{
		{"lines", 1_000_000, "$.cidr"},
		{"aws", 350_000, "$.prefixes[*].ip_prefix"},
		{"aws-filtered", 350_000, "$.prefixes[?@.service=='EC2'].ip_prefix"},
	} {
		b.Run(fmt.Sprintf("form=%s/entries=%d", c.form, c.entries), func(b *testing.B) {
			content := encodeJSON(randomNetworks(c.entries, false, true), c.form == "lines")
			path, err := parseSelect(c.path)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				o := listReader{name: "list", limit: c.entries, selects: path}
				if _, err := o.read(bytes.NewReader(content)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
