package nft

import (
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
)

func inNamespace(t *testing.T) { t.Helper(); backendtest.Isolate(t) }

func nftProgram(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	return backendtest.Program(t, stdin, "nft", args...)
}

func open(t testing.TB) *Backend {
	t.Helper()
	b, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// Short names for what every test here uses.
var (
	reconciler  = backendtest.Reconciler
	apply       = backendtest.Apply
	planOf      = backendtest.Plan
	changesText = backendtest.Changes
)

func everything(t testing.TB) firewall.State { return backendtest.Everything(t) }
func simple(t testing.TB) firewall.State     { return backendtest.Simple(t) }

func TestSuite(t *testing.T) {
	backendtest.Suite(t, backendtest.Subject{
		Open: func(t testing.TB) firewall.Backend { return open(t) },
		Before: func(t testing.TB) {
			nftProgram(
				t,
				"table ip other {\n chain c {\n type filter hook input priority 0\n }\n }\n",
				"-f",
				"-",
			)
		},
		Snapshot: func(t testing.TB) string {
			return regexp.MustCompile(` expires [0-9a-z]+`).
				ReplaceAllString(nftProgram(t, "", "list", "ruleset"), "")
		},
	})
}

func TestIdleApplyCommitsNothing(t *testing.T) {
	inNamespace(t)
	b, state := open(t), everything(t)
	apply(t, b, &state)
	before, _ := b.kernel.Generation()
	apply(t, b, &state)
	if after, _ := b.kernel.Generation(); after != before {
		t.Errorf("the second apply committed to the kernel (generation %d → %d)", before, after)
	}
}

func TestScriptMakesTheSameObjects(t *testing.T) {
	inNamespace(t)
	b, state := open(t), everything(t)
	nftProgram(t, Script(state, time.Now()), "-f", "-")
	if p := planOf(t, b, &state); !p.InSync() {
		t.Errorf("after nft -f of the script, apply would change:\n%s", changesText(p))
	}
	answers := state
	answers.Unlisted, answers.Essentials = firewall.UnlistedDeny, firewall.AllEssentials
	answers.Connected = address.Must("10.0.0.0/8", "2001:db8::/64")
	nftProgram(t, Script(answers, time.Now()), "-f", "-")
	if p := planOf(t, b, &answers); !p.InSync() {
		t.Errorf("after nft -f of the script with answers, apply would change:\n%s", changesText(p))
	}
	nftProgram(t, Script(simple(t), time.Now()), "-f", "-") // loads over the other one
	small := simple(t)
	if p := planOf(t, b, &small); !p.InSync() {
		t.Errorf("after loading another script, apply would change:\n%s", changesText(p))
	}
}

// The kernel sorts a hash table that has grown or shrunk anew, behind everybody's back. What is
// read meanwhile is right all the same.
func TestReadWhileTheKernelSortsAnew(t *testing.T) {
	inNamespace(t)
	b, few := open(t), simple(t)
	many := few
	many.Services = slices.Clone(few.Services)
	many.Services[0].Ports = []firewall.PortRange{{Protocol: firewall.TCP, First: 1, Last: 65535}}
	for range 10 {
		apply(t, b, &many)
		apply(t, b, &few)
	}
}
