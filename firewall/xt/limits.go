package xt

import (
	"fmt"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/pipeline"
)

// Limit is something that a State asks for and iptables or ipset can't do as asked.
type Limit struct {
	Service string // "" for what serves all of them
	Message string // what, and what to do instead
}

func (l Limit) Error() string {
	if l.Service == "" {
		return l.Message
	}
	return fmt.Sprintf("service %q: %s", l.Service, l.Message)
}

// Bounds of the hashlimit match (include/uapi/linux/netfilter/xt_hashlimit.h:
// XT_HASHLIMIT_SCALE_v2; libxt_hashlimit.c: XT_HASHLIMIT_BURST_MAX): a time between two packets
// below a millionth of a second is none, and so is a larger burst.
const (
	maxPerSecond = hashlimitScale
	maxBurst     = 1_000_000
)

// maxRefill is the longest time in which hashlimit can save up a burst. The kernel holds a burst as
// credits in 64 bits, and a day takes half of them or all (CREDITS_PER_JIFFY,
// net/netfilter/xt_hashlimit.c); more wraps around, to an error or, worse, to another burst.
const maxRefill = 24 * time.Hour

// Limits says what of a State this backend can't enforce (refused: Diff will refuse it), and what
// it enforces with a difference that an administrator should know (warned). Pure.
func Limits(s firewall.State, now time.Time) (refused, warned []Limit) {
	ids := map[string]string{}
	refuse := func(service, format string, args ...any) {
		refused = append(refused, Limit{service, fmt.Sprintf(format, args...)})
	}
	speakable := func(service, what string, patterns []string) {
		for _, name := range patterns {
			if why := whyUnsupported(name); why != "" {
				refuse(service, "%s %q: %s; rename the interface, or use nftables", what, name, why)
			}
		}
	}
	speakable("", "direct: interface", s.Direct)
	for _, svc := range s.Services {
		if other, taken := ids[id(svc.Name)]; taken {
			refuse(
				svc.Name,
				"its name and that of service %q are the same to iptables, which has room "+
					"for %d characters: rename one",
				other,
				maxID,
			)
		}
		ids[id(svc.Name)] = svc.Name
		speakable(svc.Name, "interface", svc.Interfaces)
		if r := svc.Rate; r != nil {
			if r.Burst > maxBurst {
				refuse(svc.Name, "rate: a burst of %d is more than the %d that iptables can hold",
					r.Burst, maxBurst)
			}
			if refill := r.Refill(); refill > maxRefill {
				refuse(
					svc.Name,
					"rate: %s: such a burst takes %s to be saved up, and iptables counts no "+
						"further than %s: use a burst of at most %d",
					r,
					refill,
					maxRefill,
					max(1, maxRefill*time.Duration(r.Count)/r.Per),
				)
			}
			if float64(r.Count)/r.Per.Seconds() > maxPerSecond {
				refuse(
					svc.Name,
					"rate: %s is more than the %d in a second that iptables can measure",
					r,
					maxPerSecond,
				)
			}
		}
		for _, e := range svc.AllExpiring() {
			if e.Until.Sub(now) > maxTimeout {
				warned = append(
					warned,
					Limit{svc.Name, fmt.Sprintf("%s shall end on %s, but ipset counts "+
						"no further than %d days: it ends earlier unless apply, or the daemon, renews it until "+
						"then", e.Prefix, e.Until.Format(time.DateOnly), maxTimeout/(24*time.Hour))},
				)
				break
			}
		}
	}
	return refused, warned
}

// NeedsIpset says what this backend can't hold without the program ipset, the first thing only, and
// whether there is any.
func NeedsIpset(s firewall.State) (first Limit, needs bool) {
	for _, f := range address.Families {
		if pipeline.AnswersIn(s, f) {
			return Limit{"", "essentials: multicast-answers needs the program ipset: " +
				"install the package ipset"}, true
		}
	}
	if len(s.Virtual) > 0 {
		return Limit{"", "services of IPVS need the program ipset: install the package ipset"}, true
	}
	for _, svc := range s.Services {
		for _, f := range address.Families {
			_, until := expiring(svc, f, time.Time{})
			if until || len(svc.Leases) > 0 || !fitsRules(svc.Sources, f) {
				return Limit{
					svc.Name,
					fmt.Sprintf("more than %d sources of one IP version, or sources "+
						"that expire, need the program ipset: install the package ipset", maxInlineSources),
				}, true
			}
		}
	}
	return Limit{}, false
}

// Ipset reports whether this host has the program.
func Ipset() bool { return find("ipset") != "" }

// whyUnsupported says why an interface pattern of the policy can't be passed to iptables.
func whyUnsupported(pattern string) string {
	switch {
	case strings.HasSuffix(pattern, "+"):
		return `to iptables a "+" at the end means every name that begins so`
	case strings.HasPrefix(pattern, "!") || strings.HasPrefix(pattern, "-"):
		return "iptables takes its first character for an option"
	}
	return ""
}

func limitErrors(s firewall.State, h host, now time.Time) []error {
	var out []error
	refused, _ := Limits(s, now)
	for _, l := range refused {
		out = append(out, l)
	}
	if l, needs := NeedsIpset(s); needs && !h.ipset {
		out = append(out, fmt.Errorf("%w: %w", firewall.ErrUnsupported, l))
	}
	return out
}
