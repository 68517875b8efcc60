package audit

import (
	"math"
	"regexp"
	"strconv"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Rates of the old rules, as the policy can say them: so many new connections of one source in a
// time. A rule's limit that counts all sources together becomes the same number for each.

// ratesOf is the slowest rate that unknown conditions stand for; false if one of them is no rate.
func ratesOf(doubts []exposure.Decider) (slowest firewall.Rate, ok bool) {
	for _, d := range doubts {
		rate, over, known := rateOf(d.Reason)
		ours := d.Rule != nil && d.Rule.Owner() == "portgrave"
		switch {
		case ours && !known: // whether our table of sources is full
			continue
		case !known || d.Rule == nil:
			return firewall.Rate{}, false
		case rate.Count == 0: // remembers the source, and stops nobody
			continue
		case !ours && over != refuses(d.Rule, 0):
			return firewall.Rate{}, false // lets in those who are fast
		}
		if slowest.Count == 0 || slower(rate, slowest) {
			slowest = rate
		}
	}
	return slowest, slowest.Count > 0
}

// slower compares what two rates allow in the long run.
func slower(a, b firewall.Rate) bool {
	return float64(a.Count)/a.Per.Seconds() < float64(b.Count)/b.Per.Seconds()
}

// How readers write rates: nft's words, iptables' options, and what stands for its binary form.
var (
	nftLimit     = regexp.MustCompile(`\blimit rate (over )?(\d+)/(second|minute|hour|day|week)(?: burst (\d+))?`)
	xtLimit      = regexp.MustCompile(`--limit (\d+)/(\w+)`)
	xtBurst      = regexp.MustCompile(`--(?:limit|hashlimit)-burst (\d+)`)
	hashLimit    = regexp.MustCompile(`--hashlimit(?:-(upto|above))? (\d+)/(\w+)`)
	rateOfInfo   = regexp.MustCompile(`^not known: (?:limit|hashlimit "[^"]*") one in ([0-9.e+-]+)s burst (\d+)( over)?`)
	recentUpdate = regexp.MustCompile(`\brecent (?:update|check)\b.* seconds (\d+) hitcount (\d+)|--seconds (\d+) .*--hitcount (\d+)`)
	recentSet    = regexp.MustCompile(`\brecent set\b|-m recent\b.* --set\b`)
	anyLimit     = regexp.MustCompile(`^not known: -m limit\b`)
)

// Until burst is given, the kernel allows five at once (XT_LIMIT's and nft's default).
const defaultBurst = 5

// rateOf reads a rate out of the reason why a match isn't known. over: the match holds for sources
// that are faster. A rate of 0 is a condition that stops nobody.
func rateOf(reason string) (r firewall.Rate, over, known bool) {
	switch {
	case rateOfInfo.MatchString(reason):
		m := rateOfInfo.FindStringSubmatch(reason)
		seconds, err := strconv.ParseFloat(m[1], 64)
		if err != nil || seconds <= 0 {
			return r, false, false
		}
		return everySeconds(seconds, number(m[2])), m[3] != "", true
	case nftLimit.MatchString(reason):
		m := nftLimit.FindStringSubmatch(reason)
		return perUnit(number(m[2]), m[3], number(m[4])), m[1] != "", true
	case hashLimit.MatchString(reason):
		m := hashLimit.FindStringSubmatch(reason)
		return perUnit(number(m[2]), m[3], burstOf(reason)), m[1] == "above", true
	case xtLimit.MatchString(reason):
		m := xtLimit.FindStringSubmatch(reason)
		return perUnit(number(m[1]), m[2], burstOf(reason)), false, true
	case anyLimit.MatchString(reason):
		return perUnit(3, "hour", burstOf(reason)), false, true // iptables-extensions(8)
	case recentUpdate.MatchString(reason):
		m := recentUpdate.FindStringSubmatch(reason)
		seconds, hits := number(m[1]+m[3]), number(m[2]+m[4])
		if seconds == 0 || hits < 2 {
			return r, false, false
		}
		// The hit that is the limit's is refused already.
		return everySeconds(float64(seconds)/float64(hits-1), hits-1), true, true
	case recentSet.MatchString(reason):
		return r, false, true
	}
	return r, false, false
}

func burstOf(text string) int {
	if m := xtBurst.FindStringSubmatch(text); m != nil {
		return number(m[1])
	}
	return 0
}

// number reads digits; beyond what a rate may be it is the most.
func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil && s != "" || n > maxRate {
		return maxRate
	}
	return n
}

// maxRate is the most that a policy writes for a rate.
const maxRate = 1_000_000

func rateOfEach(count, burst int, per time.Duration) firewall.Rate {
	if burst == 0 {
		burst = defaultBurst
	}
	return firewall.Rate{
		Count: uint32(min(max(count, 1), maxRate)),
		Per:   per,
		Burst: uint32(min(burst, maxRate)),
	}
}

// perUnit is a rate in words: sec, second, min, minute, and so on.
func perUnit(count int, unit string, burst int) firewall.Rate {
	for prefix, per := range map[byte]time.Duration{
		's': time.Second,
		'm': time.Minute,
		'h': time.Hour,
		'd': 24 * time.Hour,
	} {
		if unit[0] == prefix {
			return rateOfEach(count, burst, per)
		}
	}
	return rateOfEach(count/7, burst, 24*time.Hour) // a week
}

// everySeconds is a rate of one in a time, as the next unit of the policy that is long enough: never
// faster than the rule's.
func everySeconds(seconds float64, burst int) firewall.Rate {
	for _, per := range []time.Duration{time.Second, time.Minute, time.Hour} {
		if n := per.Seconds() / seconds; n >= 1 && math.Abs(n-math.Round(n)) < 0.02*n {
			return rateOfEach(int(math.Round(n)), burst, per)
		}
	}
	return rateOfEach(int(86400/seconds), burst, 24*time.Hour)
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
