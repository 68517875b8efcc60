package nftables

import (
	"context"
	"testing"

	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// dial opens a socket in the test's namespace.
func dial(t testing.TB) *netlink.Conn {
	t.Helper()
	c, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// read reads the test's namespace.
func read(t testing.TB, o Options) *exposure.Ruleset {
	t.Helper()
	rs := &exposure.Ruleset{}
	if err := Read(context.Background(), dial(t), rs, o); err != nil {
		t.Fatal(err)
	}
	return rs
}

// nft loads a script.
func nft(t testing.TB, script string) {
	t.Helper()
	backendtest.Program(t, script, "nft", "-f", "-")
}

// rulesOf lists all rules in order.
func rulesOf(rs *exposure.Ruleset) []*exposure.Rule {
	var out []*exposure.Rule
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			out = append(out, c.Rules...)
		}
	}
	return out
}
