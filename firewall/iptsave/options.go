package iptsave

import "slices"

// argumentsOf says how many words follow an option, whatever they look like: a comment may well be
// "--dport", and iptables-save doesn't quote it. getopt takes them blindly, and so must ParseRule.
// Options that aren't here take what follows up to the next option.
var argumentsOf = map[string]int{
	"-s": 1, "-d": 1, "-i": 1, "-o": 1, "-p": 1, "-m": 1, "-j": 1, "-g": 1, "-f": 0, "-c": 2,
	"-4": 0, "-6": 0, "--comment": 1, "--log-prefix": 1, "--nflog-prefix": 1, "--ulog-prefix": 1,
	"--string": 1, "--hex-string": 1, "--name": 1, "--helper": 1, "--hashlimit-name": 1,
	"--label": 1, "--bytecode": 1, "--object-pinned": 1, "--u32": 1, "--nfacct-name": 1,
	"--rateest-name": 1, "--led-trigger-id": 1, "--secctx": 1, "--selctx": 1, "--path": 1,
	"--genre": 1, "--chunk-types": 2, "--sport": 1, "--dport": 1, "--sports": 1, "--dports": 1,
	"--ports": 1, "--tcp-flags": 2, "--tcp-option": 1, "--syn": 0, "--icmp-type": 1,
	"--icmpv6-type": 1, "--state": 1, "--ctstate": 1, "--ctproto": 1, "--ctorigsrc": 1,
	"--ctorigdst": 1, "--ctreplsrc": 1, "--ctrepldst": 1, "--ctorigsrcport": 1,
	"--ctorigdstport": 1, "--ctreplsrcport": 1, "--ctrepldstport": 1, "--ctstatus": 1,
	"--ctexpire": 1, "--ctdir": 1, "--mark": 1, "--match-set": 2, "--return-nomatch": 0,
	"--src-range": 1, "--dst-range": 1, "--mac-source": 1, "--physdev-in": 1, "--physdev-out": 1,
	"--physdev-is-in": 0, "--physdev-is-out": 0, "--physdev-is-bridged": 0, "--src-type": 1,
	"--dst-type": 1, "--limit-iface-in": 0, "--limit-iface-out": 0, "--pkt-type": 1,
	"--src-group": 1, "--dst-group": 1, "--loose": 0, "--validmark": 0, "--accept-local": 0,
	"--invert": 0, "--reject-with": 1, "--set-mark": 1, "--set-xmark": 1, "--and-mark": 1,
	"--or-mark": 1, "--xor-mark": 1, "--save-mark": 0, "--restore-mark": 0, "--nfmask": 1,
	"--ctmask": 1, "--mask": 1, "--left-shift-mark": 1, "--right-shift-mark": 1,
	"--to-destination": 1, "--to-source": 1, "--to-ports": 1, "--to": 1, "--random": 0,
	"--random-fully": 0, "--persistent": 0, "--on-port": 1, "--on-ip": 1, "--tproxy-mark": 1,
	"--notrack": 0, "--zone": 1, "--zone-orig": 1, "--zone-reply": 1, "--ctevents": 1,
	"--expevents": 1, "--timeout": 1, "--add-set": 2, "--del-set": 2, "--map-set": 2,
	"--exist": 0, "--map-mark": 0, "--map-prio": 0, "--map-queue": 0, "--gateway": 1,
	"--queue-num": 1, "--queue-balance": 1, "--queue-bypass": 0, "--queue-cpu-fanout": 0,
	"--restore-skmark": 0, "--transparent": 0, "--nowildcard": 0, "--ttl-eq": 1, "--ttl-lt": 1,
	"--ttl-gt": 1, "--hl-eq": 1, "--hl-lt": 1, "--hl-gt": 1, "--length": 1, "--header": 1,
	"--soft": 0,
}

// spellings are the other names of options (the option tables of iptables and its extensions).
var spellings = map[string]string{
	"--source": "-s", "--src": "-s", "--destination": "-d", "--dst": "-d",
	"--in-interface": "-i", "--out-interface": "-o", "--protocol": "-p", "--proto": "-p",
	"--match": "-m", "--jump": "-j", "--goto": "-g", "--fragment": "-f", "--set-counters": "-c",
	"--ipv4": "-4", "--ipv6": "-6", "--source-port": "--sport", "--destination-port": "--dport",
	"--source-ports": "--sports", "--destination-ports": "--dports", "--port": "--ports",
}

