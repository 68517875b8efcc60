package audit

import (
	"cmp"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Rates of the old rules, as the policy can say them: so many new connections of one source in a
// time. A rule's limit that counts all sources together becomes the same number for each, and the
// policy's comments say so.

// oldRate is what a condition of the old rules stands for.
type oldRate struct {
	firewall.Rate      // 0 connections: a condition that stops nobody
	over          bool // it holds for sources that are faster
	shared        bool // it counts all sources together
}

// ratesOf is the slowest rate that unknown conditions stand for, and of which rules that don't belong
// to Portgrave, a line each; false if one of them isn't a rate.
func ratesOf(doubts []exposure.Decider) (slowest firewall.Rate, rules []string, ok bool) {
	for _, d := range doubts {
		rate, known := rateOf(d.Reason)
		ours := d.Rule != nil && d.Rule.Owner() == "portgrave"
		switch {
		case ours && !known: // whether our table of sources is full
			continue
		case !known || d.Rule == nil:
			return firewall.Rate{}, nil, false
		case rate.Count > 0 && !ours && rate.over != refuses(d.Rule, 0):
			return firewall.Rate{}, nil, false // lets in those who are fast
		}
		if !ours {
			text := Words(withoutReason(d).Describe())
			if rate.shared && !countsSources(d.Rule) {
				text += " (it counts all sources together, the policy each on its own)"
			}
			rules = appendOnce(rules, text)
		}
		if rate.Count > 0 && (slowest.Count == 0 || slower(rate.Rate, slowest)) {
			slowest = rate.Rate
		}
	}
	return slowest, rules, slowest.Count > 0
}

// countsSources reports whether a rule has its condition for each source: nft's meters and sets.
func countsSources(r *exposure.Rule) bool {
	for _, s := range r.Statements {
		u, ok := s.(exposure.SetUpdate)
		if ok && u.Condition != "" && slices.ContainsFunc(u.Key, func(o exposure.Operand) bool {
			return o == exposure.Of(exposure.FieldSource4) || o == exposure.Of(exposure.FieldSource6)
		}) {
			return true
		}
	}
	return false
}

// slower compares what two rates allow in the long run.
func slower(a, b firewall.Rate) bool {
	return float64(a.Count)/a.Per.Seconds() < float64(b.Count)/b.Per.Seconds()
}

// How readers write rates: nft's words, and what stands for the binary form of iptables' matches.
// Each begins with its match: the text of another one may hold anything.
var (
	nftLimit   = regexp.MustCompile(`^not known: limit rate (over )?(\d+)/(second|minute|hour|day|week)(?: burst (\d+))?`)
	rateOfInfo = regexp.MustCompile(`^not known: (limit|hashlimit ` + quotedName + `) one in ([0-9.e+-]+)s ` +
		`burst (\d+)( over)?(.*)`)
	recentUpdate = regexp.MustCompile(`^not known: recent (?:update|check) ` + quotedName +
		` seconds (\d+) hitcount (\d+)$`)
	recentSet = regexp.MustCompile(`^not known: recent set ` + quotedName)
	perSource = regexp.MustCompile(` per source(?: per |$)`)
	xtMatch   = regexp.MustCompile(`^not known: -m (limit|hashlimit|recent)(?: |$)`)
	xtRate    = regexp.MustCompile(`^(\d+)(?:/([a-z]+))?$`)
)

// quotedName is a text as Go quotes it.
const quotedName = `"(?:[^"\\]|\\.)*"`

// Until burst is given, the kernel allows five at once (XT_LIMIT's and nft's default).
const defaultBurst = 5

// rateOf reads a rate out of the reason why a match isn't known.
func rateOf(reason string) (r oldRate, known bool) {
	if m := xtMatch.FindStringSubmatch(reason); m != nil {
		options, ok := xtOptions(reason[len(m[0]):])
		if !ok {
			return r, false
		}
		if m[1] == "recent" {
			return recentRate(options)
		}
		return xtRateOf(options, m[1] == "limit")
	}
	switch {
	case rateOfInfo.MatchString(reason):
		m := rateOfInfo.FindStringSubmatch(reason)
		seconds, err := strconv.ParseFloat(m[2], 64)
		if err != nil || seconds <= 0 {
			return r, false
		}
		return oldRate{everySeconds(seconds, number(m[3])), m[4] != "", !perSource.MatchString(m[5])}, true
	case nftLimit.MatchString(reason):
		m := nftLimit.FindStringSubmatch(reason)
		return oldRate{perUnit(number(m[2]), m[3], number(m[4])), m[1] != "", true}, true
	case recentUpdate.MatchString(reason):
		m := recentUpdate.FindStringSubmatch(reason)
		return hitRate(number(m[1]), number(m[2]))
	case recentSet.MatchString(reason):
		return r, true
	}
	return r, false
}

// xtOptions are the options of a match as iptables-save prints them, each with its first value; false
// if one is negated.
func xtOptions(text string) (map[string]string, bool) {
	options, last := map[string]string{}, ""
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		end := strings.IndexByte(text+" ", ' ')
		if text[0] == '"' {
			if end = 1; len(text) > 1 {
				end += strings.IndexByte(text[1:]+`"`, '"')
			}
			end = min(end+1, len(text))
		}
		word := text[:end]
		text = text[end:]
		switch {
		case word == "!":
			return nil, false
		case strings.HasPrefix(word, "--"):
			last = word
			options[last] = ""
		case last != "" && options[last] == "":
			options[last] = word
		}
	}
	return options, true
}

// xtRateOf is the rate of -m limit or -m hashlimit.
func xtRateOf(options map[string]string, limit bool) (r oldRate, known bool) {
	rate, burst, shared := "3/hour", options["--limit-burst"], true // iptables-extensions(8)
	if limit {
		if given, ok := options["--limit"]; ok {
			rate = given
		}
	} else {
		_, r.over = options["--hashlimit-above"]
		rate = options["--hashlimit"] + options["--hashlimit-upto"] + options["--hashlimit-above"]
		burst = options["--hashlimit-burst"]
		shared = !slices.Contains(strings.Split(options["--hashlimit-mode"], ","), "srcip")
	}
	m := xtRate.FindStringSubmatch(rate)
	if m == nil {
		return oldRate{}, false // bytes
	}
	r.Rate, r.shared = perUnit(number(m[1]), cmp.Or(m[2], "second"), number(burst)), shared
	return r, true
}

// recentRate is the rate of -m recent.
func recentRate(options map[string]string) (r oldRate, known bool) {
	if _, set := options["--set"]; set {
		return r, true
	}
	_, update := options["--update"]
	if _, check := options["--rcheck"]; !update && !check {
		return r, false
	}
	r, known = hitRate(number(options["--seconds"]), number(options["--hitcount"]))
	_, r.shared = options["--rdest"]
	return r, known
}

// hitRate is a rate of so many hits in a time. The hit that is the limit's is refused already.
func hitRate(seconds, hits int) (r oldRate, known bool) {
	if seconds == 0 || hits < 2 {
		return r, false
	}
	return oldRate{Rate: everySeconds(float64(seconds)/float64(hits-1), hits-1), over: true}, true
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
