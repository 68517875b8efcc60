package policy

import (
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// The language: every key, its values and its purpose. The reader, the JSON Schema and the manual
// are generated from these tables.

// languageDoc introduces the language in editors and the manual.
const languageDoc = "Which ports of a Linux host may open to which networks. A policy is a YAML " +
	"file: /etc/portgrave/policy.yaml, and beside it /etc/portgrave/policy.d/*.yaml in the order " +
	"of their names. These drop-ins add networks, services and tests; all other keys hold for " +
	"the whole host and stand in policy.yaml alone. With neither there is a built-in policy: " +
	"tcp/9090 is open to private networks, and nothing else is touched.\n\nEvery mistake of " +
	"every file is reported at once, as file:line:column. A file that others than root may " +
	"write, or replace, is refused (check only warns), and so is one above 10 MiB. Anchors and " +
	"aliases work. A policy with mistakes never reaches the kernel: the rules in force stay."

// listDoc and selectDoc describe lists in editors and the manual.
const (
	listDoc = "What follows # or ; is a comment. Of CSV and TSV the first column is read; a " +
		"first line with the names of columns, or the name of the one column, such as range, is " +
		"passed over. A line with another address, a " +
		"mask, a length or a number of addresses in a later column is refused, unless the first " +
		"column's CIDR or range has that address, or the first line calls the first column ip, " +
		"cidr, network, prefix or address, and the other one neither end, mask nor size, nor " +
		"may it be the end of a range in each line. The list may be packed with gzip. " +
		"It may have 64 MiB, or 64 bytes for each of max entries, also when unpacked, and 64 KiB " +
		"in a line."
	selectDoc = "The document may be one of JSON, or JSON lines: one a line. Everything selected " +
		"has to be an address, a CIDR or a range, and something has to be. The list may have 256 " +
		"bytes for each of max entries. It is read as a stream; at most 4 MiB of it are held at " +
		"once: what a filter judges, or all below a .., which a path may have once. A filter " +
		"looks at the entry alone, with @: $[?@.ip!=null].ip passes over null."
)

// Shapes that occur in several places.
var (
	anyText = text{words: "text"}
	remark  = text{words: "a line of text", loose: looseRemark, verify: checkRemark}
	anyName = text{
		pattern: namePattern,
		words: "a name (up to 48 letters, digits, dots, dashes and underscores, with a letter or " +
			"digit at both ends)",
	}
	oneSource = text{
		words: "an address, a CIDR or the name of a network", loose: looseSource,
		mappingHint: sourceMapping,
	}
	duration = text{pattern: durationPattern, words: `a duration such as "30s", "5m" or "24h"`}
	expiry   = text{
		pattern: expiryPattern,
		words:   "a date (2027-01-31, the end of that day in UTC) or a time (2027-01-31T12:00:00Z)",
	}

	interfaceName = text{words: "an interface", loose: looseInterface, not: "lo"}
	localAddress  = text{words: "an address of this host", loose: looseAddress}

	portNumber = integer{min: 1, max: 65535, words: "a port from 1 to 65535"}
	testPort   = integer{min: 1, max: 65535, words: portNumber.words, otherHint: testPortHint}
	portText   = text{
		pattern: portPattern,
		words:   `a port from 1 to 65535 or a range such as "9000-9100"`,
		hint:    portHint,
	}
	portEntry = text{
		pattern: portPattern,
		words:   portText.words,
		hint:    func(text string) string { return withoutBrackets(portHint(text)) },
	}
	port  = oneOf{portNumber, portEntry}
	ports = oneOf{portNumber, portText, list{of: port, words: "a list of ports and ranges", min: 1}}

	protocol  = oneOf{protocolName{protocolNames()}, portlessNumber{}}
	protocols = oneOf{
		protocolName{protocolNames()},
		portlessNumber{},
		list{of: protocol, words: "a list of protocols", min: 1},
	}

	cidrKey = key{
		name:     "cidr",
		shape:    oneSource,
		doc:      "the source: an address, a CIDR or the name of a network",
		required: true,
	}
	allowEntry = oneOf{oneSource, mapping{
		words:   "an entry of allow",
		keyHint: entryKeyHint,
		keys: []key{
			cidrKey,
			{
				name:  "expires",
				shape: expiry,
				doc:   "when the permission ends",
				more:  "The kernel ends it by itself, whether or not anything of portgrave runs.",
			},
			{name: "reason", shape: remark, doc: "why it was given"},
		},
	}}
	exceptEntry = oneOf{oneSource, mapping{
		words:   "an entry of except",
		keyHint: entryKeyHint,
		keys:    []key{cidrKey, {name: "reason", shape: remark, doc: "why it is refused"}},
	}}
)

// sourceList is the shape of allow and except.
func sourceList(entry shape) list {
	return list{
		of: entry, words: "a list of sources",
		scalarHint: sourcesScalar, mappingHint: sourcesMapping,
	}
}

var networkShape = oneOf{
	list{
		of:         oneSource,
		words:      "a list of addresses, CIDRs and names of networks",
		scalarHint: networkScalar,
	},
	mapping{
		words:      "a network",
		keyHint:    networkKeyHint,
		exactlyOne: []string{"file", "url", "dns"},
		keys: []key{
			{
				name:  "file",
				shape: anyText,
				doc:   "a file with one address, CIDR or range (192.0.2.10-192.0.2.20) a line",
				more: "A relative path starts at the folder of the file that names it. " + listDoc +
					" The file is read when its writer has closed or renamed it, never half. " +
					"Others " +
					"than root may write neither the file nor the folder that it stands in.",
			},
			{
				name:  "url",
				shape: text{pattern: httpsPattern, words: "an https:// URL"},
				doc:   "where such a file is downloaded from",
				more: "Only https. Content that can't be downloaded, or that is wrong, leaves " +
					"the last good content in force, and the network is reported as stale.",
			},
			{
				name:  "dns",
				shape: text{pattern: hostPattern, words: "a host name"},
				doc:   "a name whose A and AAAA records are the network",
				more: "If it can't be resolved, the last good addresses stay in force, and the " +
					"network is reported as stale.",
			},
			{
				name: "select",
				shape: text{
					words: `a JSON path (RFC 9535) such as "$.prefixes[*].cidr"`,
					loose: looseSelect,
				},
				doc:  "which strings of a file or download in JSON are the list",
				more: selectDoc,
			},
			{
				name:  "refresh",
				shape: duration,
				doc:   "how long downloaded or looked-up content is good (url: 24h, dns: 5m)",
				more:  "The daemon then fetches it again.",
			},
			{
				name:  "sha256",
				shape: text{pattern: sha256Pattern, words: "a SHA-256 sum: 64 hexadecimal digits"},
				doc:   "what the downloaded content must hash to",
				more:  "Other content is refused.",
			},
			{
				name:    "max",
				shape:   integer{min: 1, max: 10_000_000, words: "a number of entries from 1 to 10000000"},
				doc:     "refuse content with more entries than this",
				initial: defaultMaxEntries,
			},
			{
				name:  "max_shrink",
				shape: text{pattern: percentPattern, words: `a share from "0%" to "100%"`},
				doc: "refuse content that has lost more than this share of its entries since it " +
					"was last read",
				more: "It holds for lists that had 20 entries or more. Such content counts as " +
					"failed: the last good content stays in force, and the network is reported " +
					"as stale, until portgrave apply --force takes the shorter list. Content " +
					"with the sha256 of the policy is never refused.",
				initial: "50%",
			},
		},
	},
}

var serviceShape = mapping{words: "a service", keyHint: serviceKeyHint, keys: []key{
	{
		name:     "name",
		shape:    anyName,
		doc:      "what the service is called, in rules, logs and reports",
		required: true,
	},
	{
		name:  "port",
		shape: ports,
		doc:   "the port, ports or ranges of ports that clients dial",
		more: "This is the port that stands in the packet as it comes in, before any DNAT: one " +
			"entry covers a process of this host, a port published by Docker and a NodePort " +
			"alike.",
		initial: defaultPort,
	},
	{
		name:    "protocol",
		shape:   protocols,
		doc:     "the protocol or protocols",
		more:    protocolDoc,
		initial: "tcp",
	},
	{
		name:  "interfaces",
		shape: oneOf{interfaceName, list{of: interfaceName, words: "a list of interfaces", min: 1}},
		doc:   `interfaces the service is open on; "eth*" works; every one but lo if absent`,
		more: "On others it is refused. The kernel matches names as packets come, so an " +
			"interface may appear later. Loopback is never filtered.",
	},
	{
		name:  "addresses",
		shape: oneOf{localAddress, list{of: localAddress, words: "a list of addresses", min: 1}},
		doc:   "addresses of this host the service is open on; every one if absent",
		more: "At others it is refused, unless another service has the same port there. The " +
			"host's own workloads reach virtual IPs, which only its DNAT or IPVS knows, past the " +
			"services, unless addresses names them.",
	},
	{
		name:  "allow",
		shape: sourceList(allowEntry),
		doc:   "who may reach the service; nobody if empty or absent",
		more:  "Everyone else is refused.",
	},
	{
		name:  "except",
		shape: sourceList(exceptEntry),
		doc:   "who may not, although allow has them",
	},
	{
		name:  "log",
		shape: choice{"none", "denied", "all"},
		doc: "what is logged: refused packets (rate-limited per source), or accepted connections " +
			"as well",
		more:    "Packets go to NFLOG group 9090, and the daemon reports them.",
		initial: "denied",
	},
	{name: "rate", shape: mapping{words: "a rate", scalarHint: rateScalar, keys: []key{
		{
			name: "per_source",
			shape: text{
				pattern: ratePattern,
				words:   `a rate such as "20/second" (or /minute, /hour, /day)`,
				hint:    rateHint,
			},
			doc:      "new connections that one source address may open",
			required: true,
		},
		{
			name:  "burst",
			shape: integer{min: 1, max: 1_000_000, words: "a number from 1 to 1000000"},
			doc:   "how many it may open at once; as many as per_source if absent",
		},
		{
			name:    "ipv6_prefix",
			shape:   integer{min: 1, max: 128, words: "a prefix length from 1 to 128"},
			doc:     "how many bits of an IPv6 address make a source",
			more:    "A host usually has a whole /64 to send from.",
			initial: 64,
		},
	}}, doc: "limits new connections of each source", more: "What is above the limit is refused. " +
		"The kernel remembers a million sources a service; while that is full, sources it does " +
		"not know are refused as well."},
	{name: "owner", shape: anyText, doc: "who answers for the service"},
	{name: "environment", shape: anyText, doc: "what it belongs to: prod, staging, …"},
	{name: "purpose", shape: anyText, doc: "what the service is for"},
	{name: "runbook", shape: text{pattern: linkPattern, words: "a URL"}, doc: "where its runbook " +
		"is"},
	{
		name:  "tls",
		shape: choice{"required", "optional", "none"},
		doc:   "what audit holds the service to",
		more:  "With required, a service that answers without TLS is a finding.",
	},
	{
		name:  "health",
		shape: text{pattern: pathPattern, words: `a path that begins with "/"`},
		doc:   "the path of its health check",
		more:  "Audit asks for it over HTTP; an answer that is no success is a finding.",
	},
}}

var testShape = mapping{
	words:      "a test",
	keyHint:    testKeyHint,
	exactlyOne: []string{"to", "port"},
	instead:    &portlessTest,
	keys: []key{
		{
			name:     "from",
			shape:    text{words: "an address or a CIDR", loose: looseCIDR},
			doc:      "the source, an address or a CIDR",
			required: true,
		},
		{name: "to", shape: anyName, doc: "the service that it tries to reach"},
		{
			name:  "port",
			shape: testPort,
			doc:   "the port that it tries to reach, whatever service lists it",
		},
		{
			name:    "protocol",
			shape:   protocol,
			doc:     "the protocol, with port; or, instead of a port, one without ports",
			initial: "tcp",
		},
		{
			name:  "interface",
			shape: text{words: "the name of an interface", loose: looseArrival},
			doc:   "where the packet arrives; wherever it would be allowed if absent",
		},
		{
			name:  "address",
			shape: localAddress,
			doc:   "the local address it is sent to; whichever would be allowed if absent",
		},
		{
			name:     "expect",
			shape:    hintedChoice{choice{"allow", "deny"}, expectHint},
			doc:      "what must become of it",
			required: true,
		},
	},
}

func essentialKeys() []key {
	docs := map[string]string{
		"icmp-errors": "ICMP errors; path MTU discovery needs them",
		"echo":        "ping",
		"neighbour-discovery": "IPv6 neighbour and router discovery; without it IPv6 does not " +
			"work",
		"dhcp":                 "answers to the host's DHCP client",
		"multicast-membership": "IGMP and MLD",
		"multicast-answers": "answers to the host's own multicast questions (mDNS, LLMNR, SSDP), " +
			"for 3 seconds after each, from connected networks; through iptables it needs ipset",
	}
	var keys []key
	for _, name := range firewall.EssentialNames() {
		k := key{name: name, shape: boolean{}, doc: docs[name], initial: opensByDefault(name)}
		keys = append(keys, k)
	}
	return keys
}

// opensByDefault reports whether an essential is open unless the policy turns it off.
func opensByDefault(name string) bool {
	bit, err := firewall.ParseEssential(name)
	return err == nil && firewall.DefaultEssentials.Has(bit)
}

var (
	versionKey = key{
		name:     "version",
		shape:    integer{min: 1, max: 1, words: "1, the version of the language"},
		doc:      "the version of the policy language, 1",
		required: true,
	}
	networksKey = key{
		name: "networks",
		shape: mapOf{
			words: "a mapping from names to networks", pattern: namePattern, of: networkShape,
			valueHint: namedNetworks,
		},
		doc: "named sets of addresses; any, private and loopback are built in",
		more: "The built-in private is RFC 1918, RFC 4193 and link-local addresses. A network " +
			"that can't be loaded keeps its last good content; with none, the policy is not " +
			"applied. It never becomes empty, or everyone.",
	}
	servicesKey = key{
		name:  "services",
		shape: list{of: serviceShape, words: "a list of services", mappingHint: namedServices},
		doc:   "the ports that may open, and to whom",
		more: "A listed port is open to allow minus except, on its interfaces and addresses, and " +
			"refused to everyone else. Two services may share a port only on different " +
			"interfaces or addresses.",
	}
	testsKey = key{
		name:  "tests",
		shape: list{of: testShape, words: "a list of tests"},
		doc:   "what must be allowed and what must not; check and apply run them",
		more:  "A policy that fails its own tests is not applied, unless it is forced.",
	}
)

// policyShape is the shape of policy.yaml, and of a policy in a single file.
var policyShape = mapping{words: "a policy", keyHint: policyKeyHint, keys: []key{
	versionKey,
	{
		name:  "unlisted",
		shape: hintedChoice{choice{"ignore", "deny"}, unlistedHint},
		doc:   "ports that no service lists: left alone, or refused",
		more: "With ignore, portgrave concerns itself with listed ports alone. With deny, the " +
			"host is closed but for its services, replies to what it started itself, and " +
			"essentials. It leaves virtual IPs alone.",
		initial: "ignore",
	},
	{
		name:  "refuse",
		shape: choice{"drop", "reject"},
		doc:   "how packets are refused: silently, or with TCP reset and ICMP unreachable",
		more: "With drop, a client waits until it gives up; with reject, it learns at once that " +
			"the port is closed.",
		initial: "drop",
	},
	{
		name:  "established",
		shape: choice{"cut", "keep"},
		doc:   "running connections of sources that are no longer allowed: ended, or left alone",
		more: "With cut, every packet is looked up, and sockets and tracked connections of a " +
			"revoked source are ended as well.",
		initial: "cut",
	},
	{
		name:  "essentials",
		shape: mapping{words: "essentials", keys: essentialKeys()},
		doc: "what stays open under unlisted: deny; set one to false to close it, or to true to " +
			"open it",
	},
	networksKey, servicesKey, testsKey, acceptKey,
	{name: "direct", shape: mapping{words: "what is done about direct ways in", keys: []key{
		{
			name:  "interfaces",
			shape: list{of: interfaceName, words: "a list of interfaces", min: 1},
			doc: `interfaces with containers or guests behind them, such as ["docker0", ` +
				`"br-*"]`,
			required: true,
		},
	}}, doc: "closes containers' own addresses to everyone outside", more: "A port that is " +
		"published as 9090 can be reached past it at the container's own address, by everyone who has " +
		"a route there. New packets that come from other interfaces and go to these without DNAT " +
		"by this host are refused. Replies, related packets and traffic among these interfaces " +
		"go on. If absent, audit reports such ways in."},
	{
		name:  "boot",
		shape: choice{"closed", "open"},
		doc:   "what boot does when nothing can be loaded",
		more: "Closed refuses the ports that are listed, and under unlisted: deny everything but " +
			"replies; open refuses nothing.",
		initial: "closed",
	},
	{name: "daemon", shape: mapping{words: "the daemon's configuration", keys: []key{
		{
			name:  "protect",
			shape: choice{"auto", "always", "never"},
			doc:   "own the table where the kernel can, so that others can't change it",
			more: "Needs the nftables backend and Linux 6.9; elsewhere the daemon repairs what " +
				"others change. nft before 1.1 can't print a ruleset with such a table so that " +
				"it loads again, nor whole as JSON; so auto does without where such an nft is " +
				"installed. always has it nevertheless.",
			initial: "auto",
		},
		{
			name: "metrics",
			shape: text{
				pattern: loopbackPattern,
				words:   `a loopback address and port such as "127.0.0.1:9108"`,
			},
			doc:  "where metrics are served; nowhere if absent",
			more: "The control socket serves them in any case.",
		},
		{
			name:    "max_lease",
			shape:   duration,
			doc:     "the longest lease",
			more:    "No portgrave open may ask for more.",
			initial: strings.TrimSuffix(defaultMaxLease.String(), "0m0s"),
		},
		{
			name:    "poll",
			shape:   duration,
			doc:     "how often to look at what sends no notification",
			more:    "These are legacy iptables and ipsets; of nftables the kernel tells at once.",
			initial: DefaultPoll.String(),
		},
		{
			name:  "follow",
			shape: choice{FollowNetworks, FollowAll, FollowNone},
			doc: "what the daemon puts in force by itself when it changes: networks, the " +
				"policy's files too, or nothing",
			more: "With networks, an edited policy waits until portgrave apply or portgrave " +
				"reload, and portgrave status says that it waits. With none, changed networks " +
				"wait, too.",
			initial: FollowNetworks,
		},
	}}, doc: "the daemon's configuration"},
}}

// dropInShape is the shape of a file in policy.d.
var dropInShape = mapping{words: "a drop-in", keys: []key{
	{name: "version", shape: versionKey.shape, doc: versionKey.doc},
	networksKey, servicesKey, testsKey, acceptKey,
}, elsewhere: globalKeys()}

// globalKeys returns the keys that only policy.yaml may have, with a hint that says so.
func globalKeys() map[string]string {
	hints := map[string]string{}
	for _, k := range policyShape.keys {
		switch k.name {
		case versionKey.name, networksKey.name, servicesKey.name, testsKey.name, acceptKey.name:
		default:
			hints[k.name] = "holds for the whole host, so it belongs in policy.yaml, not in a " +
				"drop-in"
		}
	}
	return hints
}
