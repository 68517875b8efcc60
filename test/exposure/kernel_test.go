package exposure

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	ex "github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/test/lab"
)

// judge is a world with a host to load rulesets into.
type judge struct {
	t    testing.TB
	w    *lab.World
	host *ex.Host

	protocols []firewall.Protocol
	proxies   bool // see generator
	answers   bool // see generator
	crowded   bool // see generator
	// lostRoutes: routes stop answers.
	lostRoutes bool
	// unanswered are sources whose answers leave by another interface or not at all. The test can't
	// see whether their packets got through, but an answer that arrives still counts.
	unanswered ex.Ranges

	rulesets, probes, oddProbes, questions, exact, refused, open, undecided, read int
	// answers less exact than the description's, by view
	lessExact map[string]int
	// the rules without their host
	dump       *ex.Evaluator
	xt         string
	legacyUsed bool
}

func newJudge(t testing.TB, xt string) *judge {
	t.Helper()
	return newJudgeOf(t, xt, func(n *lab.Node, port uint64) {
		n.ListenTCP(uint16(port))
		n.ListenUDP(uint16(port))
	})
}

func newJudgeOf(t testing.TB, xt string, listen func(n *lab.Node, port uint64)) *judge {
	t.Helper()
	lab.RequireRoot(t)
	w := lab.New(t)
	w.Host.NFT("flush ruleset")
	for _, port := range ports {
		for _, n := range []*lab.Node{w.Host, w.Container} {
			listen(n, port)
		}
	}
	return &judge{
		protocols: []firewall.Protocol{firewall.TCP, firewall.UDP},
		t:         t,
		w:         w,
		host:      readHost(t, w.Host),
		xt:        xt,
		lessExact: map[string]int{},
	}
}

// load replaces the ruleset. Its error is the tools' output.
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
		// Flush first, which removes what iptables-nft wrote.
		if err := run("flush ruleset\n", "nft", "-f", "-"); err != nil {
			return err
		}
		script = strings.TrimPrefix(script, "flush ruleset\n")
		j.legacyUsed = j.xt == "legacy"
		// A set can only be removed once no rule uses it.
		empty := &description{}
		for name, f := range map[string]ex.Family{
			"iptables-":  ex.FamilyIPv4,
			"ip6tables-": ex.FamilyIPv6,
		} {
			if err := run(empty.save(f), name+j.xt+"-restore", "-w"); err != nil {
				return err
			}
		}
		if err := run("", "ipset", "destroy"); err != nil {
			return err
		}
		if err := run(strings.Join(d.ipsets, "\n")+"\n", "ipset", "restore"); err != nil {
			return err
		}
		for name, f := range map[string]ex.Family{
			"iptables-":  ex.FamilyIPv4,
			"ip6tables-": ex.FamilyIPv6,
		} {
			if err := run(d.save(f), name+j.xt+"-restore", "-w"); err != nil {
				return err
			}
		}
	}
	return run(script, "nft", "-f", "-")
}

// near are the networks of the world itself. Answers to them don't come back to the sender.
var near = ex.SourcesOf(
	address.Must(
		"0.0.0.0/8",
		"127.0.0.0/8",
		"224.0.0.0/3",
		"198.51.100.0/24",
		"203.0.113.0/24",
		"10.20.0.0/16",
		"172.17.0.0/24",
	),
	address.IPv4,
)

// far are the IPv6 sources outside the world.
var far = ex.SourcesOf(address.Must("2000::/3"), address.IPv6).
	Minus(ex.SourcesOf(address.Must("2001:db8::/32"), address.IPv6))

// verdicts compares the answers with the kernel's. Each string is a disagreement.
func (j *judge) judge(d *description, g *generator) []string {
	if err := j.load(d); err != nil {
		j.refused++
		j.t.Logf("seed %d was refused: %v", d.seed, err)
		return nil
	}
	j.dump = ex.NewEvaluator(d.model(), nil).NeighboursKnown()
	all, probes, problems := j.ask(j.views(d), g)
	answers := j.w.ProbeEach(j.w.Internet, probes, lab.Attempts(1), lab.Rate(60000))
	var again []int
	for i := range all {
		if answers[i] == lab.Open {
			j.open++
		}
		if j.wrong(all[i], answers[i]) != "" {
			again = append(again, i)
		}
		if own := all[i].views[0]; own.certain.Contains(
			ex.Address(all[i].source),
		) != own.possible.Contains(
			ex.Address(all[i].source),
		) {
			j.undecided++
		}
	}
	j.probes += len(all)
	if strings.Contains(d.String(), "ttl") || strings.Contains(d.String(), "hoplimit") ||
		strings.Contains(d.String(), "-hl") {
		const hops = 3 // enough to be forwarded
		problems = append(problems, j.unusual(all, probes, "TTL 3", lab.Hops(hops))...)
	}
	if regexp.MustCompile(`exthdr|nexthdr|-m (hbh|frag|ah|ipv6header)`).MatchString(d.String()) {
		for name, chain := range map[string]lab.Extension{
			"a hop-by-hop header": lab.HopByHop(), "a fragment header": lab.Fragment(false),
		} {
			problems = append(problems, j.unusual(all, probes, name, lab.Extended(chain))...)
		}
	}
	if len(again) == 0 {
		return problems
	}
	// A probe may have been lost to a full queue: try again before reporting.
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
	return append(out, problems...)
}

