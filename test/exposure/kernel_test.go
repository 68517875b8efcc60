package exposure

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	ex "github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/test/lab"
)

// judge is a world with a host to load rulesets into.
type judge struct {
	t    testing.TB
	w    *lab.World
	host *ex.Host

	rulesets, probes, questions, exact, refused, open, undecided int
	xt                                                           string
	legacyUsed                                                   bool
}

func newJudge(t testing.TB, xt string) *judge {
	t.Helper()
	lab.RequireRoot(t)
	t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "xtables.lock"))
	w := lab.New(t)
	w.Host.NFT("flush ruleset")
	for _, port := range ports {
		for _, n := range []*lab.Node{w.Host, w.Container} {
			n.ListenTCP(uint16(port))
			n.ListenUDP(uint16(port))
		}
	}
	return &judge{t: t, w: w, host: readHost(t, w.Host), xt: xt}
}

// load replaces the ruleset; an error is what the tools said.
func (j *judge) load(d *description) error {
	run := func(stdin, name string, args ...string) error {
		cmd := j.w.Host.Command(context.Background(), name, args...)
		cmd.Stdin = strings.NewReader(stdin)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", name, err, out)
		}
		return nil
	}
	script := d.nft()
	if d.legacy() || j.legacyUsed {
		// First the flush, which takes away what iptables-nft wrote.
		if err := run("flush ruleset\n", "nft", "-f", "-"); err != nil {
			return err
		}
		script = strings.TrimPrefix(script, "flush ruleset\n")
		j.legacyUsed = j.xt == "legacy"
		for name, f := range map[string]ex.Family{"iptables-": ex.FamilyIPv4, "ip6tables-": ex.FamilyIPv6} {
			if err := run(d.save(f), name+j.xt+"-restore"); err != nil {
				return err
			}
		}
	}
	return run(script, "nft", "-f", "-")
}

type asked struct {
	q                 ex.Question
	source            netip.Addr
	certain, possible bool
	answer            ex.Answer
}

// ask evaluates the questions, and draws the sources to try.
func (j *judge) ask(e *ex.Evaluator, g *generator) ([]asked, []lab.Question) {
	var all []asked
	var probes []lab.Question
	for _, f := range firewall.Families {
		for _, proto := range []firewall.Protocol{firewall.TCP, firewall.UDP} {
			for _, dest := range []netip.Addr{host4, container4, host6, container6} {
				if dest.Is4() != (f == firewall.IPv4) {
					continue
				}
				for _, port := range ports {
					q := ex.Question{Family: f, Protocol: proto, Interface: "eth0", Destination: dest, Port: uint16(port)}
					a, err := e.Evaluate(q)
					if err != nil {
						j.t.Fatal(err)
					}
					j.questions++
					certain, possible := a.Through()
					if certain.Equal(possible) {
						j.exact++
					}
					for _, s := range sources(f, g, certain, possible) {
						all = append(all, asked{q, s, certain.Contains(ex.Address(s)), possible.Contains(ex.Address(s)), a})
						probes = append(probes, lab.Question{Source: s, To: netip.AddrPortFrom(dest, q.Port), Over: lab.Protocol(proto)})
					}
				}
			}
		}
	}
	return all, probes
}

