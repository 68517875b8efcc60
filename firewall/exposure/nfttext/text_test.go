package nfttext

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/exposuretest"
	"github.com/portgrave/portgrave/firewall/exposure/nftjson"
)

// show prints a ruleset without the rules' text, which differs between nft's languages.
func show(rs *exposure.Ruleset) string {
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				r.Text = ""
			}
		}
	}
	return exposuretest.Ruleset(rs)
}

func readText(t testing.TB, text string) *exposure.Ruleset {
	t.Helper()
	rs := &exposure.Ruleset{}
	if err := Read("f", strings.NewReader(text), rs); err != nil {
		t.Fatal(err)
	}
	return rs
}

// Both readers read the same ruleset from nft's text and its JSON.
func TestTextSaysWhatJSONSays(t *testing.T) {
	files, err := filepath.Glob("testdata/*.nft")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("../nftjson/testdata/*.nft")
	if err != nil || len(more) < 3 {
		t.Fatal(err, more)
	}
	for _, file := range append(files, more...) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			backendtest.Isolate(t)
			backendtest.Program(t, "", "ip", "link", "set", "lo", "up")
			backendtest.Program(t, "", "nft", "-f", file)
			script, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			rs := &exposure.Ruleset{}
			listing := backendtest.Program(t, "", "nft", "-j", "list", "ruleset")
			if err := nftjson.ReadJSON("f", strings.NewReader(listing), rs); err != nil {
				t.Fatal(err)
			}
			want := split(show(rs))
			for what, text := range map[string]string{
				"the listing":              backendtest.Program(t, "", "nft", "list", "ruleset"),
				"the listing with handles": backendtest.Program(t, "", "nft", "-a", "list", "ruleset"),
				"the script":               string(script),
			} {
				got := split(show(readText(t, text)))
				for i := range max(len(got), len(want)) {
					if i >= len(got) || i >= len(want) || got[i] != want[i] {
						t.Errorf(
							"%s differs in line %d.\n got %q\nwant %q",
							what,
							i,
							at(got, i),
							at(want, i),
						)
						break
					}
				}
			}
		})
	}
}

// burst matches what nft prints in one language only: the default burst, the default answer of
// "reject".
var burst = regexp.MustCompile(`( burst [0-9]+| icmpx? port-unreachable| icmpv6 port-unreachable)`)

// split returns the lines, without what nft 1.0.6 omits from its JSON (devices, the flags of maps),
// and with the elements of sets sorted.
func split(s string) []string {
	var out []string
	for line := range strings.Lines(s) {
		if strings.HasPrefix(line, "missing ") {
			continue
		}
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), " grows")
		line, _, _ = strings.Cut(line, " devices [")
		line = burst.ReplaceAllString(line, "")
		if before, list, ok := strings.Cut(line, "{"); ok {
			list, after, _ := strings.Cut(list, "}")
			elements := strings.Split(list, ", ")
			slices.Sort(elements)
			line = before + "{" + strings.Join(elements, ", ") + "}" + after
		}
		out = append(out, line)
	}
	return out
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}

// Included files aren't read: nothing is certain, and what they may declare is no error.
func TestIncluded(t *testing.T) {
	for _, text := range []string{
		"include \"/etc/x\"\ntable ip t { chain c { type filter hook input priority 0;\n jump gone\n }\n chain d { drop\n }\n }",
		"table ip t { chain c { type filter hook input priority 0\n include '/etc/x'; jump gone\n }\n chain d { drop\n }\n }",
		"table ip t { include /etc/x\n chain c { type filter hook input priority 0;\n jump gone\n }\n chain d { drop\n }\n }",
	} {
		rs := readText(t, text)
		var got []string
		for _, c := range rs.Tables[0].Chains {
			for _, r := range c.Rules {
				got = append(got, exposuretest.Statements(r.Statements))
			}
		}
		if s := strings.Join(got, " | "); s != "unknown effect: rules of included files | jump gone | drop" {
			t.Errorf("%s:\n%s", text, s)
		}
		if len(rs.Missing) != 1 || rs.Missing[0].What != "/etc/x, which f includes" {
			t.Errorf("%s: %+v", text, rs.Missing)
		}
	}
}

// A set that isn't in the listing is undecided, and named once.
func TestAbsentSets(t *testing.T) {
	rs := readText(t, "table ip t { chain c { ip saddr @gone accept\n ip daddr @gone drop\n }\n }")
	want := "f: set gone isn't in table ip t, and rules that look it up are undecided: give the whole output of `nft list ruleset`"
	if len(rs.Partly) != 1 || rs.Partly[0] != want {
		t.Errorf("%q", rs.Partly)
	}
}
