package nfttext

import (
	"os"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Any text is either read or gives an error with its place, and questions about what was read can
// be answered.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"testdata/constructs.nft", "../nftjson/testdata/kube-proxy.nft", "../nftjson/testdata/firewalld.nft",
		"../nftjson/testdata/fail2ban.nft", "../rulesetfile/testdata/nexthdr.nft"} {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add(
		"define a = { 22, 80 }\nadd table t\nadd chain t c { type filter hook input priority -5; policy drop; }\nadd rule t c tcp dport $a accept\n",
	)
	f.Fuzz(func(t *testing.T, text string) {
		rs := &exposure.Ruleset{}
		if err := Read("f", strings.NewReader(text), rs); err != nil {
			if len(rs.Tables) > 0 || !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("%d tables, %v", len(rs.Tables), err)
			}
			return
		}
		q := exposure.Question{
			Family:    address.IPv4,
			Protocol:  firewall.TCP,
			Interface: "eth0",
			Port:      22,
		}
		if _, err := exposure.Evaluate(rs, nil, q); err != nil {
			t.Error(err)
		}
	})
}