// unusual sends packets with something that no ordinary packet has. If one gets through, its source
// has to be possible.
func (j *judge) unusual(
	all []asked, probes []lab.Question, what string, how lab.Option,
) (wrong []string) {
	answers := j.w.ProbeEach(j.w.Internet, probes, lab.Attempts(1), lab.Rate(60000), how)
	for i, a := range all {
		j.oddProbes++
		for _, v := range a.views {
			if answers[i] == lab.Open && !v.possible.Contains(ex.Address(a.source)) {
				wrong = append(wrong, fmt.Sprintf(
					"%v %v -> %v:%d with %s gets through; by %s it isn't possible",
					a.q.Protocol, a.source, a.q.Destination, a.q.Port, what, v.view,
				))
			}
		}
	}
	return wrong
}

// anyOrder is the model with the order of equal priorities left open. Its bounds must hold too.
func anyOrder(d *description) *ex.Ruleset {
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

// wrong names the views that the kernel contradicts.
func (j *judge) wrong(a asked, got lab.Answer) string {
	s := ex.Address(a.source)
	open := got == lab.Open
	var out strings.Builder
	for _, v := range a.views {
		certain, possible := v.certain.Contains(s), v.possible.Contains(s)
		if unseen := j.unanswered.Contains(s) && a.source.Is4(); open && possible ||
			!open && (!certain || unseen) {
			continue
		}
		fmt.Fprintf(
			&out,
			"%v %v -> %v:%d: the kernel says %v; by %s: certain %v, possible %v",
			a.q.Protocol,
			a.source,
			a.q.Destination,
			a.q.Port,
			got,
			v.view,
			certain,
			possible,
		)
		for _, p := range v.answer.Pieces {
			if p.Sources.Contains(s) {
				fmt.Fprintf(
					&out,
					"\n\t%v %v by %s, unknown: %d",
					p.Outcome,
					p.Target,
					decider(p.DecidedBy),
					len(p.Unknowns),
				)
				if p.Reply != nil {
					fmt.Fprintf(
						&out,
						"\n\t\tanswer lost %v, likely %v, by %s, unknown %v",
						p.Reply.Lost,
						p.Reply.Likely,
						decider(p.Reply.By),
						len(p.Reply.Unknowns),
					)
				}
			}
		}
		out.WriteString("\n")
	}
	return out.String()
}

func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// run tests a number of rulesets.
func (j *judge) run(n int) {
	t := j.t
	begin, first := time.Now(), setting("PORTGRAVE_SEED", 1)
	for seed := uint64(first); seed < uint64(first+n); seed++ {
		g := newGenerator(seed)
		g.proxies, g.answers, g.crowd = j.proxies, j.answers, j.crowded
		d := g.description(seed)
		j.rulesets++
		if wrong := j.judge(d, g); len(wrong) > 0 {
			if os.Getenv("PORTGRAVE_BLUNT") == "" {
				d, wrong = j.shrink(d, g, wrong)
			}
			t.Errorf(
				"PORTGRAVE_SEED=%d PORTGRAVE_RULESETS=1: %d disagreements, the first:\n%s\n%v",
				seed,
				len(wrong),
				wrong[0],
				d,
			)
			if os.Getenv("PORTGRAVE_KEEP_GOING") == "" {
				return
			}
		}
	}
	t.Logf(
		"%d rulesets (%d refused by the tools), %d questions (%d exact), %d probes (%d got through, %d undecided) and %d with an odd TTL or header, %d answers read (less exact: %v), %v",
		j.rulesets,
		j.refused,
		j.questions,
		j.exact,
		j.probes,
		j.open,
		j.undecided,
		j.oddProbes,
		j.read,
		j.lessExact,
		time.Since(begin).Round(time.Second),
	)
}

// defaultRulesets is how many rulesets a test tries, in about a minute.
const defaultRulesets = 20

func TestKernelAgrees(t *testing.T) {
	t.Parallel()
	n := setting("PORTGRAVE_RULESETS", defaultRulesets)
	for _, xt := range []string{"nft", "legacy"} {
		t.Run("iptables-"+xt, func(t *testing.T) {
			t.Parallel()
			j := newJudge(t, xt)
			if wrong := j.judge(&description{}, newGenerator(0)); len(wrong) > 0 {
				t.Fatalf("without rules: %d disagreements: %s", len(wrong), wrong[0])
			}
			j.run(n)
		})
	}
}

// Strict source validation drops sources routed by another interface, loose validation drops
// sources without a route.
func TestKernelAgreesOnReversePaths(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"strict", "loose"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			j := newJudge(t, "nft")
			j.w.Host.Run("ip", "route", "add", "20.0.0.0/9", "dev", "eth1")
			j.w.Host.Run("ip", "route", "add", "unreachable", "21.0.0.0/15")
			j.w.Host.Run("ip", "-6", "route", "add", "unreachable", "2601::/17")
			value := map[string]string{"strict": "1", "loose": "2"}[mode]
			j.w.Host.Sysctl("net.ipv4.conf.eth0.rp_filter", value)
			j.host, j.lostRoutes = readHost(t, j.w.Host), true
			j.unanswered = ex.SourcesOf(address.Must("20.0.0.0/9"), address.IPv4)
			j.run(max(4, setting("PORTGRAVE_RULESETS", defaultRulesets)/5))
		})
	}
}

// shrink removes rules as long as the disagreement stays.
func (j *judge) shrink(d *description, g *generator, wrong []string) (*description, []string) {
	deadline := time.Now().Add(40 * time.Second)
	for n := 0; time.Now().Before(deadline); {
		smaller := d.without(n)
		if smaller == nil {
			break
		}
		if w := j.judge(smaller, g); len(w) > 0 {
			d, wrong = smaller, w
		} else {
			n++
		}
	}
	return d, wrong
}
