package policy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
	"pgregory.net/rapid"
)

// compareWithParsePrefix fails if addFast accepts an entry but differs from parsePrefix. It reports
// whether addFast accepts it.
func compareWithParsePrefix(t interface{ Fatalf(string, ...any) }, entry string) (fast bool) {
	var b address.Builder
	if !addFast(&b, []byte(entry)) {
		if b.Set().Len() > 0 {
			t.Fatalf("%q was left to the slow way, and added", entry)
		}
		return false
	}
	p, err := parsePrefix(entry)
	if err != nil {
		t.Fatalf("%q was taken, but %v", entry, err)
	}
	want, err := address.New(p)
	if got := b.Set(); err != nil || !got.Equal(want) {
		t.Fatalf("%q was taken as %v, not %v", entry, got, want)
	}
	return true
}

func FuzzEntry(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8", "1.2.3.4", "255.255.255.255/32", "0.0.0.0/0", "1.2.3.4/032", "01.2.3.4", "1.2.3", "1.2.3.4.5", "256.0.0.1", "10.0.0.1/8",
		"::", "::/0", "::1", "1::", "2001:db8::/32", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1::2::3", "1:2", ":1::", "1:", "12345::", "::ffff:1.2.3.4", "::ffff:102:304", "::1:ffff:0:0", "fe80::1%a", "FFFF::a/128", "1::/129"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { compareWithParsePrefix(t, s) })
}

func TestFastEntries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		compareWithParsePrefix(
			t,
			strings.Join(
				rapid.SliceOfN(rapid.SampledFrom([]string{"0", "1", "10", "25", "255", "256", "00",
					".", ":", "::", "/", "f", "Ffff", "8", "128", "%"}), 1, 17).
					Draw(t, "parts"),
				"",
			),
		)
	})
	for _, v6 := range []bool{false, true} {
		for _, p := range randomNetworks(10_000, v6, false) {
			if !compareWithParsePrefix(t, p.String()) {
				t.Fatalf("%v takes the slow way", p)
			}
			compareWithParsePrefix(t, p.Addr().String())
		}
	}
}

// TestReadingAllocatesLittle checks that an additional entry allocates nothing, except when the
// list grows.
func TestReadingAllocatesLittle(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		allocations := func(n int) float64 {
			content := listLines(randomNetworks(n, v6, false))
			return testing.AllocsPerRun(1, func() {
				if _, err := (listReader{name: "list", size: int64(len(content)),
					limit: n}).read(bytes.NewReader(content)); err != nil {
					t.Error(err)
				}
			})
		}
		if few, many := allocations(1000), allocations(100_000); many > few+40 {
			t.Errorf("%v allocations for 1 000 entries, %v for 100 000", few, many)
		}
	}
}

// TestManyBadLines checks that all mistakes are counted, and that the first are reported.
func TestManyBadLines(t *testing.T) {
	_, err := listReader{
		name:  "list",
		limit: 1_000_000,
	}.read(
		strings.NewReader("10.0.0.0/8\n" + strings.Repeat("10.0.0.1/8\n", 30_000)),
	)
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != maxProblems+1 {
		t.Fatalf("%d problems, %.200v", len(problems), err)
	}
	expect(
		t,
		"the first",
		problems[0].Error(),
		`list:2:1: "10.0.0.1/8" has host bits set; write 10.0.0.0/8 for the network, or 10.0.0.1 for the one address`,
	)
	expect(t, "the last", problems[maxProblems].Message, "… and 29800 more")
	// A policy's own mistakes come before those of its lists, and the number stays.
	all := append(Problems{{File: "a.yaml", Line: 1, Column: 1, Message: "a mistake"}}, problems...)
	all = all.sorted(0)
	expect(t, "the last with another", all[maxProblems].Message, "… and 29801 more")
}

func TestListsAreCounted(t *testing.T) {
	counted := 0
	if _, err := (listReader{name: "list", limit: 100_000,
		onEntries: func(n int) { counted += n }}).read(bytes.NewReader(listLines(randomNetworks(100_000,
		false, true)))); err != nil {
		t.Fatal(err)
	}
	if counted <= 100_000-progressInterval || counted > 100_000 {
		t.Errorf("%d entries were told of", counted)
	}
}

// TestServicesShareSources checks that services with equal sources share memory, even with an
// except or additional entries that change nothing.
func TestServicesShareSources(t *testing.T) {
	var text strings.Builder
	path := filepath.Join(t.TempDir(), "list.txt")
	if err := os.WriteFile(path, listLines(randomNetworks(1000, false, true)), 0o600); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(
		&text,
		"version: 1\nnetworks:\n  a: {file: %s}\n  b: [192.0.2.0/24]\n  c: [a]\nservices:\n",
		path,
	)
	for i, s := range []string{"[a]", "[c]", "[a], except: [203.0.113.0/24]", "[{cidr: a}]", "[a, b]", "[b, a, 192.0.2.7]", "[b, a], except: [0.0.0.0/9]", "[a, b, a], except: [0.0.0.0/9]", "[a, 198.51.100.1]", "[198.51.100.1, c]"} {
		fmt.Fprintf(&text, "  - {name: s%d, port: %d, allow: %s}\n", i, i+1, s)
	}
	c := mustCompile(t, text.String())
	ids := []address.Identity{}
	for _, svc := range c.State.Services {
		ids = append(ids, svc.Sources.Identity())
	}
	for i, first := range []int{0, 0, 0, 0, 4, 4, 6, 6, 8, 8} {
		if ids[i] != ids[first] {
			t.Errorf("service %d does not share the sources of service %d", i, first)
		}
	}
}

// TestMaxRaisesTheSizeLimit checks that a larger max also allows more bytes.
func TestMaxRaisesTheSizeLimit(t *testing.T) {
	if few, many := (&network{max: 10}).maxBytes(), (&network{max: 10_000_000}).maxBytes(); few != maxListBytes ||
		many < 10_000_000*int64(len("2001:db8:1111:2222:3333:4444:5555:6666/128\n")) {
		t.Errorf("%d and %d bytes", few, many)
	}
}

// TestReadErrors checks that a file which can't be read to its end is not taken for a shorter list.
func TestReadErrors(t *testing.T) {
	broken := &limitedReader{strings.NewReader(strings.Repeat("10.0.0.0/8\n", 100)), 500}
	list, err := listReader{name: "list", limit: 1000}.read(broken)
	if !errors.Is(err, errTooLarge) || list.prefixes.Len() > 0 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestManyServices checks that ten thousand services of each shape are read, compiled and tested.
// Tests of package firewall check that the time is proportional.
func TestManyServices(t *testing.T) {
	for name, shape := range serviceShapes {
		c, err := mustParse(
			t,
			manyServices(2000, shape),
		).Compile(context.Background(), &Networks{Now: testClock})
		if err != nil {
			t.Fatal(name, err)
		}
		for _, r := range c.RunTests(testClock()) {
			if !r.OK {
				t.Fatalf("%s: %+v", name, r)
			}
		}
	}
}

func TestClashesAreCapped(t *testing.T) {
	_, err := Parse("policy.yaml",
		[]byte(manyServices(3000, func(int) string { return "port: 443" })))
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != maxProblems+1 {
		t.Fatalf("%d problems, %.300v", len(problems), err)
	}
}
