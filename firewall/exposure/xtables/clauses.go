package xtables

import (
	"fmt"
	"slices"
	"strings"
)

// clause is one option of a rule with its arguments: "! --dport 80:90".
type clause struct {
	name   string // in the one spelling of names.go, dashes included
	not    bool
	values []string
	text   string // as it was written
	column int
}

// value is the clause's only argument; "" if it has none.
func (c clause) value() string {
	if len(c.values) == 0 {
		return ""
	}
	return c.values[0]
}

// extension is a match or a target with its options: "-m conntrack --ctstate NEW".
type extension struct {
	name    string
	text    string // how it was asked for: "-m conntrack"; "" where a protocol implied it
	goes    bool   // -g
	options []clause
}

// describe is the extension as it was written.
func (e extension) describe() string {
	parts := []string{e.text}
	if e.text == "" {
		parts = nil
	}
	for _, o := range e.options {
		parts = append(parts, o.text)
	}
	return strings.Join(parts, " ")
}

// clauses is a rule cut into its parts.
type clauses struct {
	header  []clause
	matches []extension
	target  *extension

	// newest is the last match of each name, and implied the one that the protocol loads: a line of a
	// file may have any number of options.
	newest  map[string]int
	implied string
}

// add appends a match.
func (c *clauses) add(e extension) {
	if c.newest == nil {
		c.newest = map[string]int{}
	}
	c.newest[e.name] = len(c.matches)
	c.matches = append(c.matches, e)
}

// arguments says how many words follow an option, whatever they look like: a comment may well be "--dport", and iptables-save
// doesn't quote it. getopt takes them blindly, and so must we. Options that aren't here take what follows up to the next option.
var arguments = map[string]int{
	"-s": 1, "-d": 1, "-i": 1, "-o": 1, "-p": 1, "-m": 1, "-j": 1, "-g": 1, "-f": 0, "-c": 2, "-4": 0, "-6": 0,
	"--comment": 1, "--log-prefix": 1, "--nflog-prefix": 1, "--ulog-prefix": 1, "--string": 1, "--hex-string": 1, "--name": 1,
	"--helper": 1, "--hashlimit-name": 1, "--label": 1, "--bytecode": 1, "--object-pinned": 1, "--u32": 1, "--nfacct-name": 1,
	"--rateest-name": 1, "--led-trigger-id": 1, "--secctx": 1, "--selctx": 1, "--path": 1, "--genre": 1, "--chunk-types": 2,
	"--sport": 1, "--dport": 1, "--sports": 1, "--dports": 1, "--ports": 1, "--tcp-flags": 2, "--tcp-option": 1, "--syn": 0,
	"--icmp-type": 1, "--icmpv6-type": 1, "--state": 1, "--ctstate": 1, "--ctproto": 1, "--ctorigsrc": 1, "--ctorigdst": 1,
	"--ctreplsrc": 1, "--ctrepldst": 1, "--ctorigsrcport": 1, "--ctorigdstport": 1, "--ctreplsrcport": 1, "--ctrepldstport": 1,
	"--ctstatus": 1, "--ctexpire": 1, "--ctdir": 1, "--mark": 1, "--match-set": 2, "--return-nomatch": 0, "--src-range": 1, "--dst-range": 1,
	"--mac-source": 1, "--physdev-in": 1, "--physdev-out": 1, "--physdev-is-in": 0, "--physdev-is-out": 0, "--physdev-is-bridged": 0,
	"--src-type": 1, "--dst-type": 1, "--limit-iface-in": 0, "--limit-iface-out": 0, "--pkt-type": 1, "--src-group": 1, "--dst-group": 1,
	"--loose": 0, "--validmark": 0, "--accept-local": 0, "--invert": 0, "--reject-with": 1, "--set-mark": 1, "--set-xmark": 1, "--and-mark": 1,
	"--or-mark": 1, "--xor-mark": 1, "--save-mark": 0, "--restore-mark": 0, "--nfmask": 1, "--ctmask": 1, "--mask": 1,
	"--left-shift-mark": 1, "--right-shift-mark": 1, "--to-destination": 1, "--to-source": 1, "--to-ports": 1, "--to": 1, "--random": 0,
	"--random-fully": 0, "--persistent": 0, "--on-port": 1, "--on-ip": 1, "--tproxy-mark": 1, "--notrack": 0, "--zone": 1, "--zone-orig": 1,
	"--zone-reply": 1, "--ctevents": 1, "--expevents": 1, "--timeout": 1, "--add-set": 2, "--del-set": 2, "--map-set": 2, "--exist": 0,
	"--map-mark": 0, "--map-prio": 0, "--map-queue": 0, "--gateway": 1, "--queue-num": 1, "--queue-balance": 1, "--queue-bypass": 0,
	"--queue-cpu-fanout": 0, "--restore-skmark": 0, "--transparent": 0, "--nowildcard": 0,
	"--ttl-eq": 1, "--ttl-lt": 1, "--ttl-gt": 1, "--hl-eq": 1, "--hl-lt": 1, "--hl-gt": 1, "--length": 1,
}

