package nft

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// inNamespace moves the test into a fresh network namespace. The thread is never given back, so
// nothing can leak into the machine's own.
func inNamespace(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: not root: this test needs a network namespace of its own")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("unshare: %v", err)
	}
}

func nftProgram(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command("nft", args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("nft %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func open(t *testing.T) *Backend {
	t.Helper()
	b, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func reconciler(b firewall.Backend) *firewall.Reconciler {
	return &firewall.Reconciler{Backend: b, Now: time.Now, Log: discard}
}

func mustCanonical(t *testing.T, s firewall.State) firewall.State {
	t.Helper()
	c, err := s.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// everything uses each feature at least once.
func everything(t *testing.T) firewall.State {
	tcp := func(first, last uint16) firewall.PortRange {
		return firewall.PortRange{Protocol: firewall.TCP, First: first, Last: last}
	}
	var many []netip.Prefix
	for i := range 600 {
		many = append(many, netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, byte(i / 100), byte(i%100) * 2}), 32))
	}
	hosts, err := firewall.NewPrefixes(append(many, netip.MustParsePrefix("10.9.0.0/16"))...)
	if err != nil {
		t.Fatal(err)
	}
	return mustCanonical(t, firewall.State{
		Unlisted: firewall.UnlistedDeny, Refuse: firewall.RefuseReject, Established: firewall.EstablishedKeep, Essentials: firewall.AllEssentials,
		Services: []firewall.Service{
			{Name: "prometheus", Ports: []firewall.PortRange{tcp(9090, 9090)}, Sources: firewall.MustPrefixes("10.20.0.0/16", "198.51.100.7/32", "2001:db8::/32"), Log: firewall.LogDenied},
			{Name: "web", Ports: []firewall.PortRange{tcp(80, 80), tcp(443, 443), {Protocol: firewall.UDP, First: 443, Last: 443}}, Sources: firewall.MustPrefixes("0.0.0.0/0", "::/0"), Log: firewall.LogNone},
			{Name: "ssh-in", Ports: []firewall.PortRange{tcp(22, 22)}, Interfaces: []string{"eth1", "wg*"}, Sources: firewall.MustPrefixes("10.0.0.0/8"), Log: firewall.LogAll,
				Rate: &firewall.Rate{Count: 20, Per: time.Second, Burst: 40}},
			{Name: "ssh-out", Ports: []firewall.PortRange{tcp(22, 23)}, Interfaces: []string{"eth0"}, Addresses: firewall.MustPrefixes("192.0.2.10/32", "2001:db8::10/128"),
				Sources: firewall.MustPrefixes("203.0.113.0/24"), Log: firewall.LogDenied},
			{Name: "nobody", Ports: []firewall.PortRange{{Protocol: firewall.SCTP, First: 9000, Last: 9100}}, Log: firewall.LogDenied},
			{Name: "lease", Ports: []firewall.PortRange{tcp(5432, 5432)}, Sources: firewall.MustPrefixes("10.1.0.0/16"), Log: firewall.LogDenied,
				Expiring: []firewall.ExpiringSource{{Prefix: netip.MustParsePrefix("203.0.113.7/32"), Until: time.Now().Add(time.Hour)}, {Prefix: netip.MustParsePrefix("2001:db8:7::/64"), Until: time.Now().Add(2 * time.Hour)}}},
			{Name: "many", Ports: []firewall.PortRange{tcp(6000, 6000)}, Sources: hosts, Log: firewall.LogNone},
		},
	})
}

func simple(t *testing.T) firewall.State {
	return mustCanonical(t, firewall.State{Unlisted: firewall.UnlistedIgnore, Refuse: firewall.RefuseDrop, Established: firewall.EstablishedCut,
		Services: []firewall.Service{{Name: "prometheus", Ports: []firewall.PortRange{{Protocol: firewall.TCP, First: 9090, Last: 9090}},
			Sources: firewall.MustPrefixes("10.0.0.0/8", "fc00::/7"), Log: firewall.LogDenied}}})
}

func apply(t *testing.T, b firewall.Backend, s *firewall.State) firewall.Outcome {
	t.Helper()
	out, err := reconciler(b).Apply(context.Background(), s, false)
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	return out
}

func planOf(t *testing.T, b firewall.Backend, s *firewall.State) firewall.Plan {
	t.Helper()
	p, _, err := reconciler(b).Plan(context.Background(), s)
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	return p
}

func TestApplyIsIdempotent(t *testing.T) {
	inNamespace(t)
	b := open(t)
	for name, state := range map[string]firewall.State{"simple": simple(t), "everything": everything(t)} {
		if out := apply(t, b, &state); out.Plan.InSync() {
			t.Errorf("%s: the first apply changed nothing", name)
		}
		before, _ := b.kernel.generation()
		if out := apply(t, b, &state); !out.Plan.InSync() {
			t.Errorf("%s: the second apply changed %v", name, out.Plan.Changes)
		}
		if after, _ := b.kernel.generation(); after != before {
			t.Errorf("%s: the second apply committed to the kernel (generation %d → %d)", name, before, after)
		}
	}
}

func TestTeardownLeavesNoTrace(t *testing.T) {
	inNamespace(t)
	nftProgram(t, "table ip other {\n chain c {\n type filter hook input priority 0\n }\n }\n", "-f", "-")
	before := nftProgram(t, "", "list", "ruleset")
	b, state := open(t), everything(t)
	apply(t, b, &state)
	apply(t, b, nil)
	if diff := cmp.Diff(before, nftProgram(t, "", "list", "ruleset")); diff != "" {
		t.Errorf("ruleset after teardown (-before +after):\n%s", diff)
	}
}

func TestScriptMakesTheSameObjects(t *testing.T) {
	inNamespace(t)
	b, state := open(t), everything(t)
	nftProgram(t, Script(state, time.Now()), "-f", "-")
	if p := planOf(t, b, &state); !p.InSync() {
		t.Errorf("after nft -f of the script, apply would change:\n%s", changesText(p))
	}
	nftProgram(t, Script(simple(t), time.Now()), "-f", "-") // loads over the other one
	small := simple(t)
	if p := planOf(t, b, &small); !p.InSync() {
		t.Errorf("after loading another script, apply would change:\n%s", changesText(p))
	}
}

func changesText(p firewall.Plan) string {
	var b strings.Builder
	for _, c := range p.Changes {
		fmt.Fprintf(&b, "%s\n", c)
	}
	return b.String()
}
