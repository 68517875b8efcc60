package nft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func withKernel(k kernel) *Backend { return &Backend{kernel: k, close: func() error { return nil }} }

// decide walks the ruleset as the kernel would, for a packet that starts a connection from outside to
// the host. It knows just the rules that compile makes.
func (r *ruleset) decide(f firewall.Flow) firewall.Verdict {
	ports := r.sets[portsMap]
	base := r.chains[baseChain]
	if ports == nil || base == nil || len(base.rules) == 0 {
		return firewall.Ignored
	}
	v, ok := ports.verdicts[portKey(f.Protocol, f.Port)]
	if !ok {
		if strings.Contains(base.rules[len(base.rules)-1].canon, "immediate") && r.chains[unlistedChain] != nil {
			return firewall.Refused
		}
		return firewall.Ignored
	}
	return r.walk(v.chain, f)
}

func (r *ruleset) walk(name string, f firewall.Flow) firewall.Verdict {
	switch {
	case strings.HasSuffix(name, "/allow"):
		return firewall.Allowed
	case strings.HasSuffix(name, "/refuse"):
		return firewall.Refused
	}
	for _, x := range r.chains[name].rules {
		if !r.matches(x, f) {
			continue
		}
		for _, ref := range x.references() {
			if r.chains[ref] != nil {
				return r.walk(ref, f)
			}
		}
		return firewall.Allowed
	}
	return firewall.Ignored
}

// matches evaluates interface, address and source conditions from the rule's text.
func (r *ruleset) matches(x rule, f firewall.Flow) bool {
	words := strings.Fields(textOf(x))
	for i, w := range words {
		switch w {
		case "iifname":
			if !firewall.MatchInterface(strings.Trim(words[i+1], `"`), f.Interface) {
				return false
			}
		case "saddr", "daddr":
			addr := f.Source
			if w == "daddr" {
				addr = f.Destination
			}
			s := r.sets[strings.TrimPrefix(words[i+1], "@")]
			if !slices.ContainsFunc(s.spans, func(p span) bool { return p.first.Compare(addr) <= 0 && addr.Compare(p.last) <= 0 }) {
				return false
			}
		}
	}
	return true
}

// texts remembers the text of every rule ever compiled, since rules read back have none.
var texts = map[string]string{}

func textOf(x rule) string { return texts[x.canon] }

func remember(r *ruleset) {
	for _, c := range r.chains {
		for _, x := range c.rules {
			texts[x.canon] = x.text
		}
	}
}

// The ruleset decides as State.Decide says; and at every commit between two States each packet
// meets the verdict of the one or of the other.
func TestEveryCommitShowsOldOrNew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := newFakeKernel()
		r := reconciler(withKernel(k))
		first := backendtest.Draw(t)
		second := backendtest.DrawNext(t, first)
		if _, err := r.Apply(context.Background(), &first, false); err != nil {
			t.Fatalf("first apply: %v", err)
		}
		k.seen = nil
		if _, err := r.Apply(context.Background(), &second, false); err != nil {
			t.Fatalf("second apply: %v", err)
		}
		now := time.Now()
		for _, s := range []firewall.State{first, second} {
			for _, both := range []bool{false, true} {
				use := slots{"a": both, "b": both, "c": both}
				remember(compile(s, now, use))
			}
		}
		for _, f := range backendtest.Probes() {
			was, is := first.Decide(f, now).Verdict, second.Decide(f, now).Verdict
			for i, ruleset := range k.seen {
				if got := ruleset.decide(f); got != was && got != is {
					t.Fatalf("commit %d of %d: %+v is %v; before it was %v, afterwards %v", i+1, len(k.seen), f, got, was, is)
				}
			}
			if got := k.rules.decide(f); got != is {
				t.Fatalf("%+v is %v, the State says %v", f, got, is)
			}
		}
	})
}

// A failure of any commit leaves the previous rules in force; a lost answer is found out by reading back.
func TestFaultAtEveryCommit(t *testing.T) {
	boom := errors.New("injected")
	for n := 1; n <= 3; n++ {
		for _, afterwards := range []bool{false, true} {
			t.Run(fmt.Sprintf("commit %d, done %v", n, afterwards), func(t *testing.T) {
				k := newFakeKernel()
				r := reconciler(withKernel(k))
				old, next := simple(t), simple(t)
				if _, err := r.Apply(context.Background(), &old, false); err != nil {
					t.Fatal(err)
				}
				next.Services = slices.Clone(old.Services)
				next.Services[0].Interfaces = []string{"eth0"}
				next.Services[0].Sources = firewall.MustPrefixes("192.0.2.0/24")
				k.commits = 0
				k.fail = func(i int) (error, error) {
					if i != n {
						return nil, nil
					}
					if afterwards {
						return nil, errNoAnswer
					}
					return boom, nil
				}
				_, err := r.Apply(context.Background(), &next, false)
				k.fail = nil
				left, _, perr := r.Plan(context.Background(), &old)
				if perr != nil {
					t.Fatal(perr)
				}
				switch {
				case err == nil:
					if p, _, _ := r.Plan(context.Background(), &next); !p.InSync() {
						t.Errorf("success was reported, but:\n%s", changesText(p))
					}
				case !left.InSync():
					t.Errorf("after %v the old rules differ:\n%s", err, changesText(left))
				case !afterwards && !strings.Contains(err.Error(), "previous rules are in force"):
					t.Errorf("the error does not say what holds: %v", err)
				}
				// Whatever happened, the next apply arrives.
				if _, err := r.Apply(context.Background(), &next, false); err != nil {
					t.Errorf("the next apply: %v", err)
				}
			})
		}
	}
}

func TestReadFailureChangesNothing(t *testing.T) {
	k := newFakeKernel()
	k.readFail = func(int) error { return unix.ENOBUFS }
	state := simple(t)
	if _, err := reconciler(withKernel(k)).Apply(context.Background(), &state, false); err == nil || k.commits != 0 {
		t.Errorf("err = %v after %d commits", err, k.commits)
	}
}

// Another writer between observation and commit: compared again, and given up after a few times.
func TestConflict(t *testing.T) {
	state := simple(t)
	for _, times := range []int{1, 1000} {
		k := newFakeKernel()
		k.between = func(n int, k *fakeKernel) {
			if n <= times {
				k.rules.generation++
			}
		}
		_, err := reconciler(withKernel(k)).Apply(context.Background(), &state, false)
		if times == 1 && err != nil {
			t.Errorf("one conflict: %v", err)
		}
		if times > 1 && (!errors.Is(err, firewall.ErrConflict) || k.rules.present) {
			t.Errorf("endless conflict: err = %v, table present %v", err, k.rules.present)
		}
	}
}