// spellings are the other names of options (the option tables of iptables and its extensions).
var spellings = map[string]string{
	"--source": "-s", "--src": "-s", "--destination": "-d", "--dst": "-d", "--in-interface": "-i", "--out-interface": "-o",
	"--protocol": "-p", "--proto": "-p", "--match": "-m", "--jump": "-j", "--goto": "-g", "--fragment": "-f", "--set-counters": "-c",
	"--ipv4": "-4", "--ipv6": "-6", "--source-port": "--sport", "--destination-port": "--dport", "--source-ports": "--sports",
	"--destination-ports": "--dports", "--port": "--ports",
}

// cut sorts a rule's words into its clauses. The only errors are of form: an option that lacks its argument.
func cut(words []word) (clauses, error) {
	var c clauses
	not := false
	for i := 0; i < len(words); {
		w := words[i]
		i++
		if !w.quoted && w.text == "!" {
			not = true
			continue
		}
		o := clause{name: w.text, not: not, column: w.column}
		if s, ok := spellings[o.name]; ok {
			o.name = s
		}
		not = false
		text := []string{quote(w)}
		if o.not {
			text = []string{"!", quote(w)}
		}
		count, known := arguments[o.name]
		for n := 0; i < len(words) && (!known || n < count); i++ {
			v := words[i]
			if !v.quoted && v.text == "!" {
				// Before 1.4.3 the negation stood behind the option: "--dport ! 80".
				if n > 0 || !known || count == 0 {
					break
				}
				o.not = true
				text = append(text, "!")
				continue
			}
			if !known && !v.quoted && len(v.text) > 1 && v.text[0] == '-' && !isNumber(v.text) {
				break
			}
			o.values = append(o.values, v.text)
			text = append(text, quote(v))
			n++
		}
		if known && len(o.values) < count {
			return c, &columnError{w.column, fmt.Errorf("%s needs %d argument(s) and has %d: is the line cut off?", w.text, count, len(o.values))}
		}
		o.text = strings.Join(text, " ")
		switch {
		case w.quoted || len(w.text) < 2 || w.text[0] != '-':
			return c, &columnError{w.column, fmt.Errorf("%q is neither an option nor belongs to one", w.text)}
		case o.name == "-m":
			c.add(extension{name: o.value(), text: o.text})
		case o.name == "-j" || o.name == "-g":
			if c.target != nil {
				return c, &columnError{w.column, fmt.Errorf("a second %s: a rule has one target", w.text)}
			}
			c.target = &extension{name: o.value(), text: o.text, goes: o.name == "-g"}
		case slices.Contains([]string{"-s", "-d", "-i", "-o", "-p", "-f", "-c", "-4", "-6"}, o.name):
			c.header = append(c.header, o)
			if o.name == "-p" && !o.not {
				c.implied = impliedMatch[strings.ToLower(o.value())]
			}
		default:
			c.place(o)
		}
	}
	if not {
		return c, &columnError{words[len(words)-1].column, fmt.Errorf("nothing follows the \"!\": is the line cut off?")}
	}
	return c, nil
}

// place gives an option to the extension that it belongs to: the newest that knows it, or else the newest whose options
// aren't known, or else the match that the protocol implies ("-p tcp --dport 22").
func (c *clauses) place(o clause) {
	newest := -1
	for _, name := range takers[o.name] {
		if c.target != nil && c.target.name == name {
			c.target.options = append(c.target.options, o)
			return
		}
		if i, ok := c.newest[name]; ok {
			newest = max(newest, i)
		}
	}
	n := len(c.matches)
	switch {
	case newest >= 0:
	case slices.Contains(takers[o.name], c.implied):
		c.add(extension{name: c.implied, options: []clause{o}})
		return
	// iptables prints an extension's options right behind it.
	case c.target != nil:
		c.target.options = append(c.target.options, o)
		return
	case n > 0:
		newest = n - 1
	default:
		c.add(extension{options: []clause{o}})
		return
	}
	c.matches[newest].options = append(c.matches[newest].options, o)
}