// near are the networks of the world itself: answers to them don't come back to who asks.
var near = ex.SourcesOf(firewall.MustPrefixes("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "198.51.100.0/24", "203.0.113.0/24", "10.20.0.0/16", "172.17.0.0/24"), firewall.IPv4)

// far are the IPv6 sources that anybody has.
var far = ex.SourcesOf(firewall.MustPrefixes("2000::/3"), firewall.IPv6).Minus(ex.SourcesOf(firewall.MustPrefixes("2001:db8::/32"), firewall.IPv6))

func sources(f firewall.Family, g *generator, bounds ...ex.Ranges) []netip.Addr {
	borders := map[netip.Addr]bool{}
	for a := range g.borders {
		borders[a] = true
	}
	for _, b := range bounds {
		for _, r := range b.List() {
			for _, a := range []netip.Addr{address(r.From, f), address(r.To, f)} {
				borders[a], borders[a.Prev()], borders[a.Next()] = true, true, true
			}
		}
	}
	for _, s := range []string{"1.1.1.1", "10.19.255.255", "10.21.0.0", "172.16.0.1", "192.0.2.1", "2600::7", "3000::1"} {
		borders[netip.MustParseAddr(s)] = true
	}
	var out []netip.Addr
	for a := range borders {
		switch {
		case !a.IsValid() || a.Is4() != (f == firewall.IPv4):
		case a.Is4() && near.Contains(ex.Address(a)), a.Is6() && !far.Contains(ex.Address(a)):
		default:
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// verdicts compares; each string is a disagreement.
func (j *judge) judge(d *description, g *generator, e *ex.Evaluator) []string {
	if err := j.load(d); err != nil {
		j.refused++
		j.t.Logf("seed %d was refused: %v", d.seed, err)
		return nil
	}
	all, probes := j.ask(e, g)
	answers := j.w.ProbeEach(j.w.Internet, probes, lab.Attempts(1), lab.Rate(60000))
	var again []int
	for i := range all {
		if answers[i] == lab.Open {
			j.open++
		}
		if j.wrong(all[i], answers[i]) != "" {
			again = append(again, i)
		}
		if all[i].certain != all[i].possible {
			j.undecided++
		}
	}
	j.probes += len(all)
	if len(again) == 0 {
		return nil
	}
	// A probe may have been lost to a full queue: ask once more before saying so.
	var retry []lab.Question
	for _, i := range again {
		retry = append(retry, probes[i])
	}
	var out []string
	for n, a := range j.w.ProbeEach(j.w.Internet, retry, lab.Attempts(3)) {
		if s := j.wrong(all[again[n]], a); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// blurred is the model with the order of equal priorities left open: its bounds must hold as well.
func blurred(d *description) *ex.Ruleset {
	rs := d.model()
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			if c.Base != nil {
				c.Base.RankKnown, c.Base.Rank = false, 0
			}
		}
	}
	return rs
}

func (j *judge) wrong(a asked, got lab.Answer) string {
	s := ex.Address(a.source)
	open := got == lab.Open
	if open && !a.possible || !open && a.certain {
		out := fmt.Sprintf("%v %v -> %v:%d: the kernel says %v; certain %v, possible %v", a.q.Protocol, a.source, a.q.Destination, a.q.Port, got, a.certain, a.possible)
		for _, p := range a.answer.Pieces {
			if p.Sources.Contains(s) {
				rule := ""
				if p.DecidedBy.Rule != nil {
					rule = p.DecidedBy.Rule.Where() + ": " + p.DecidedBy.Rule.Text
				}
				out += fmt.Sprintf("\n\t%v %v by %s (%s), unknown: %d", p.Outcome, p.Target, rule, p.DecidedBy.Reason, len(p.Unknowns))
			}
		}
		return out
	}
	return ""
}

func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

func TestKernelAgrees(t *testing.T) {
	n, first := setting("PORTGRAVE_RULESETS", 60), setting("PORTGRAVE_SEED", 1)
	for _, xt := range []string{"nft", "legacy"} {
		t.Run("iptables-"+xt, func(t *testing.T) {
			j := newJudge(t, xt)
			if wrong := j.judge(&description{}, newGenerator(0), ex.NewEvaluator(&ex.Ruleset{}, j.host)); len(wrong) > 0 {
				t.Fatalf("without rules: %d disagreements: %s", len(wrong), wrong[0])
			}
			begin := time.Now()
			for seed := uint64(first); seed < uint64(first+n); seed++ {
				g := newGenerator(seed)
				d := g.description(seed)
				rs := d.model()
				if seed%4 == 3 {
					rs = blurred(d)
				}
				e := ex.NewEvaluator(rs, j.host)
				j.rulesets++
				if wrong := j.judge(d, g, e); len(wrong) > 0 {
					d, wrong = j.shrink(d, g, wrong)
					t.Errorf("PORTGRAVE_SEED=%d PORTGRAVE_RULESETS=1: %d disagreements, the first:\n%s\n%v", seed, len(wrong), wrong[0], d)
					if os.Getenv("PORTGRAVE_KEEP_GOING") == "" {
						return
					}
				}
			}
			t.Logf("%d rulesets (%d refused by the tools), %d questions (%d exact), %d probes (%d got through, %d undecided), %v", j.rulesets, j.refused, j.questions, j.exact, j.probes, j.open, j.undecided, time.Since(begin).Round(time.Second))
		})
	}
}

// With strict source validation, what is routed elsewhere must not come in: the reverse path is part of the answer.
func TestKernelAgreesOnReversePaths(t *testing.T) {
	j := newJudge(t, "nft")
	if err := j.w.Host.Command(context.Background(), "ip", "route", "add", "20.0.0.0/9", "dev", "eth1").Run(); err != nil {
		t.Fatal(err)
	}
	j.w.Host.Sysctl("net.ipv4.conf.eth0.rp_filter", "1")
	j.host = readHost(t, j.w.Host)
	first := setting("PORTGRAVE_SEED", 1)
	for seed := uint64(first); seed < uint64(first+setting("PORTGRAVE_RULESETS", 60)/5); seed++ {
		g := newGenerator(seed)
		d := g.description(seed)
		e := ex.NewEvaluator(d.model(), j.host)
		if wrong := j.judge(d, g, e); len(wrong) > 0 {
			t.Fatalf("%d disagreements, the first:\n%s\n%v", len(wrong), wrong[0], d)
		}
	}
	t.Logf("%d questions (%d exact), %d probes (%d got through)", j.questions, j.exact, j.probes, j.open)
}

// shrink leaves out rules for as long as the disagreement stays.
func (j *judge) shrink(d *description, g *generator, wrong []string) (*description, []string) {
	deadline := time.Now().Add(40 * time.Second)
	for n := 0; time.Now().Before(deadline); {
		smaller := d.without(n)
		if smaller == nil {
			break
		}
		if w := j.judge(smaller, g, ex.NewEvaluator(smaller.model(), j.host)); len(w) > 0 {
			d, wrong = smaller, w
		} else {
			n++
		}
	}
	return d, wrong
}
