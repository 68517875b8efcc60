package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// Keys of other firewalls (ufw, firewalld, iptables, Ansible, Kubernetes, AWS), and what to write
// instead. No replacement allows more than what was written.

// keyHint says what to write instead of some keys.
type keyHint struct {
	keys  string // separated by spaces, in lower case, without dashes and underscores
	write string
}

// lookUpKeyHint finds the hint for a key, whatever its case, dashes and underscores.
func lookUpKeyHint(slips []keyHint, key string) string {
	plain := strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(key))
	for _, s := range slips {
		if slices.Contains(strings.Fields(s.keys), plain) {
			return s.write
		}
	}
	return ""
}

const writeAllow = "write allow, a list of addresses, CIDRs and names of networks"

var serviceKeyHints = []keyHint{
	{"proto protocols l4proto ipprotocol transport", "write protocol"},
	{"ports dport dports destport destinationport destinationports portrange lport listen",
		"write port, the port that clients dial"},
	{"targetport containerport nodeport hostport",
		"write port, the port that clients dial before any DNAT"},
	{"sport sports sourceport sourceports",
		"a source port says nothing about who sends, and nothing stands for it"},
	{"source sources src srcs saddr from fromip sourceip sourceips sourceaddress sourceaddresses " +
		"sourcerange sourceranges loadbalancersourceranges sourcecidr cidr cidrs cidrip " +
		"cidrblock cidrblocks ipv6cidrblocks cidripv6 ipblock ipblocks accept allowed allowfrom " +
		"permit allowlist whitelist hosts ips network networks subnet subnets prefix prefixes " +
		"clients remote remoteip remoteaddress rsrc", writeAllow},
	{"deny denied drop block blocked reject denyfrom denylist blacklist blocklist exclude " +
		"excluded not",
		"write except for sources that allow has; whom allow does not have is refused anyway"},
	{"action verdict jump target policy rule decision",
		"leave it out: whom allow has is let in, and everyone else is refused"},
	{"state enabled immediate permanent ensure", "leave it out: what stands in the file holds"},
	{"priority order weight rulenumber insert", "leave it out: the order of services has no " +
		"meaning"},
	{"direction chain ingress type inbound", "leave it out: a service is what comes in"},
	{"egress outbound out output", "leave it out: what the host sends is never filtered"},
	{"interface iface in ininterface inif iif iifname device dev nic", "write interfaces"},
	{"zone zones", "zones do not exist here: write interfaces, and allow for sources"},
	{"dest destination dst daddr to toip destinationaddress address listenaddress bind ip",
		"write addresses, of this host"},
	{"podselector namespaceselector securitygroups securitygroupids sourcesecuritygroupid self",
		"sources are addresses: write them into allow"},
	{"comment comments description desc note title", "write purpose"},
	{"limit ratelimit limits", `write rate, such as {per_source: 10/minute}`},
	{"logging loglevel logprefix", "write log: none, denied or all"},
	{"ctstate connstate conntrack states", "leave it out: replies are let in without a rule"},
}

// serviceKeyHint says what to write for an unknown key in a service.
func serviceKeyHint(n *node, f field) string {
	switch f.key {
	case "from_port", "to_port", "fromPort", "toPort", "endPort":
		return portsOfAWS(n)
	}
	if lookUpKeyHint(serviceKeyHints[:1], f.key) != "" && f.value.kind == kindString &&
		slices.Contains(protocolNames(), f.value.text) {
		return "write protocol: " + f.value.text
	}
	for _, hint := range []string{listenHint(f), protocolKeyHint(n, f), sourceKeyHint(f)} {
		if hint != "" {
			return hint
		}
	}
	return lookUpKeyHint(serviceKeyHints, f.key)
}

// protocolKeyHint says what to write for a protocol in place of a key: icmp: true, tcp: 22.
func protocolKeyHint(n *node, f field) string {
	name := strings.ToLower(f.key)
	what := name
	if strings.Contains(name, "icmp") || name == "echo" {
		name, what = "ping", "ICMP"
	}
	switch {
	case isPortProtocol(name):
		return portsOfProtocol(name, f.value)
	case !slices.Contains(firewall.PortlessNames(), name):
		return ""
	case isNo(f.value):
		if name == "ping" {
			return "leave it out: unlisted: deny and essentials: {echo: false} refuse ping"
		}
		return "leave it out: what no service lists is refused under unlisted: deny"
	case n.get("port") != nil || n.get("protocol") != nil:
		return fmt.Sprintf("%s has no ports: write a service of its own, with protocol: %s", what,
			name)
	}
	return fmt.Sprintf("%s has no ports: write protocol: %s, without port", what, name)
}

