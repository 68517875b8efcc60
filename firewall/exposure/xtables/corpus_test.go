package xtables

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/exposuretest"
)

var update = flag.Bool(
	"update",
	false,
	"record testdata/*.save with the real programs (as root), and write *.golden anew: read the difference",
)

// corpora are rulesets as the programs that they are named for write them: *.rules is what was
// loaded, *.save what iptables-save made of it, *.golden what we make of that.
func corpora(t testing.TB) []string {
	files, err := filepath.Glob("testdata/*.rules")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for i := range files {
		files[i] = strings.TrimSuffix(files[i], ".rules")
	}
	return files
}

func read(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// setsFor reads the ipsets of a corpus, if it has any.
func setsFor(t testing.TB, corpus string) *Sets {
	sets := NewSets()
	base, _, _ := strings.Cut(filepath.Base(corpus), ".")
	if b, err := os.ReadFile("testdata/" + base + ".sets"); err == nil {
		if err := sets.Read(base+".sets", bytes.NewReader(b), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	return sets
}

func TestCorpora(t *testing.T) {
	for _, corpus := range corpora(t) {
		t.Run(filepath.Base(corpus), func(t *testing.T) {
			rs := &exposure.Ruleset{}
			if err := ReadSave("save", exposure.FamilyUnspec, strings.NewReader(read(t, corpus+".save")), setsFor(t, corpus), rs); err != nil {
				t.Fatal(err)
			}
			got := exposuretest.Ruleset(rs)
			if *update {
				if err := os.WriteFile(corpus+".golden", []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := read(t, corpus+".golden"); got != want {
				t.Errorf("%s.golden differs. Got:\n%s", corpus, got)
			}
		})
	}
}

var volatile = regexp.MustCompile(`(?m)^#.*\n|\[\d+:\d+\]`)

// The recorded files are what the real programs print, and both variants print what comes to the
// same statements.
func TestCorporaAreRealOutput(t *testing.T) {
	for _, corpus := range corpora(t) {
		for _, variant := range []string{"nft", "legacy"} {
			t.Run(filepath.Base(corpus)+"/"+variant, func(t *testing.T) {
				backendtest.Isolate(t)
				program := "iptables-" + variant
				if strings.HasSuffix(corpus, ".v6") {
					program = "ip6tables-" + variant
				}
				base, _, _ := strings.Cut(filepath.Base(corpus), ".")
				if b, err := os.ReadFile("testdata/" + base + ".sets"); err == nil {
					backendtest.Program(t, string(b), "ipset", "restore")
				}
				backendtest.Program(t, read(t, corpus+".rules"), program+"-restore")
				out := backendtest.Program(t, "", program+"-save")
				if *update && variant == "legacy" {
					if err := os.WriteFile(corpus+".save", []byte(out), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				// The variants list tables in different orders.
				want := read(t, corpus+".save")
				if variant == "legacy" &&
					volatile.ReplaceAllString(out, "") != volatile.ReplaceAllString(want, "") {
					t.Errorf("%s.save differs from what %s-save prints:\n%s", corpus, program, out)
				}
				a, b := tables(t, corpus, out), tables(t, corpus, want)
				for name := range b {
					if a[name] != b[name] {
						t.Errorf("table %s. Got:\n%s\nwant:\n%s", name, a[name], b[name])
					}
				}
			})
		}
	}
}

// tables are the tables of a text, by name.
func tables(t *testing.T, corpus, text string) map[string]string {
	rs := &exposure.Ruleset{}
	if err := ReadSave("save", exposure.FamilyUnspec, strings.NewReader(text), setsFor(t, corpus), rs); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, table := range rs.Tables {
		out[table.Name] = exposuretest.Ruleset(&exposure.Ruleset{Tables: []*exposure.Table{table}})
	}
	return out
}
