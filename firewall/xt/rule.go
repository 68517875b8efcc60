package xt

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/iana"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// args makes a rule of the words that iptables would be given.
func args(words ...string) rule { return newRule(iptsave.Words(words)) }

// newRule understands a rule as far as we need to. One whose form is unknown is never ours: it is
// compared as it was written.
func newRule(words []iptsave.Word) rule {
	x := rule{text: iptsave.Join(words)}
	r, err := iptsave.ParseRule(words)
	if err != nil {
		x.canon = x.text
		return x
	}
	x.canon = canonOf(r)
	targetOnly := len(r.Matches) == 0 && r.Target != nil && len(r.Target.Options) == 0
	x.unconditional = targetOnly && len(r.Header) == 0
	var protocol string
	for _, o := range r.Header {
		switch {
		case o.Not:
		case o.Name == "-s" && targetOnly && len(r.Header) == 1:
			// Only "-s PREFIX -g CHAIN" is a source and nothing else, and "-g CHAIN" may be one:
			// see isEverything.
			x.source = o.Value()
		case o.Name == "-p":
			protocol = o.Value()
		}
	}
	for _, m := range r.Matches {
		for _, o := range m.Options {
			switch {
			case o.Name == "--match-set":
				x.sets = append(x.sets, o.Value())
			case o.Name == "--dport" && !o.Not:
				x.ports = protocol + "/" + strings.ReplaceAll(o.Value(), ":", "-")
			}
		}
	}
	if r.Target != nil {
		x.target = r.Target.Name
		for _, o := range r.Target.Options {
			if o.Name == "--add-set" {
				x.sets = append(x.sets, o.Value())
			}
		}
	}
	return x
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
func canonOf(r iptsave.Rule) string {
	var parts []string
	for _, o := range r.Header {
		// iptables does not print a condition that all packets meet.
		if (o.Name != "-s" && o.Name != "-d") || o.Not || !isEverything(o.Value()) {
			parts = append(parts, normalOption(o))
		}
	}
	slices.Sort(parts)
	from := len(parts) // the first match whose order doesn't matter
	for _, m := range r.Matches {
		text := normalExtension("-m", m)
		switch {
		case text == "-m comment":
		case matchesWithMemory[m.Name]:
			slices.Sort(parts[from:])
			parts = append(parts, text)
			from = len(parts)
		default:
			parts = append(parts, text)
		}
	}
	slices.Sort(parts[from:])
	if t := r.Target; t != nil && t.Goto {
		parts = append(parts, normalExtension("-g", *t))
	} else if t != nil {
		parts = append(parts, normalExtension("-j", *t))
	}
	return strings.Join(parts, " ")
}

func normalExtension(option string, e iptsave.Extension) string {
	text := option + " " + e.Name
	for _, o := range e.Options {
		if o.Name != "--comment" {
			text += " " + normalOption(o)
		}
	}
	return text
}

// normalOption spells an option in one way.
func normalOption(o iptsave.Option) string {
	text := o.Name
	if o.Not {
		text = "! " + text
	}
	for _, v := range o.Values {
		text += " " + normalValue(o.Name, v)
	}
	return text
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
	for j := 1; j < len(rateUnits); j++ {
		if period > length(j) || length(j)/period < length(j)%period {
			break
		}
		last = j
	}
	return strconv.FormatUint(length(last)/period, 10) + "/" + rateUnits[last].name
}

// rateTable names the table of a service's rate. Rules that name the same table share it, and keep
// the settings that it was made with: so the name says them.
func rateTable(svc firewall.Service, f address.Family) string {
	r := *svc.Rate
	return fmt.Sprintf("pg-%s-%d-%d-%d-%d", id(svc.Name), r.Count, int64(r.Per.Seconds()), r.Burst,
		r.PrefixLength(f))
}

// logTable names the table of the log of refused packets, which all services share.
func logTable(f address.Family) string {
	return fmt.Sprintf("pg-denied-%d", firewall.DeniedLogRate.PrefixLength(f))
}

// rateWords are the options of a limit per source in a table for so many of them: what exceeds it,
// or what stays within.
func rateWords(name string, r firewall.Rate, f address.Family, most int, over bool) []string {
	how := "--hashlimit-upto"
	if over {
		how = "--hashlimit-above"
	}
	// iptables does not print an expiry that is its own default for the unit it has chosen, a round
	// number.
	expire := r.Memory().Milliseconds() + 1
	words := []string{
		"-m", "hashlimit", how, r.Each(),
		"--hashlimit-burst", strconv.FormatUint(uint64(r.Burst), 10),
		"--hashlimit-mode", "srcip",
		"--hashlimit-name", name,
		"--hashlimit-htable-size", strconv.Itoa(most / sourcesPerBucket),
		"--hashlimit-htable-max", strconv.Itoa(most),
		"--hashlimit-htable-expire", strconv.FormatInt(expire, 10),
	}
	if n := r.PrefixLength(f); n != f.Bits() { // which iptables does not print
		words = append(words, "--hashlimit-srcmask", strconv.Itoa(n))
	}
	return words
}

// sourcesPerBucket is how many sources share a bucket of a full table. A bucket takes eight bytes
// from the start, and the kernel looks at each once a second.
const sourcesPerBucket = 8