// portsOfProtocol says how to write a protocol with its ports.
func portsOfProtocol(protocol string, value *node) string {
	var ports []string
	for _, item := range itemsOf(value) {
		if !portPattern.MatchString(item.text) {
			return "write protocol: " + protocol + ", and its ports in port"
		}
		ports = append(ports, quotedRange(item.text))
	}
	switch len(ports) {
	case 0:
		return "write protocol: " + protocol + ", and its ports in port"
	case 1:
		return fmt.Sprintf("write port: %s and protocol: %s", ports[0], protocol)
	}
	return fmt.Sprintf("write port: [%s] and protocol: %s", strings.Join(ports, ", "), protocol)
}

// isNo reports whether a value switches something off.
func isNo(n *node) bool {
	return slices.Contains([]string{"false", "no", "off", "deny", "drop", "reject", "0"},
		strings.ToLower(n.text))
}

// sourceKeyHint says which allow to write for a key that other programs have for sources, if its
// value is sources. ip may just as well be an address of this host.
func sourceKeyHint(f field) string {
	sources := lookUpKeyHint(serviceKeyHints, f.key) == writeAllow
	plain := strings.ToLower(f.key)
	if !sources && plain != "ip" {
		return ""
	}
	texts, ok := sourceTexts(f.value)
	switch {
	case !ok && !sources:
		return ""
	case !ok:
		return writeAllow
	case sources:
		return "write allow: [" + yamlScalars(texts) + "]"
	case slices.ContainsFunc(texts, func(s string) bool {
		p, err := parseCIDR(s)
		return err != nil || !p.IsSingleIP()
	}):
		return "write allow: [" + yamlScalars(texts) + "]"
	}
	return fmt.Sprintf("write allow: [%s] for a source, or addresses: [%[1]s] for an address of "+
		"this host", yamlScalars(texts))
}

// sourceTexts returns the addresses and CIDRs in a value; false if it has others, or none.
func sourceTexts(n *node) (texts []string, ok bool) {
	for _, item := range itemsOf(n) {
		parts := splitTrimmed(item.text)
		if item.kind != kindString || !allSources(parts) {
			return nil, false
		}
		texts = append(texts, parts...)
	}
	return texts, len(texts) > 0
}

// namedServices says how to write a mapping from names to services as a list; "" if it may be a
// service itself.
func namedServices(n *node) string {
	for _, f := range n.fields {
		if f.value.kind != kindMapping || slices.Contains(serviceShape.names(), f.key) {
			return ""
		}
	}
	if len(n.fields) == 0 {
		return ""
	}
	return "; begin each with a dash and its name: - name: " + yamlScalar(n.fields[0].key)
}

// listenHint says what to write for the addresses that a program listens on; "" if the key or its
// value is something else.
func listenHint(f field) string {
	if !slices.Contains([]string{"listen", "bind", "listen_address"}, strings.ToLower(f.key)) {
		return ""
	}
	items := itemsOf(f.value)
	notAddress := func(n *node) bool { return n.kind != kindString || !isPrefix(n.text) }
	if len(items) > 0 && !slices.ContainsFunc(items, notAddress) {
		return "write addresses, of this host"
	}
	return boundHint(f.value.text)
}

// boundHint says what to write for an address and port that a program listens on.
func boundHint(text string) string {
	at, err := netip.ParseAddrPort(text)
	if err != nil || at.Addr().Zone() != "" || at.Addr().Is4In6() || at.Port() == 0 {
		return ""
	}
	switch at.Addr() {
	case netip.IPv6Unspecified(): // of both families on Linux
		return fmt.Sprintf("write port: %d", at.Port())
	case netip.IPv4Unspecified():
		return fmt.Sprintf("write port: %d, and sources of IPv4 alone in allow", at.Port())
	}
	return fmt.Sprintf("write port: %d and addresses: %s", at.Port(),
		yamlScalar(at.Addr().String()))
}

// portsOfAWS says how to write from_port and to_port.
func portsOfAWS(n *node) string {
	for _, pair := range [][2]string{
		{"from_port", "to_port"}, {"fromPort", "toPort"}, {"port", "endPort"},
	} {
		first, last := n.get(pair[0]), n.get(pair[1])
		if first == nil || last == nil || !portPattern.MatchString(first.text+"-"+last.text) {
			continue
		}
		if first.text == last.text {
			return "write port: " + first.text
		}
		return fmt.Sprintf("write port: %q", first.text+"-"+last.text)
	}
	return `write port, the port or a range such as "9000-9100"`
}

