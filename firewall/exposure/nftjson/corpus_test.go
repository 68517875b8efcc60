package nftjson

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/exposuretest"
)

var update = flag.Bool(
	"update",
	false,
	"record testdata/*.json with nft (as root), and write *.golden anew: read the difference",
)

func content(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func show(t testing.TB, text string) string {
	t.Helper()
	rs := &exposure.Ruleset{}
	if err := ReadJSON("f", strings.NewReader(text), rs); err != nil {
		t.Fatal(err)
	}
	return exposuretest.Ruleset(rs)
}

// *.nft are rulesets as the programs in their names write them, *.json what nft 1.0.6 prints, and
// *.golden how the reader translates it. constructs.json has every statement and expression that
// the kernel accepted.
func TestCorpora(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 4 {
		t.Fatal(err, files)
	}
	for _, file := range files {
		golden := strings.TrimSuffix(file, ".json") + ".golden"
		got := show(t, content(t, file))
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got != content(t, golden) {
			t.Errorf("%s differs. Got:\n%s", golden, got)
		}
	}
}

func TestCorporaAreRealOutput(t *testing.T) {
	files, err := filepath.Glob("testdata/*.nft")
	if err != nil || len(files) < 3 {
		t.Fatal(err, files)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			backendtest.Isolate(t)
			backendtest.Program(t, "", "ip", "link", "set", "lo", "up")
			backendtest.Program(t, "", "nft", "-f", file)
			out := backendtest.Program(t, "", "nft", "-j", "list", "ruleset")
			recorded := strings.TrimSuffix(file, ".nft") + ".json"
			if *update {
				if err := os.WriteFile(recorded, []byte(out), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got, want := inOrder(show(t, out)), inOrder(show(t, content(t, recorded))); got != want {
				t.Errorf("this nft prints something else. Got:\n%s", got)
			}
		})
	}
}

// inOrder removes the sets, as their elements are in the order of the kernel's hash.
func inOrder(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		if !strings.Contains(line, "@") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

func FuzzReadJSON(f *testing.F) {
	for _, name := range []string{"fail2ban", "kube-proxy", "constructs"} {
		f.Add(content(f, "testdata/"+name+".json"))
	}
	for _, s := range rulesOfNewVersions {
		f.Add(
			`{"nftables":[{"table":{"family":"inet","name":"t"}},{"chain":{"family":"inet","table":"t","name":"c"}},{"rule":{"family":"inet","table":"t","chain":"c","expr":[` + s.expr + `]}}]}`,
		)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rs := &exposure.Ruleset{}
		if err := ReadJSON("f", strings.NewReader(text), rs); err != nil {
			if len(rs.Tables) > 0 {
				t.Error("an error, and tables")
			}
			return
		}
		for _, table := range rs.Tables {
			for _, c := range table.Chains {
				for _, r := range c.Rules {
					for _, s := range r.Statements {
						check(t, s)
					}
				}
			}
		}
	})
}

// check tests a statement against the model's rules for all statements.
func check(t *testing.T, s exposure.Statement) {
	switch s := s.(type) {
	case exposure.Match:
		if len(s.Key) == 0 || len(s.Key) != s.In.Width {
			t.Errorf("%s", exposuretest.Statement(s))
		}
		checkSet(t, s.In)
	case exposure.VerdictMap:
		if len(s.Key) == 0 || len(s.Key) != s.In.Width {
			t.Errorf("%s", exposuretest.Statement(s))
		}
		checkSet(t, s.In)
	case exposure.Assign:
		for _, v := range s.Value {
			checkOperand(t, v)
		}
	case exposure.NAT:
		for _, o := range []*exposure.Operand{s.Addr, s.AddrMax, s.Port, s.PortMax} {
			if o != nil {
				checkOperand(t, *o)
			}
		}
	}
}

func checkOperand(t *testing.T, o exposure.Operand) {
	if o.Field != exposure.FieldMap {
		return
	}
	l := o.Lookup
	if l == nil || len(l.Key) != l.In.Width ||
		l.In.Unknown == "" && (l.Column < 0 || l.Column >= l.In.DataWidth) {
		t.Errorf("%s", exposuretest.Operand(o))
	}
	checkSet(t, l.In)
}

func checkSet(t *testing.T, s *exposure.Set) {
	n := s.Len()
	if s.Default {
		n++
	}
	if s.Width > 0 && len(s.Keys)%s.Width != 0 ||
		s.Unknown == "" && (s.Default || len(s.Verdicts) > 0 || len(s.Data) > 0) && len(s.Verdicts) != n &&
			len(s.Data) != n*s.DataWidth {
		t.Errorf("%s", exposuretest.Set(s))
	}
	for _, r := range s.Keys {
		if r.To.Compare(r.From) < 0 {
			t.Errorf("a range that ends before it begins: %v", r)
		}
	}
}
