package xt

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/iana"
)

// args makes a rule of the words that iptables would be given.
func args(words ...string) rule {
	list := make([]word, len(words))
	for i, w := range words {
		// Options are never quoted, and what is none may well begin with a dash.
		list[i] = word{w, i > 0 && strings.HasPrefix(words[i-1], "--") && strings.HasPrefix(w, "-")}
	}
	return newRule(list)
}

// newRule understands a rule as far as we need to.
func newRule(words []word) rule {
	options := optionsOf(words)
	x := rule{canon: canonOf(options)}
	var text []string
	for _, w := range words {
		switch {
		case w.quoted:
			text = append(text, quoteAlways(w.text))
		case strings.HasPrefix(w.text, "-"): // an option: quoted, it would be none
			text = append(text, w.text)
		default:
			text = append(text, quote(w.text))
		}
	}
	x.text = strings.Join(text, " ")
	var protocol string
	for _, o := range options {
		if len(o.values) == 0 {
			continue
		}
		if o.name == "--match-set" || o.name == "--add-set" {
			x.sets = append(x.sets, o.values[0])
		}
		if o.not {
			continue
		}
		switch o.name {
		case "-j", "-g":
			x.target = o.values[0]
		case "-s":
			x.source = o.values[0]
		case "-p":
			protocol = o.values[0]
		case "--dport":
			x.ports = protocol + "/" + strings.ReplaceAll(o.values[0], ":", "-")
		}
	}
	// Only "-s PREFIX -g CHAIN" is a source and nothing else, and "-g CHAIN" may be one: see
	// isEverything.
	if len(options) != 2 {
		x.source = ""
	}
	x.unconditional = len(options) == 1 && x.target != ""
	return x
}

func quoteAlways(s string) string {
	if q := quote(s); q != s {
		return q
	}
	return `"` + s + `"`
}

// option is one clause of a rule: "! --ctstatus CONFIRMED".
type option struct {
	name   string
	not    bool
	values []string
}

func optionsOf(words []word) []option {
	var out []option
	not := false
	for _, w := range words {
		switch {
		case w.text == "!" && !w.quoted:
			not = true
		case strings.HasPrefix(w.text, "-") && !w.quoted && len(w.text) > 1 || len(out) == 0:
			out = append(out, option{name: w.text, not: not})
			not = false
		default:
			// Before 1.4.3 the negation stood behind the option: "--dport ! 80".
			o := &out[len(out)-1]
			o.not = o.not || not
			not = false
			o.values = append(o.values, w.text)
		}
	}
	return out
}

// matchesWithMemory change by being evaluated, so what stands before them matters.
var matchesWithMemory = map[string]bool{
	"hashlimit": true,
	"limit":     true,
	"recent":    true,
	"quota":     true,
	"statistic": true,
	"connlimit": true,
}

// canonOf is the normal form of a rule: the same for two rules that mean the same, whatever order,
// spelling or version printed them. Clauses without memory commute, so they are sorted; comments
// mean nothing. What it does not know it keeps word for word, so that an unknown clause never
// passes for ours.
func canonOf(options []option) string {
	var header, segment, done []string
	var target string
	group := -1 // index in segment of the match that options belong to; -1: the header
	inTarget := false
	flush := func() {
		slices.Sort(segment)
		done = append(done, segment...)
		segment, group = nil, -1
	}
	memory := false
	for _, o := range options {
		switch {
		case o.name == "-m" && len(o.values) == 1:
			if memory {
				flush()
				memory = false
			}
			if matchesWithMemory[o.values[0]] {
				flush()
				memory = true
			}
			segment = append(segment, "-m "+o.values[0])
			group = len(segment) - 1
		case o.name == "-j" || o.name == "-g":
			inTarget = true
			target = o.words()
		case inTarget:
			target += " " + o.words()
		case group >= 0 && strings.HasPrefix(o.name, "--"):
			if o.name != "--comment" {
				segment[group] += " " + o.words()
			}
		case (o.name == "-s" || o.name == "-d") && !o.not && len(o.values) == 1 && isEverything(o.values[0]):
			// iptables does not print a condition that all packets meet.
		default:
			header = append(header, o.words())
		}
	}
	flush()
	slices.Sort(header)
	all := append(header, slices.DeleteFunc(done, func(s string) bool { return s == "-m comment" })...)
	if target != "" {
		all = append(all, target)
	}
	return strings.Join(all, " ")
}

// words spells an option in one way.
func (o option) words() string {
	values := slices.Clone(o.values)
	for i, v := range values {
		values[i] = normalValue(o.name, v)
	}
	s := strings.Join(append([]string{o.name}, values...), " ")
	if o.not {
		return "! " + s
	}
	return s
}

