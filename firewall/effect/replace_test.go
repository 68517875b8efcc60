package effect

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/exposuretest"
	"github.com/portgrave/portgrave/firewall/exposure/live"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/nft"
	"github.com/portgrave/portgrave/firewall/xt"
)

// others are rules of other programs, in all systems.
const others = "*mangle\n:PREROUTING ACCEPT\n:INPUT ACCEPT\n" +
	"-A INPUT -p tcp -m tcp --dport 9 -j DROP\nCOMMIT\n*filter\n:INPUT DROP\n:FORWARD DROP\n:ufw-user-input -\n" +
	"-A INPUT -j ufw-user-input\n-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n"

// The rules that the effect is computed with are those that are read from the kernel once they are
// applied, whatever stood there before.
func TestReplacedIsWhatApplyLeaves(t *testing.T) {
	many := backendtest.Simple(t)
	many.Services = []firewall.Service{{
		Name:    "many",
		Log:     firewall.LogNone,
		Ports:   []firewall.PortRange{{Protocol: firewall.TCP, First: 7000, Last: 7001}},
		Sources: backendtest.Many(t, 20_000),
	}}
	states := map[string]*firewall.State{"nothing": nil}
	for name, s := range map[string]firewall.State{
		"everything": backendtest.Everything(t),
		"simple":     backendtest.Simple(t),
		"many":       backendtest.Canonical(t, many),
	} {
		states[name] = &s
	}
	for _, engine := range []struct {
		name    string
		open    func() (firewall.Backend, error)
		restore string
	}{
		{"nftables", func() (firewall.Backend, error) { return nft.New() }, "iptables-nft-restore"},
		{"iptables-nft", func() (firewall.Backend, error) {
			return xt.New(context.Background(), xt.NFVariant)
		}, "iptables-nft-restore"},
		{"iptables-legacy", func() (firewall.Backend, error) {
			return xt.New(context.Background(), xt.Legacy)
		}, "iptables-legacy-restore"},
	} {
		for before, from := range states {
			for after, to := range states {
				// each State in both parts, and not all pairs: a pair takes a second
				if to == nil || before == after || before == "simple" && after == "many" ||
					before == "many" && after == "simple" {
					continue
				}
				t.Run(engine.name+", "+before+" to "+after, func(t *testing.T) {
					backendtest.Isolate(t)
					backendtest.Program(t, others, engine.restore)
					backendtest.Program(t, "table inet old {\n\tchain i {\n"+
						"\t\ttype filter hook prerouting priority -110; policy accept\n"+
						"\t\ttcp dport 9091 drop\n\t}\n}\n", "nft", "-f", "-")
					b, err := engine.open()
					if err != nil {
						t.Fatal(err)
					}
					if from != nil {
						backendtest.Apply(t, b, from)
					}
					want := host.Wanted{State: *to}
					if engine.name != "nftables" {
						_, seen, err := backendtest.Reconciler(b).Plan(context.Background(), to)
						if err != nil {
							t.Fatal(err)
						}
						if want.IPTables, err = xt.Render(*to, seen, time.Now()); err != nil {
							t.Fatal(err)
						}
					}
					is := rules(t)
					untouched := text(is)
					replaced, err := Replaced(is, want, time.Now())
					if err != nil {
						t.Fatal(err)
					}
					if d := gocmp.Diff(untouched, text(is)); d != "" {
						t.Errorf("the rules that were given have changed:\n%s", d)
					}
					backendtest.Apply(t, b, to)
					if d := gocmp.Diff(text(rules(t)), text(replaced)); d != "" {
						t.Errorf("applied (-) and computed (+):\n%.4000s", d)
					}
				})
			}
		}
	}
}

func rules(t *testing.T) *exposure.Ruleset {
	t.Helper()
	rs, err := live.Rules(context.Background(), &exposure.Host{
		Interfaces: []exposure.Interface{{Name: "lo", Index: 1, Loopback: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

var (
	// otherName ends the name of a set whose content changed together with rules.
	otherName = regexp.MustCompile(`(@PORTGRAVE-[A-Z][46][^ {]*)\+|(@[^ {]*)\.2\b`)
	content   = regexp.MustCompile(`(@[^ {]*)\{[^}]*\}`)
	hashlimit = regexp.MustCompile(`unknown match: .*hashlimit.*(pg-[^" ]*).*`)
	rejection = regexp.MustCompile(`reject icmp.*port-unreachable`)
)

// statement prints a statement; "" for one without effect. iptables-nft and iptables-save word some
// differently.
func statement(x exposure.Statement) string {
	if _, nothing := x.(exposure.NoEffect); nothing {
		return ""
	}
	s := content.ReplaceAllString(exposuretest.Statement(x), "$1{}")
	s = otherName.ReplaceAllString(s, "$1$2")
	s = strings.ReplaceAll(s, "ct direction not in {0x0}", "ct direction in {0x1}")
	s = rejection.ReplaceAllString(s, "reject icmp port-unreachable")
	return hashlimit.ReplaceAllString(s, "unknown match: hashlimit $1")
}

// elements prints a set in the order of its elements.
func elements(s *exposure.Set) string {
	var list []string
	for i, box := range s.All() {
		e := fmt.Sprint(box)
		if i < len(s.Verdicts) {
			e += fmt.Sprint(s.Verdicts[i])
		}
		list = append(list, e)
	}
	slices.Sort(list)
	return fmt.Sprintf("set @%s{} %v %v %q %v\n", s.Name, s.Grows, s.Size, s.Unknown, list)
}

// text prints rules in an order that doesn't depend on when they were made, and hooks in the order
// in which they run. Programs order the conditions of a rule as they like.
func text(rs *exposure.Ruleset) string {
	var out []string
	for _, t := range rs.Tables {
		for _, s := range t.Sets {
			out = append(out, otherName.ReplaceAllString(elements(s), "$1$2"))
		}
		for _, c := range t.Chains {
			if len(c.Rules) == 0 {
				continue
			}
			lines := fmt.Sprintf("%v %s", t.System, c.Where())
			if b := c.Base; b != nil {
				lines += fmt.Sprintf(" %v %v %d policy %v", b.Type, b.Hook, b.Priority, b.Policy)
			}
			for _, r := range c.Rules {
				var list []string
				for _, x := range r.Statements {
					if s := statement(x); s != "" {
						list = append(list, s)
					}
				}
				slices.Sort(list)
				lines += "\n  " + strings.Join(list, "; ")
			}
			out = append(out, lines+"\n")
		}
	}
	slices.Sort(out)
	for _, hook := range []exposure.Hook{
		exposure.HookPrerouting, exposure.HookInput, exposure.HookForward,
	} {
		for _, f := range address.Families {
			for _, c := range rs.Order(hook, f) {
				if len(c.Rules) > 0 {
					out = append(out, hook.String()+" "+f.String()+" "+c.Where()+"\n")
				}
			}
		}
	}
	return strings.Join(out, "")
}
