package audit

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Rates of the old rules become rates of the policy: so many new connections of each source in a
// time. A rule that counts all sources together becomes the same number for each source, and the
// policy's comments say so.

// ratesOf is the slowest rate among unknown conditions, and the rules that have it: a line each,
// without Portgrave's own. It is false if one of the conditions isn't a rate.
func (s *survey) ratesOf(doubts []exposure.Decider) (
	slowest firewall.Rate, rules []string, ok bool,
) {
	for _, d := range doubts {
		ours := d.Rule != nil && d.Rule.Owner() == "portgrave"
		switch {
		case ours && !d.Rate.Known(): // whether Portgrave's table of sources is full
			continue
		case !d.Rate.Known() || d.Rule == nil:
			return firewall.Rate{}, nil, false
		case !d.Rate.Records && !ours && d.Rate.Over != refuses(d.Rule, 0):
			return firewall.Rate{}, nil, false // the rule lets in those who are fast
		}
		if !ours {
			text := Words(withoutReason(d).Describe())
			if counts := s.counting(d); counts != "" {
				text += fmt.Sprintf(" (it counts %s)", counts)
			}
			s.rates.Store(text, d.Rate)
			rules = appendOnce(rules, text)
		}
		if d.Rate.Records {
			continue
		}
		if rate := policyRate(recorded(d)); slowest.Count == 0 || slower(rate, slowest) {
			slowest = rate
		}
	}
	return slowest, rules, slowest.Count > 0
}

// counting says how a rule counts otherwise than the policy, for people; "" if it doesn't.
func (s *survey) counting(d exposure.Decider) string {
	r, f := d.Rate, address.IPv4
	if d.Rule.Chain != nil && d.Rule.Chain.Table != nil && !d.Rule.Chain.Table.Family.Sees(f) {
		f = address.IPv6
	}
	switch several := len(s.addresses[f]) > 1; {
	case r.Shared:
		return "all sources together, the policy each on its own"
	case r.SourceBits > 0 && (f == address.IPv4 || r.SourceBits != firewall.DefaultRatePrefix):
		return fmt.Sprintf("each /%d of sources together, the policy each source on its own",
			r.SourceBits)
	case r.PerClientPort:
		return "each client port of a source on its own, the policy all together"
	case r.PerDestination && several:
		return "each of this host's addresses on its own, the policy all together"
	}
	return ""
}

// recorded is a rule's rate. A rule that looks up recent's list before another one records the
// packet there lets one packet more through.
func recorded(d exposure.Decider) exposure.Rate {
	r := d.Rate
	if r.List == "" || r.Burst == 0 || d.Rule.Chain == nil {
		return r
	}
	before, behind, passed := false, false, false
	for _, rule := range d.Rule.Chain.Rules {
		passed = passed || rule == d.Rule
		for _, st := range rule.Statements {
			if u, ok := st.(exposure.Unknown); ok && u.Rate.Records && u.Rate.List == r.List {
				before, behind = before || !passed, behind || passed
			}
		}
	}
	if behind && !before {
		r.Per = r.Per * time.Duration(r.Burst) / time.Duration(r.Burst+1)
		r.Burst++
	}
	return r
}

// noteSharedRates says in the services' comments which of them a rule counts together, or the ports
// of one service apart.
func (w *importWriter) noteSharedRates() {
	together := map[string][]string{}
	key := func(line string) (string, exposure.Rate) {
		known, _ := w.rates.Load(line)
		rate, _ := known.(exposure.Rate)
		return cmp.Or(rate.List, line), rate
	}
	for _, svc := range w.out.Services {
		for _, line := range svc.Rated {
			if k, rate := key(line); !rate.PerPort {
				together[k] = appendOnce(together[k], svc.Name)
			}
		}
	}
	for i := range w.out.Services {
		svc := &w.out.Services[i]
		several := len(svc.Ports) > 1 || svc.Ports[0].First < svc.Ports[0].Last
		for n, line := range svc.Rated {
			k, rate := key(line)
			if names := together[k]; !rate.PerPort && len(names) > 1 {
				svc.Rated[n] += fmt.Sprintf(" (it counts %s together, the policy each on its own)",
					strings.Join(names, ", "))
			} else if rate.PerPort && several {
				svc.Rated[n] += " (it counts each port on its own, the policy the service's together)"
			}
		}
	}
}

// slower compares what two rates allow in the long run.
func slower(a, b firewall.Rate) bool {
	return float64(a.Count)/a.Per.Seconds() < float64(b.Count)/b.Per.Seconds()
}

const (
	// defaultBurst is what the kernel allows at once where a rule doesn't say: 5, in nft's limit as
	// in x_tables' (iptables-extensions(8)).
	defaultBurst = 5
	// maxRate bounds the numbers of a rate that the policy writes.
	maxRate = 1_000_000
	day     = 24 * time.Hour
)

// policyRate writes a rate in a unit of the policy: a second, a minute, an hour or a day.
func policyRate(r exposure.Rate) firewall.Rate {
	out := firewall.Rate{Per: day, Burst: uint32(min(r.Burst, maxRate))}
	if r.Burst == 0 {
		out.Burst = defaultBurst
	}
	units := []time.Duration{time.Second, time.Minute, time.Hour}
	count := r.Count
	switch {
	case slices.Contains(units, r.Per):
		out.Per = r.Per
	case r.Per%day == 0: // a day, or a week
		count /= uint64(r.Per / day)
	default:
		count, out.Per = perUnit(float64(r.Count) * float64(time.Second) / float64(r.Per))
	}
	out.Count = uint32(min(max(count, 1), maxRate))
	return out
}

// perUnit writes so many packets a second in the shortest unit that gives a whole number, within 2
// %. Failing that, the number a day is rounded down, so that the policy isn't faster than the rule.
func perUnit(perSecond float64) (count uint64, unit time.Duration) {
	for _, unit := range []time.Duration{time.Second, time.Minute, time.Hour} {
		n := perSecond * unit.Seconds()
		if n >= 1 && math.Abs(n-math.Round(n)) < 0.02*n {
			return uint64(math.Round(n)), unit
		}
	}
	return uint64(perSecond * day.Seconds()), day
}

// maxRefusal bounds how deep a rule's jumps are followed.
const maxRefusal = 4

// refuses reports whether a rule leads to a refusal and to nothing else.
func refuses(r *exposure.Rule, depth int) bool {
	for _, s := range r.Statements {
		v, ok := s.(exposure.Verdict)
		if !ok {
			continue
		}
		switch v.Kind {
		case exposure.VerdictDrop, exposure.VerdictReject:
			return true
		case exposure.VerdictJump, exposure.VerdictGoto:
			if r.Chain == nil || r.Chain.Table == nil || depth == maxRefusal {
				return false
			}
			to := r.Chain.Table.Chain(v.Chain)
			if to == nil || len(to.Rules) == 0 {
				return false
			}
			return refuses(to.Rules[len(to.Rules)-1], depth+1)
		}
	}
	return false
}
