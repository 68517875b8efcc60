package policy

import (
	"net/netip"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
)

// testClock always returns the same time.
func testClock() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

// mustParse reads a policy without mistakes.
func mustParse(t testing.TB, content string) *Policy {
	t.Helper()
	p, err := Parse("policy.yaml", []byte(content))
	if err != nil {
		t.Fatalf("%v\n%s", err, content)
	}
	return p
}

// mustCompile reads and compiles a policy without mistakes.
func mustCompile(t testing.TB, content string) *Compiled {
	t.Helper()
	c, err := mustParse(t, content).Compile(t.Context(), &Networks{Now: testClock})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func prefixes(cidrs ...string) address.Set { return address.Must(cidrs...) }