var entryKeyHints = []keyHint{
	{"ip ips address addresses addr source src saddr network name from host cidrip cidrs " +
		"cidrblock prefix subnet range", "write cidr, one address, CIDR or name of a network"},
	{"ipblock", "write its cidr alone: {cidr: 192.0.2.0/24}; its except belongs into the " +
		"service's except"},
	{"dns hostname fqdn domain", elsewhere["dns"]},
	{"file path", elsewhere["file"]},
	{"url uri", elsewhere["url"]},
	{"port ports protocol proto", "it belongs to the service, which the entry stands in"},
	{"except not", "it belongs to the service, beside allow"},
	{"until expiry end ends validuntil", "write expires"},
	{"comment description desc note purpose", "write reason"},
	{"podselector namespaceselector securitygroup", "sources are addresses: write cidr"},
}

func entryKeyHint(_ *node, f field) string {
	hint := lookUpKeyHint(entryKeyHints, f.key)
	for key, words := range elsewhere {
		if hint != words || f.value.kind != kindString || f.value.text == "" {
			continue
		}
		name := networkName(key, f.value.text)
		return fmt.Sprintf("%s: write %s: {%s: %s} under networks, and %s in place of the braces",
			words, name, key, f.value.yaml(), name)
	}
	return hint
}

const listItself = "write the list itself: NAME: [192.0.2.0/24]"

var networkKeyHints = []keyHint{
	{"cidr cidrs address addresses addr entries entry elements members ips ip hosts list prefix " +
		"prefixes sources source src network networks subnet subnets range ranges allow",
		listItself},
	{"path filename", "write file, for a list in a file"},
	{"uri href link", "write url"},
	{"host hostname fqdn domain name", "write dns, for the addresses of a host name"},
	{"jsonpath jq query json field key", "write select, a JSON path"},
	{"interval ttl period every", "write refresh"},
	{"asn asns as autonomoussystem country countries countrycode geoip",
		"write file or url, for a list of its prefixes"},
	{"format type", "leave it out: the content tells its format"},
	{"checksum hash digest sha", "write sha256"},
	{"maxentries limit maxelem", "write max"},
	{"comment description desc", "write a comment behind #"},
}

func networkKeyHint(_ *node, f field) string {
	hint := lookUpKeyHint(networkKeyHints, f.key)
	texts, ok := sourceTexts(f.value)
	switch {
	case ok && hint == listItself:
		return "write the list itself: NAME: [" + yamlScalars(texts) + "]"
	case hint == "" && f.value.kind == kindNull && isPrefix(f.key):
		return "write a list, in brackets: NAME: [" + yamlScalar(f.key) + "]"
	}
	return hint
}

var testKeyHints = []keyHint{
	{"action verdict result want expected", "write expect: allow or deny"},
	{"source src saddr ip address host network cidr client", "write from"},
	{"icmp ping", "write protocol: ping"},
	{"service", "write to, the name of a service"},
	{"proto", "write protocol"},
	{"dport", "write port"},
	{"dest destination dst daddr", "write address, of this host, beside to or port"},
	{"iface device in", "write interface"},
}

func testKeyHint(_ *node, f field) string { return lookUpKeyHint(testKeyHints, f.key) }

var policyKeyHints = []keyHint{
	{"rules rule firewall ingress input inbound filter ports",
		"write services, a list of ports and who may reach them"},
	{"default defaults policy defaultpolicy defaultinput",
		"write unlisted: ignore leaves ports alone that no service lists, deny refuses them"},
	{"ipset ipsets sets set groups aliases hosts addressgroups",
		"write networks, a mapping from names to addresses"},
	{"zones zone", "zones do not exist here: a service has interfaces, and allow for sources"},
	{"egress output outbound", "leave it out: what the host sends is never filtered"},
	{"icmp ping icmpv6",
		"write a service with protocol: ping; what ICMP needs is under essentials"},
	{"allow allowed allowlist whitelist source sources",
		"write it into a service: each has an allow of its own"},
	{"deny block drop blocklist blacklist except",
		"write except into each service, for sources that its allow has"},
	{"apiversion kind metadata spec", "this is a manifest of Kubernetes, not a policy"},
}

func policyKeyHint(_ *node, f field) string { return lookUpKeyHint(policyKeyHints, f.key) }