func normalValue(option, v string) string {
	switch option {
	case "-s", "-d", "--ctorigdst":
		if p, ok := parsePrefix(v); ok {
			return p.String()
		}
	case "-p":
		// Which name a program prints, or whether it prints the number, is up to its host's
		// /etc/protocols.
		if number, known := iana.Protocol(v); known {
			return strconv.Itoa(int(number))
		}
	case "--dst-type", "--src-type", "--ctstate", "--ctstatus":
		parts := strings.Split(v, ",")
		slices.Sort(parts)
		return strings.Join(parts, ",")
	case "--dport", "--sport", "--ctorigdstport":
		if first, last, ranged := strings.Cut(v, ":"); ranged && first == last {
			return first
		}
	case "--hashlimit-upto", "--hashlimit-above":
		return normalRate(v)
	case "--set-xmark", "--mark":
		return strings.ToLower(v)
	}
	return v
}

// parsePrefix reads an address, a CIDR, or the address/netmask of old versions.
func parsePrefix(s string) (netip.Prefix, bool) {
	address, length, slash := strings.Cut(s, "/")
	a, err := netip.ParseAddr(address)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	bits := a.BitLen()
	if slash {
		if bits, err = strconv.Atoi(length); err != nil {
			m, err := netip.ParseAddr(length)
			if err != nil || m.Is4() != a.Is4() {
				return netip.Prefix{}, false
			}
			bits = 0
			for _, b := range m.AsSlice() {
				for ; b != 0; b <<= 1 {
					bits++
				}
			}
		}
	}
	p, err := a.Prefix(bits)
	return p, err == nil
}

func isEverything(s string) bool {
	p, ok := parsePrefix(s)
	return ok && p.Bits() == 0
}

// rateUnits are the units of hashlimit, as iptables prints them.
var rateUnits = []struct {
	name string
	per  time.Duration
}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"min", time.Minute}, {"sec", time.Second}}

// hashlimitScale is XT_HASHLIMIT_SCALE_v2 (include/uapi/linux/netfilter/xt_hashlimit.h): the kernel
// holds the time between two packets in millionths of a second.
const hashlimitScale = 1_000_000

// normalRate spells "20/second" as iptables prints it back: it keeps only the time between two
// packets, and takes the largest unit in which that is a whole number, or nearly (print_rate in
// libxt_hashlimit.c).
func normalRate(v string) string {
	count, unit, ok := strings.Cut(v, "/")
	n, err := strconv.ParseUint(count, 10, 32)
	if !ok || err != nil || n == 0 || unit == "" {
		return v
	}
	i := slices.IndexFunc(rateUnits, func(u struct {
		name string
		per  time.Duration
	}) bool {
		return strings.HasPrefix(unit, u.name) || strings.HasPrefix(u.name, unit)
	})
	if i < 0 {
		return v
	}
	length := func(i int) uint64 { return uint64(rateUnits[i].per/time.Second) * hashlimitScale }
	period := length(i) / n
	if period == 0 {
		return v
	}
	last := 0
	for j := 1; j < len(rateUnits) && period <= length(j) && length(j)/period >= length(j)%period; j++ {
		last = j
	}
	return strconv.FormatUint(length(last)/period, 10) + "/" + rateUnits[last].name
}

// rateTable names the table of a service's rate. Rules that name the same table share it, and keep
// the settings that it was made with: so the name says them.
func rateTable(svc firewall.Service, f firewall.Family) string {
	r := *svc.Rate
	return fmt.Sprintf(
		"pg-%s-%d-%d-%d-%d",
		id(svc.Name),
		r.Count,
		int64(r.Per.Seconds()),
		r.Burst,
		r.PrefixLength(f),
	)
}

// logTable names the table of the log of refused packets, which all services share.
func logTable(f firewall.Family) string {
	return fmt.Sprintf("pg-denied-%d", firewall.DeniedLogRate.PrefixLength(f))
}

// rateWords are the options of a limit per source in a table for so many of them: what exceeds it,
// or what stays within.
func rateWords(name string, r firewall.Rate, f firewall.Family, most int, over bool) []string {
	unit := map[time.Duration]string{time.Second: "second", time.Minute: "minute", time.Hour: "hour", 24 * time.Hour: "day"}[r.Per]
	how := "--hashlimit-upto"
	if over {
		how = "--hashlimit-above"
	}
	// iptables does not print an expiry that is its own default for the unit it has chosen, a round
	// number.
	expire := r.Memory().Milliseconds() + 1
	words := []string{
		"-m",
		"hashlimit",
		how,
		strconv.FormatUint(uint64(r.Count), 10) + "/" + unit,
		"--hashlimit-burst",
		strconv.FormatUint(uint64(r.Burst), 10),
		"--hashlimit-mode",
		"srcip",
		"--hashlimit-name",
		name,
		"--hashlimit-htable-size",
		strconv.Itoa(most / perBucket),
		"--hashlimit-htable-max",
		strconv.Itoa(most),
		"--hashlimit-htable-expire",
		strconv.FormatInt(expire, 10),
	}
	if n := r.PrefixLength(f); n != wholeAddress[f] { // which iptables does not print
		words = append(words, "--hashlimit-srcmask", strconv.Itoa(n))
	}
	return words
}

// wholeAddress is the length of an address in bits.
var wholeAddress = map[firewall.Family]int{firewall.IPv4: 32, firewall.IPv6: 128}

// perBucket is how many sources share a bucket of a full table. A bucket takes eight bytes from the
// start, and the kernel looks at each once a second.
const perBucket = 8
