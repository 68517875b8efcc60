package nft

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
)

// others tries everything that another program could do to our table.
var others = []string{
	"flush ruleset",
	"delete table inet portgrave",
	"flush chain inet portgrave prerouting",
	"insert rule inet portgrave prerouting accept",
	"delete element inet portgrave svc/list/nets-ipv4 { 60.0.0.0/8 }",
	"add element inet portgrave svc/list/nets-ipv4 { 8.8.8.0/24 }",
	"add table inet portgrave { flags dormant; }",
}

func lookAt(t *testing.T, b *Backend) firewall.Observation {
	t.Helper()
	o, err := b.Observe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func tryNft(script string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script + "\n")
	return cmd.Run()
}

func protect(t *testing.T, b *Backend) {
	t.Helper()
	p, err := b.Protect(context.Background(), true)
	if err != nil {
		t.Fatal(err)
	}
	if !b.canPersist {
		t.Fatalf("owned tables can't be tried here: %s", p.Reason)
	}
	if !p.Protected {
		t.Fatalf("not protected: %s", p.Reason)
	}
}

// What others try has no effect on an owned table; when the owner is gone the rules stand, and the
// next owner takes them over without a change.
func TestProtectedTable(t *testing.T) {
	inNamespace(t)
	b, state := open(t), simple(t)
	if p, err := b.Protect(context.Background(), true); err != nil || p.Protected ||
		b.canPersist && !strings.Contains(p.Reason, "no rules") {
		t.Errorf("without a table: %+v, %v", p, err)
	}
	apply(t, b, &state) // made as owned
	protect(t, b)
	before := nftProgram(t, "", "list", "ruleset")
	unharmed := func() {
		t.Helper()
		if after := nftProgram(t, "", "list", "ruleset"); after != before {
			t.Errorf("the table was changed:\n%s\nbefore:\n%s", after, before)
		}
	}
	for _, script := range others {
		err := tryNft(script)
		if script != "flush ruleset" && err == nil {
			t.Errorf("%s reported success", script)
		}
		unharmed()
	}
	// Another process of ours learns whose it is.
	second := open(t)
	wider := everything(t)
	_, err := reconciler(second).Apply(context.Background(), &wider, false)
	if !errors.Is(err, firewall.ErrProtected) || errors.Is(err, firewall.ErrPermission) {
		t.Errorf("a second writer: %v", err)
	}
	if p, err := second.Protect(context.Background(), true); err != nil || p.Protected ||
		!strings.Contains(p.Reason, "another process") {
		t.Errorf("a second owner: %+v, %v", p, err)
	}
	unharmed()
	// The owner itself writes as before.
	apply(t, b, &wider)
	apply(t, b, &state)
	before = nftProgram(t, "", "list", "ruleset") // chains that went and came again stand elsewhere
	generation, _ := second.kernel.Generation()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	before = strings.ReplaceAll(before, "flags owner,persist", "flags persist")
	if r, err := second.kernel.table(); err != nil || r.flags != tablePersist {
		t.Fatalf("flags %d after the owner's end, %v", r.flags, err)
	}
	if notes := lookAt(t, second).Notes(); len(notes) != 1 ||
		!strings.Contains(notes[0], "flag persist") {
		t.Errorf("notes of a table without its owner: %q", notes)
	}
	third := open(t)
	protect(t, third)
	if notes := lookAt(t, third).Notes(); len(notes) != 0 {
		t.Errorf("notes of an owned table: %q", notes)
	}
	apply(t, third, &state)
	if p := planOf(t, second, &state); !p.InSync() {
		t.Errorf("taking over changed the rules:\n%s", changesText(p))
	}
	if after, _ := second.kernel.Generation(); after != generation+1 {
		t.Errorf("taking over took %d commits", after-generation)
	}
	switchProtection(t, third, false, &state)
	apply(t, second, &wider)
	switchProtection(t, third, true, &wider)
	if third.Close() != nil || second.Close() != nil {
		t.Error("closing failed")
	}
}

// Asking whether the kernel can leaves no trace.
func TestProbeChangesNothing(t *testing.T) {
	inNamespace(t)
	b := open(t)
	before, _ := b.kernel.Generation()
	b.kernel.(*netlinkKernel).canPersist()
	if after, _ := b.kernel.Generation(); after != before ||
		nftProgram(t, "", "list", "ruleset") != "" {
		t.Errorf("generation %d became %d", before, after)
	}
}

// A program that knows the flag persist can put a table that has it to sleep.
func TestDormantPersistentTableIsWoken(t *testing.T) {
	inNamespace(t)
	b, state := open(t), simple(t)
	b.flags = tablePersist
	apply(t, b, &state)
	if err := b.kernel.commit([]op{flagTable{b.flags | tableDormant}}, 0); err != nil {
		t.Fatal(err)
	}
	if p := planOf(t, b, &state); len(p.Changes) != 1 ||
		!strings.Contains(changesText(p), "dormant") {
		t.Fatalf("the plan says:\n%s", changesText(p))
	}
	apply(t, b, &state)
	if r, err := b.kernel.table(); err != nil || r.flags != b.flags {
		t.Errorf("flags %d, %v", r.flags, err)
	}
}

// A table that somebody put to sleep enforces nothing. It is woken, with everything else that was
// done to it undone.
func TestDormantTableIsWoken(t *testing.T) {
	for name, script := range map[string]string{
		"asleep":                    "",
		"and the base chain moved":  "flush chain inet portgrave prerouting\ndelete chain inet portgrave prerouting\nadd chain inet portgrave prerouting { type filter hook input priority 5; }",
		"and the base chain gone":   "flush chain inet portgrave prerouting\ndelete chain inet portgrave prerouting",
		"and elements gone":         "flush set inet portgrave svc/list/nets-ipv4",
		"and sources gone":          "flush chain inet portgrave svc/prometheus",
		"and another hook":          "add chain inet portgrave mine { type filter hook input priority 0; policy drop; }",
		"and everything else empty": "flush table inet portgrave",
	} {
		t.Run(name, func(t *testing.T) {
			inNamespace(t)
			b, state := open(t), everything(t)
			apply(t, b, &state)
			nftProgram(t, "add table inet portgrave { flags dormant; }\n", "-f", "-")
			nftProgram(t, strings.ReplaceAll(script, "; ", "\n")+"\n", "-f", "-")
			if p := planOf(t, b, &state); p.InSync() ||
				!strings.Contains(changesText(p), "dormant") {
				t.Fatalf("the plan says:\n%s", changesText(p))
			}
			apply(t, b, &state)
			if r, err := b.kernel.table(); err != nil || r.flags&tableDormant != 0 {
				t.Errorf("flags %d, %v", r.flags, err)
			}
		})
	}
}