// headerOptions are those of every rule; all others belong to a match or a target.
var headerOptions = map[string]bool{
	"-s": true, "-d": true, "-i": true, "-o": true, "-p": true, "-f": true, "-c": true, "-4": true,
	"-6": true,
}

// ImpliedMatch is the match that a protocol loads by itself.
var ImpliedMatch = map[string]string{
	"tcp": "tcp", "6": "tcp", "udp": "udp", "17": "udp", "udplite": "udplite", "136": "udplite",
	"sctp": "sctp", "132": "sctp", "dccp": "dccp", "33": "dccp", "icmp": "icmp", "1": "icmp",
	"ipv6-icmp": "icmp6", "icmpv6": "icmp6", "58": "icmp6",
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

// HasOption reports whether a match or target is known to have an option.
func HasOption(extension, option string) bool { return slices.Contains(takers[option], extension) }

// optionsOf are the options of the extensions that the readers understand.
var optionsOf = map[string][]string{
	"tcp": {"--sport", "--dport", "--tcp-flags", "--syn", "--tcp-option"},
	"udp": {"--sport", "--dport"}, "udplite": {"--sport", "--dport"},
	"sctp":      {"--sport", "--dport", "--chunk-types"},
	"dccp":      {"--sport", "--dport", "--dccp-types", "--dccp-option"},
	"multiport": {"--sports", "--dports", "--ports"}, "icmp": {"--icmp-type"},
	"icmp6": {"--icmpv6-type"}, "state": {"--state"},
	"conntrack": {"--ctstate", "--ctproto", "--ctorigsrc", "--ctorigdst", "--ctreplsrc",
		"--ctrepldst", "--ctorigsrcport", "--ctorigdstport", "--ctreplsrcport", "--ctrepldstport",
		"--ctstatus", "--ctexpire", "--ctdir"},
	"mark": {"--mark"}, "connmark": {"--mark"}, "iprange": {"--src-range", "--dst-range"},
	"mac": {"--mac-source"}, "comment": {"--comment"},
	"set": {"--match-set", "--return-nomatch", "--update-counters", "--update-subcounters",
		"--packets-eq", "--packets-lt", "--packets-gt", "--bytes-eq", "--bytes-lt", "--bytes-gt"},
	"physdev": {"--physdev-in", "--physdev-out", "--physdev-is-in", "--physdev-is-out",
		"--physdev-is-bridged"},
	"addrtype": {"--src-type", "--dst-type", "--limit-iface-in", "--limit-iface-out"},
	"pkttype":  {"--pkt-type"}, "ttl": {"--ttl-eq", "--ttl-lt", "--ttl-gt"},
	"hl": {"--hl-eq", "--hl-lt", "--hl-gt"}, "length": {"--length"},
	"devgroup": {"--src-group", "--dst-group"},
	"rpfilter": {"--loose", "--validmark", "--accept-local", "--invert"},
	"socket":   {"--transparent", "--nowildcard", "--restore-skmark"}, "REJECT": {"--reject-with"},
	"MARK": {"--set-mark", "--set-xmark", "--and-mark", "--or-mark", "--xor-mark"},
	"CONNMARK": {"--set-mark", "--set-xmark", "--and-mark", "--or-mark", "--xor-mark",
		"--save-mark", "--restore-mark", "--nfmask", "--ctmask", "--mask", "--left-shift-mark",
		"--right-shift-mark"},
	"DNAT":       {"--to-destination", "--random", "--persistent"},
	"SNAT":       {"--to-source", "--random", "--random-fully", "--persistent"},
	"MASQUERADE": {"--to-ports", "--random", "--random-fully"},
	"REDIRECT":   {"--to-ports", "--random"}, "NETMAP": {"--to"},
	"TPROXY": {"--on-port", "--on-ip", "--tproxy-mark"},
	"SET": {"--add-set", "--del-set", "--map-set", "--exist", "--timeout", "--map-mark",
		"--map-prio", "--map-queue"},
	"CT": {"--notrack", "--helper", "--ctevents", "--expevents", "--zone", "--zone-orig",
		"--zone-reply", "--timeout"},
	"LOG": {"--log-prefix", "--log-level", "--log-uid", "--log-ip-options", "--log-tcp-options",
		"--log-tcp-sequence", "--log-macdecode"},
}
