package xtables

import (
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// FamilyOf tells iptables-save's output from ip6tables-save's: by the comment that they begin with,
// or else by addresses and words that occur in one of them only. False if nothing tells, or if it
// has both kinds.
func FamilyOf(text []byte) (exposure.Family, bool) {
	var found [2]bool // IPv4, IPv6
	for line := range strings.Lines(exposure.StringOf(text)) {
		line = strings.TrimSpace(line)
		if program, ok := iptsave.GeneratedBy(line); ok {
			f := FamilyOfProgram(program)
			return f, f != exposure.FamilyUnspec
		}
		if !strings.Contains(line, "-A ") {
			continue
		}
		words, err := iptsave.Split(line)
		if err != nil {
			continue // the reader will say so
		}
		for i, w := range words {
			switch {
			case w.Quoted || i+1 >= len(words):
			case w.Text == "--icmp-type" || has(only4, w.Text, words[i+1].Text):
				found[0] = true
			case w.Text == "--icmpv6-type" || has(only6, w.Text, words[i+1].Text):
				found[1] = true
			case hasAddress[w.Text]:
				a, _, _ := strings.Cut(words[i+1].Text, "/")
				a, _, _ = strings.Cut(a, "-")
				if strings.Count(a, ":") == 1 { // an IPv4 address and a port
					a, _, _ = strings.Cut(a, ":")
				}
				if _, ok := parseAddress(exposure.FamilyIPv4, a); ok {
					found[0] = true
				}
				if _, ok := parseAddress(exposure.FamilyIPv6, strings.Trim(a, "[]")); ok {
					found[1] = true
				}
			}
		}
	}
	switch {
	case found[0] && !found[1]:
		return exposure.FamilyIPv4, true
	case found[1] && !found[0]:
		return exposure.FamilyIPv6, true
	}
	return exposure.FamilyUnspec, false
}

// hasAddress are options whose argument begins with an address.
var hasAddress = map[string]bool{
	"-s":               true,
	"-d":               true,
	"--src-range":      true,
	"--dst-range":      true,
	"--to-destination": true,
	"--to-source":      true,
	"--to":             true,
	"--on-ip":          true,
	"--ctorigsrc":      true,
	"--ctorigdst":      true,
	"--ctreplsrc":      true,
	"--ctrepldst":      true,
	"--gateway":        true,
}

// only4 and only6 are what the programs print with an option for one IP version only.
var (
	only4 = map[string][]string{
		"-m":            {"icmp", "ttl", "realm"},
		"-j":            {"TTL"},
		"--reject-with": {"icmp-"},
	}
	only6 = map[string][]string{
		"-m":            {"icmp6", "hl", "rt", "ipv6header", "eui64", "frag", "hbh", "dst"},
		"-j":            {"HL"},
		"--reject-with": {"icmp6-"},
	}
)

func has(table map[string][]string, option, value string) bool {
	for _, v := range table[option] {
		if v == value || strings.HasSuffix(v, "-") && strings.HasPrefix(value, v) {
			return true
		}
	}
	return false
}

// FamilyOfProgram is the IP version of what a program has printed; FamilyUnspec for arptables and
// ebtables.
func FamilyOfProgram(p iptsave.Program) exposure.Family {
	switch f, _ := p.Family(); f {
	case address.IPv4:
		return exposure.FamilyIPv4
	case address.IPv6:
		return exposure.FamilyIPv6
	}
	return exposure.FamilyUnspec
}

// VariantOf is which of the two rule systems a save file was taken from, by the comment that the
// programs begin with; Unknown without one.
func VariantOf(text []byte) iptsave.Variant {
	for line := range strings.Lines(exposure.StringOf(text)) {
		if program, ok := iptsave.GeneratedBy(line); ok {
			return program.Variant
		}
	}
	return iptsave.Unknown
}
