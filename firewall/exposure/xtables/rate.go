package xtables

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// rateOf is what -m limit, -m hashlimit or -m recent allows; the zero Rate for other matches, for
// negated options and for rates of bytes.
func rateOf(e iptsave.Extension) exposure.Rate {
	options := map[string]string{} // the first argument of each
	for _, o := range e.Options {
		if o.Not {
			return exposure.Rate{}
		}
		options[o.Name] = o.Value()
	}
	switch e.Name {
	case "limit":
		// iptables-extensions(8): 3/hour unless --limit is given.
		rate, burst := cmp.Or(options["--limit"], "3/hour"), options["--limit-burst"]
		return packetRate(rate, burst, exposure.Rate{Shared: true})
	case "hashlimit":
		_, over := options["--hashlimit-above"]
		rate := cmp.Or(
			options["--hashlimit-above"],
			options["--hashlimit-upto"],
			options["--hashlimit"],
		)
		modes := strings.Split(options["--hashlimit-mode"], ",")
		return packetRate(rate, options["--hashlimit-burst"], exposure.Rate{
			Over:           over,
			Shared:         !slices.Contains(modes, "srcip"),
			SourceBits:     prefixBits(options["--hashlimit-srcmask"]),
			PerPort:        slices.Contains(modes, "dstport"),
			PerClientPort:  slices.Contains(modes, "srcport"),
			PerDestination: slices.Contains(modes, "dstip"),
		})
	case "recent":
		return recentRate(options)
	}
	return exposure.Rate{}
}

// packetRate completes a rate with what the options say: "6/min" and the burst, "" for none.
func packetRate(rate, burst string, r exposure.Rate) exposure.Rate {
	count, unit, _ := strings.Cut(rate, "/")
	n, ok := countOf(count)
	r.Per = rateUnit(cmp.Or(unit, "second"))
	if !ok || r.Per == 0 {
		return exposure.Rate{} // rates of bytes: 512kb/s
	}
	r.Count = n
	r.Burst, _ = countOf(burst)
	return r
}

// rateUnit reads a unit. iptables takes any first letters of one: "s", "sec", "second".
func rateUnit(s string) time.Duration {
	for unit, d := range map[string]time.Duration{
		"second": time.Second,
		"minute": time.Minute,
		"hour":   time.Hour,
		"day":    24 * time.Hour,
	} {
		if s != "" && strings.HasPrefix(unit, s) {
			return d
		}
	}
	return 0
}

// countOf reads digits; a number beyond 64 bits is the largest.
func countOf(s string) (uint64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return math.MaxUint64, true
	}
	return n, true
}

// recentRate is the rate of -m recent.
func recentRate(options map[string]string) exposure.Rate {
	has := func(name string) bool { _, ok := options[name]; return ok }
	// iptables-extensions(8): the list DEFAULT unless --name is given.
	list := cmp.Or(options["--name"], "DEFAULT")
	switch {
	case has("--set"):
		return exposure.Rate{Records: true, List: list}
	case has("--update") || has("--rcheck"):
		seconds, _ := countOf(options["--seconds"])
		hits, _ := countOf(options["--hitcount"])
		rate := exposure.HitRate(seconds, hits, has("--rdest"))
		if rate.Known() {
			rate.List, rate.SourceBits = list, maskBits(options["--mask"])
		}
		return rate
	}
	return exposure.Rate{}
}

// prefixBits reads a prefix length; 0 for none, and for the whole address.
func prefixBits(s string) uint8 {
	n, _ := countOf(s)
	if n == 32 || n >= 128 {
		return 0
	}
	return uint8(n)
}

// maskBits reads an address as a mask; 0 for none, for the whole address and if it isn't a prefix.
func maskBits(s string) uint8 {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return 0
	}
	n := exposure.MaskBits(a.AsSlice())
	if n == a.BitLen() {
		return 0
	}
	return uint8(n)
}
