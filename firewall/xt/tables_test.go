package xt

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-iptables/iptables"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"golang.org/x/sys/unix"
)

// teardownPlan is a plan to remove everything, of what the kernel holds now.
func teardownPlan(t *testing.T, b *Backend) firewall.Plan {
	t.Helper()
	seen, err := b.Observe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	plan, err := b.Diff(nil, seen, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// A teardown arrives though somebody has taken our jumps out since it was planned.
func TestTeardownWithoutJumps(t *testing.T) {
	onBoth(t, func(t *testing.T, v variant) {
		b, state := open(t, v), backendtest.Everything(t)
		backendtest.Apply(t, b, &state)
		plan := teardownPlan(t, b)
		run(
			t,
			v,
			"iptables -F INPUT; ip6tables -t mangle -F PREROUTING; iptables -t security -F FORWARD",
		)
		if err := b.Apply(context.Background(), plan); err != nil {
			t.Error(err)
		}
		if left := teardownPlan(t, b); !left.InSync() {
			t.Errorf("left: %s", backendtest.Changes(left))
		}
		for f, base := range baseNames {
			for _, table := range []string{mangle, filter, security} {
				chains, err := b.kernel.(*programs).commands[program{v, f}].ListChains(table)
				if err != nil || strings.Contains(strings.Join(chains, " "), baseChain) {
					t.Errorf("%s table %s: %v %v", base, table, chains, err)
				}
			}
		}
	})
}

// The library's failures become ours: who holds the lock, who may do it.
func TestUnhookFails(t *testing.T) {
	backendtest.Isolate(t)
	b, state := open(t, legacy), backendtest.Everything(t)
	backendtest.Apply(t, b, &state)
	p := b.kernel.(*programs)
	key := program{legacy, address.IPv4}
	c := p.commands[key]
	var err error
	c.IPTables, err = iptables.New(iptables.Path(find("iptables-legacy")), iptables.Timeout(1))
	if err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(os.Getenv("XTABLES_LOCKFILE"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	s := step{program: &key, table: mangle, unhook: []jump{{"INPUT", "-j PORTGRAVE"}}}
	err = c.unhook(context.Background(), s)
	if err == nil || !strings.Contains(err.Error(),
		"iptables-legacy: another program held the xtables lock") {
		t.Errorf("%v", err)
	}
	stopped, stop := context.WithCancel(context.Background())
	stop()
	if err := c.unhook(stopped, s); err == nil {
		t.Error("it went on after its context had ended")
	}
}
