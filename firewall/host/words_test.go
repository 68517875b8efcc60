package host

import (
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/policydiff"
	"github.com/portgrave/portgrave/policy"
)

const (
	named1 = "version: 1\nnetworks: {office: [203.0.113.0/24], lab: [10.1.0.0/16]}\n" +
		"services: [{name: metrics, allow: [office, lab]}]\n"
	named2 = "version: 1\nnetworks: {office: [203.0.113.0/24], vpn: [10.8.0.0/16]}\n" +
		"services: [{name: metrics, allow: [office, vpn]}]\n"
)

// withText is a policy as a client sends it that knows its text alone.
func withText(t *testing.T, document string) *Policy {
	t.Helper()
	p, err := policy.Parse("policy.yaml", []byte(document))
	if err != nil {
		t.Fatal(err)
	}
	q := compile(t, document)
	q.Text = p.Text()
	return q
}

// opens and closes of the one service that changes.
func changed(t *testing.T, list []policydiff.Change) (opens, closes string) {
	t.Helper()
	if len(list) != 1 || list[0].Service != "metrics" || list[0].Action != policydiff.Modify {
		t.Fatalf("services are %+v", list)
	}
	word := func(list []policydiff.Opening) (text string) {
		for _, o := range list {
			text += o.Network
			if o.Network == "" {
				text += o.Sources[0]
			}
		}
		return text
	}
	return word(list[0].Opens), word(list[0].Closes)
}

// plan, apply and rollback name what they open and close by the texts of both policies; what others
// have changed doesn't come from the policy, and has an author.
func TestInWords(t *testing.T) {
	h := newHost(t)
	h.local.Written = func(text []byte, lists map[string]address.Set) *policydiff.Written {
		p, err := policy.ReadText(text)
		if err != nil {
			t.Error(err)
			return nil
		}
		return p.Written(lists)
	}
	h.local.Author = func() *firewall.Author { return &firewall.Author{Command: "nft", PID: 7} }
	first, second := withText(t, named1), withText(t, named2)
	a, err := h.ops.Apply(t.Context(), ApplyRequest{Policy: first})
	if err != nil || len(a.Services) != 1 || a.Services[0].Action != policydiff.Add {
		t.Fatalf("the first apply: %+v, %v", a, err)
	}
	plan := func(p *Policy) Difference {
		d, err := h.ops.Plan(t.Context(), PlanRequest{Policy: p})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if d := plan(first); !d.InSync || len(d.Services)+len(d.Restores) > 0 || d.Author != nil {
		t.Errorf("in sync, plan is %+v", d)
	}
	d := plan(second)
	if opens, closes := changed(t, d.Services); opens != "vpn" || closes != "lab" ||
		len(d.Restores) > 0 || d.Author != nil {
		t.Errorf("plan opens %s and closes %s: %+v", opens, closes, d)
	}
	a, err = h.ops.Apply(t.Context(), ApplyRequest{Policy: second})
	if err != nil {
		t.Fatal(err)
	}
	if opens, closes := changed(t, a.Services); opens != "vpn" || closes != "lab" {
		t.Errorf("apply opens %s and closes %s", opens, closes)
	}
	a, err = h.ops.Rollback(t.Context(), RollbackRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if opens, closes := changed(t, a.Services); opens != "lab" || closes != "vpn" {
		t.Errorf("rollback opens %s and closes %s", opens, closes)
	}
	n1, n2 := 1, 2
	d, err = h.ops.Plan(t.Context(), PlanRequest{From: &n1, To: &n2})
	if err != nil {
		t.Fatal(err)
	}
	if opens, closes := changed(t, d.Services); opens != "vpn" || closes != "lab" {
		t.Errorf("between generations it opens %s and closes %s", opens, closes)
	}
	bent := compile(t, own).State
	h.kernel.Set(&bent)
	for _, p := range []*Policy{first, second} {
		d := plan(p)
		if len(d.Restores) == 0 || d.Author == nil || d.Author.PID != 7 {
			t.Errorf("somebody has changed the kernel: %+v", d)
		}
		if same := p == first; same != (len(d.Services) == 0) {
			t.Errorf("the policy changes %+v", d.Services)
		}
	}
	h.local.Written = nil
	if opens, closes := changed(t, plan(second).Services); opens != "10.8.0.0/16" ||
		closes != "10.1.0.0/16" {
		t.Errorf("without names it opens %s and closes %s", opens, closes)
	}
}