// takers are the extensions that have an option, by its name.
var takers = func() map[string][]string {
	out := map[string][]string{}
	for name, options := range optionsOf {
		for _, o := range options {
			out[o] = append(out[o], name)
		}
	}
	return out
}()

// impliedMatch is the match that a protocol loads by itself.
var impliedMatch = map[string]string{
	"tcp": "tcp", "6": "tcp", "udp": "udp", "17": "udp", "udplite": "udplite", "136": "udplite", "sctp": "sctp", "132": "sctp",
	"dccp": "dccp", "33": "dccp", "icmp": "icmp", "1": "icmp", "ipv6-icmp": "icmp6", "icmpv6": "icmp6", "58": "icmp6",
}

// optionsOf are the options of the extensions that we understand.
var optionsOf = map[string][]string{
	"tcp": {"--sport", "--dport", "--tcp-flags", "--syn", "--tcp-option"}, "udp": {"--sport", "--dport"},
	"udplite": {"--sport", "--dport"}, "sctp": {"--sport", "--dport", "--chunk-types"}, "dccp": {"--sport", "--dport", "--dccp-types", "--dccp-option"},
	"multiport": {"--sports", "--dports", "--ports"}, "icmp": {"--icmp-type"}, "icmp6": {"--icmpv6-type"}, "state": {"--state"},
	"conntrack": {"--ctstate", "--ctproto", "--ctorigsrc", "--ctorigdst", "--ctreplsrc", "--ctrepldst", "--ctorigsrcport", "--ctorigdstport",
		"--ctreplsrcport", "--ctrepldstport", "--ctstatus", "--ctexpire", "--ctdir"},
	"mark": {"--mark"}, "connmark": {"--mark"}, "iprange": {"--src-range", "--dst-range"}, "mac": {"--mac-source"}, "comment": {"--comment"},
	"set": {"--match-set", "--return-nomatch", "--update-counters", "--update-subcounters", "--packets-eq", "--packets-lt", "--packets-gt",
		"--bytes-eq", "--bytes-lt", "--bytes-gt"},
	"physdev":  {"--physdev-in", "--physdev-out", "--physdev-is-in", "--physdev-is-out", "--physdev-is-bridged"},
	"addrtype": {"--src-type", "--dst-type", "--limit-iface-in", "--limit-iface-out"}, "pkttype": {"--pkt-type"},
	"ttl":      {"--ttl-eq", "--ttl-lt", "--ttl-gt"},
	"hl":       {"--hl-eq", "--hl-lt", "--hl-gt"},
	"length":   {"--length"},
	"devgroup": {"--src-group", "--dst-group"}, "rpfilter": {"--loose", "--validmark", "--accept-local", "--invert"},
	"socket": {"--transparent", "--nowildcard", "--restore-skmark"},
	"REJECT": {"--reject-with"}, "MARK": {"--set-mark", "--set-xmark", "--and-mark", "--or-mark", "--xor-mark"},
	"CONNMARK": {"--set-mark", "--set-xmark", "--and-mark", "--or-mark", "--xor-mark", "--save-mark", "--restore-mark", "--nfmask", "--ctmask",
		"--mask", "--left-shift-mark", "--right-shift-mark"},
	"DNAT": {"--to-destination", "--random", "--persistent"}, "SNAT": {"--to-source", "--random", "--random-fully", "--persistent"},
	"MASQUERADE": {"--to-ports", "--random", "--random-fully"}, "REDIRECT": {"--to-ports", "--random"}, "NETMAP": {"--to"},
	"TPROXY": {"--on-port", "--on-ip", "--tproxy-mark"}, "SET": {"--add-set", "--del-set", "--map-set", "--exist", "--timeout", "--map-mark", "--map-prio", "--map-queue"},
	"CT":  {"--notrack", "--helper", "--ctevents", "--expevents", "--zone", "--zone-orig", "--zone-reply", "--timeout"},
	"LOG": {"--log-prefix", "--log-level", "--log-uid", "--log-ip-options", "--log-tcp-options", "--log-tcp-sequence", "--log-macdecode"},
}

func isNumber(s string) bool {
	return strings.Trim(s, "-0123456789") == ""
}
