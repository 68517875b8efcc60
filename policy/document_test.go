package policy

import (
	"context"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
)

// What lets in everybody but a few is written with except, and compiles to the same sources.
func TestDocumentWritesWhatIsShorter(t *testing.T) {
	everyone := firewall.MustPrefixes("0.0.0.0/0", "::/0")
	for _, c := range []struct {
		sources firewall.Prefixes
		want    string
	}{
		{everyone.Minus(firewall.MustPrefixes("64.0.0.0/3", "::1/128")), `    allow: [any]
    except: [64.0.0.0/3, "::1"]
`},
		{firewall.MustPrefixes("10.0.0.0/8", "192.0.2.1/32"), "    allow: [10.0.0.0/8, 192.0.2.1]\n"},
	} {
		document := Document([]firewall.Service{{Name: "web", Ports: []firewall.PortRange{{Protocol: firewall.TCP, First: 80, Last: 80}}, Sources: c.sources}}, nil)
		if !strings.Contains(document, c.want) {
			t.Errorf("%s", document)
		}
		p, err := Parse("policy.yaml", []byte(document))
		if err != nil {
			t.Fatal(err)
		}
		compiled, err := p.Compile(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := compiled.State.Services[0].Sources; !got.Equal(c.sources) {
			t.Errorf("%v, want %v", got.Strings(), c.sources.Strings())
		}
	}
}
