package main

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/portgrave/portgrave/policy"
)

// What check reads of the host it reads once, for however many policies, and the sockets only if
// one of them refuses what isn't listed.
func TestCheckReadsTheHostOnce(t *testing.T) {
	hosts, sockets := 0, 0
	here := readOnce(
		func() (policy.Host, error) { hosts++; return policy.Host{}, nil },
		func() []netip.AddrPort {
			sockets++
			return []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:22")}
		},
	)
	inv := &invocation{
		ctx: t.Context(), screen: &screen{err: io.Discard}, suits: "nftables", stateDir: t.TempDir(),
	}
	check := func(n int, unlisted string) checkedPolicy {
		path := filepath.Join(t.TempDir(), "policy.yaml")
		text := fmt.Sprintf("version: 1\nunlisted: %s\nservices: [{name: a, port: %d, allow: [any]}]\n",
			unlisted, n)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return inv.checkOne(path, here)
	}
	check(1, "ignore")
	if hosts != 1 || sockets != 0 {
		t.Errorf("without deny: the host was read %d times, its sockets %d times", hosts, sockets)
	}
	for n := range 3 {
		if p := check(n+2, "deny"); !p.Valid || len(p.Warnings) == 0 {
			t.Errorf("%+v", p)
		}
	}
	if hosts != 1 || sockets != 1 {
		t.Errorf("the host was read %d times, its sockets %d times", hosts, sockets)
	}
}
