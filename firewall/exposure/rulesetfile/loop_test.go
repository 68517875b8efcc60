package rulesetfile

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/backendtest"
)

// Chains that packets could run through without end are an error that names them, in nft's text and
// JSON. The kernel decides which these are: it takes loops of chains that nothing runs.
func TestLoops(t *testing.T) {
	const base = "\tchain in {\n\t\ttype filter hook input priority 0; policy accept;\n\t\t"
	for _, c := range []struct{ name, text, want string }{
		{"jumps", "table ip t {\n" + base + "jump a\n\t}\n\tchain a {\n\t\tjump b\n\t}\n" +
			"\tchain b {\n\t\ttcp dport 22 accept\n\t\tip saddr 10.0.0.1 goto a\n\t}\n}\n",
			"f:11:1: table ip t: chain b leads back to chain a: chains may not jump in a loop " +
				"(a → b → a)"},
		{"a chain itself", "table inet t {\n" + base + "jump a\n\t}\n\tchain a {\n\t\tjump a\n\t}\n}\n",
			"f:7:1: table inet t: chain a leads back to chain a"},
		{"a map of verdicts", "table ip t {\n\tmap m {\n\t\ttype ipv4_addr : verdict\n" +
			"\t\telements = { 10.0.0.1 : accept, 10.0.0.2 : jump a }\n\t}\n" + base +
			"ip saddr vmap @m\n\t}\n\tchain a {\n\t\tip daddr vmap @m\n\t}\n}\n",
			"f:11:1: table ip t: chain a leads back to chain a"},
		{"a map in a rule", "table ip t {\n" + base + "jump a\n\t}\n" +
			"\tchain a {\n\t\tip saddr vmap { 10.0.0.2 : goto a }\n\t}\n}\n", "f:7:1: table ip t"},
		{"which nothing runs", "table ip t {\n\tchain a {\n\t\tjump b\n\t}\n" +
			"\tchain b {\n\t\tjump a\n\t}\n}\n", ""},
		{"run twice", "table ip t {\n" + base + "jump a\n\t\tjump b\n\t}\n" +
			"\tchain a {\n\t\tjump b\n\t}\n\tchain b {\n\t\tdrop\n\t}\n}\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load(File{Name: "f", Text: strings.NewReader(c.text)})
			if (err == nil) != (c.want == "") ||
				err != nil && !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
			t.Run("the kernel", func(t *testing.T) {
				backendtest.Isolate(t)
				nft := exec.Command("nft", "-f", "-")
				nft.Stdin = strings.NewReader(c.text)
				if out, err := nft.CombinedOutput(); (err == nil) != (c.want == "") {
					t.Errorf("%v\n%s", err, out)
				}
			})
		})
	}
	_, err := Load(File{Name: "f", Text: strings.NewReader(`{"nftables": [` +
		`{"table": {"family": "ip", "name": "t"}}, ` +
		`{"chain": {"family": "ip", "table": "t", "name": "in", "type": "filter", ` +
		`"hook": "input", "prio": 0, "policy": "accept"}}, ` +
		`{"chain": {"family": "ip", "table": "t", "name": "a"}}, ` +
		`{"rule": {"family": "ip", "table": "t", "chain": "in", "expr": [{"jump": {"target": "a"}}]}}, ` +
		`{"rule": {"family": "ip", "table": "t", "chain": "a", "expr": [{"jump": {"target": "a"}}]}}]}`)})
	if err == nil || !strings.Contains(err.Error(), "table ip t: chain a leads back to chain a") {
		t.Error(err)
	}
}
