package nfttext

import (
	"slices"
	"strings"
)

// headerFields are the protocols and fields of payload expressions (nft(8), PAYLOAD EXPRESSIONS).
var headerFields = map[string][]string{
	"ether": {"daddr", "saddr", "type"},
	"vlan":  {"id", "dei", "cfi", "pcp", "type"},
	"arp":   {"htype", "ptype", "hlen", "plen", "operation"},
	"ip": {"version", "hdrlength", "dscp", "ecn", "length", "id", "frag-off", "ttl", "protocol",
		"checksum", "saddr", "daddr"},
	"ip6": {
		"version", "dscp", "ecn", "flowlabel", "length", "nexthdr", "hoplimit", "saddr", "daddr",
	},
	"icmp": {"type", "code", "checksum", "id", "sequence", "gateway", "mtu"},
	"igmp": {"type", "checksum", "mrt", "group"},
	"icmpv6": {"type", "code", "checksum", "parameter-problem", "packet-too-big", "id", "sequence",
		"max-delay", "mtu", "taddr", "daddr"},
	"tcp": {
		"sport", "dport", "sequence", "ackseq", "doff", "reserved", "flags", "window", "checksum",
		"urgptr",
	},
	"udp":     {"sport", "dport", "length", "checksum"},
	"udplite": {"sport", "dport", "csumcov", "checksum"},
	"sctp":    {"sport", "dport", "vtag", "checksum"},
	"dccp":    {"sport", "dport", "type"},
	"ah":      {"nexthdr", "hdrlength", "reserved", "spi", "sequence"},
	"esp":     {"spi", "sequence"},
	"comp":    {"nexthdr", "flags", "cpi"},
	"th":      {"sport", "dport"},
}

// payloads are the expressions for these, by protocol and field. Nobody changes an expression, so
// all rules may have the same.
var payloads = map[[2]string]expr{}

func init() {
	for protocol, fields := range headerFields {
		for _, field := range fields {
			payloads[[2]string{protocol, field}] = expr{
				"payload": expr{"protocol": protocol, "field": field},
			}
		}
	}
}

// unqualified are the meta keys that may be written without "meta".
var unqualified = []string{
	"mark", "iif", "iifname", "iiftype", "iifgroup", "oif", "oifname", "oiftype", "oifgroup",
	"skuid", "skgid", "nftrace", "rtclassid", "ibriport", "ibrname", "obriport", "obrname",
	"pkttype", "cpu", "cgroup",
}

// extensions are the IPv6 extension headers whose fields expressions name.
var extensions = []string{"hbh", "frag", "dst", "mh", "srh", "rt0", "rt2"}

// primary reads one field of the packet, or a constant.
func (l *lexer) primary() (any, error) {
	t, err := l.next()
	if err != nil {
		return nil, err
	}
	if t.is("(") {
		return l.parenthesis(t)
	}
	if t.kind == word {
		next, err := l.peek()
		if err != nil {
			return nil, err
		}
		switch {
		case payloads[[2]string{t.text, next.text}] != nil:
			_, err = l.next()
			return payloads[[2]string{t.text, next.text}], err
		case slices.Contains(unqualified, t.text):
			return expr{"meta": expr{"key": t.text}}, nil
		}
		if read, ok := primaries[t.text]; ok && next.kind == word {
			return read(l, t)
		}
		if t.text[0] == '@' {
			return l.raw(t)
		}
		if headerFields[t.text] != nil || primaries[t.text] != nil {
			return nil, unexpected(next, "a field of "+t.text)
		}
	}
	l.push(t)
	return l.constant()
}

func (l *lexer) parenthesis(t token) (any, error) {
	if err := l.deeper(t.at); err != nil {
		return nil, err
	}
	defer func() { l.depth-- }()
	first, err := l.operand(0)
	if err != nil {
		return nil, err
	}
	list, err := l.joined(first, ",")
	if err != nil {
		return nil, err
	}
	if len(list) > 1 {
		return list, l.expect(")")
	}
	return first, l.expect(")")
}

// raw reads "@th,16,16".
func (l *lexer) raw(t token) (any, error) {
	if !slices.Contains([]string{"@ll", "@nh", "@th", "@ih"}, t.text) {
		return nil, unexpected(t, "a value")
	}
	var numbers [2]any
	for i := range numbers {
		if err := l.expect(","); err != nil {
			return nil, err
		}
		n, err := l.integer("a number of bits")
		if err != nil {
			return nil, err
		}
		numbers[i] = n
	}
	return expr{"payload": expr{"base": t.text[1:], "offset": numbers[0], "len": numbers[1]}}, nil
}

// primaries are the other expressions, by their first word.
var primaries map[string]func(*lexer, token) (any, error)

func init() { // the table and its readers refer to each other
	primaries = map[string]func(*lexer, token) (any, error){
		"meta":    func(l *lexer, _ token) (any, error) { return l.keyed("meta") },
		"ct":      (*lexer).ct,
		"fib":     (*lexer).fib,
		"socket":  (*lexer).socket,
		"rt":      (*lexer).rt,
		"ipsec":   (*lexer).ipsec,
		"osf":     (*lexer).osf,
		"numgen":  (*lexer).numgen,
		"jhash":   (*lexer).jhash,
		"symhash": (*lexer).symhash,
		"exthdr":  func(l *lexer, _ token) (any, error) { return l.option("exthdr", false) },
		"tcp":     optionOf("option", "tcp option"),
		"ip":      optionOf("option", "ip option"),
		"sctp":    optionOf("chunk", "sctp chunk"),
		"dccp":    optionOf("option", "dccp option"),
	}
	for _, name := range extensions {
		primaries[name] = func(l *lexer, t token) (any, error) {
			field, err := l.name("a field of the header")
			return expr{"exthdr": expr{"name": t.text, "field": field}}, err
		}
	}
}

func (l *lexer) keyed(name string) (any, error) {
	key, err := l.name("what to read")
	return expr{name: expr{"key": key}}, err
}

// option reads "NAME FIELD", or "NAME" before "exists".
func (l *lexer) option(kind string, fields bool) (any, error) {
	t, err := l.next()
	if err != nil || t.kind != word || t.text[0] == '@' {
		return nil, unexpected(t, "an option's name")
	}
	body := expr{"name": t.text}
	if t, err = l.peek(); err != nil {
		return nil, err
	}
	if fields && t.kind == word && !t.is("exists", "missing", "eq", "ne") {
		body["field"] = t.text
		_, err = l.next()
	}
	return expr{kind: body}, err
}

// optionOf reads "tcp option …" after "tcp".
func optionOf(second, kind string) func(*lexer, token) (any, error) {
	return func(l *lexer, t token) (any, error) {
		if err := l.expect(second); err != nil {
			return nil, err
		}
		return l.option(kind, true)
	}
}

// ct reads "ct [original|reply] [ip|ip6] KEY".
func (l *lexer) ct(token) (any, error) {
	body := expr{}
	key, err := l.name("what to read of the connection")
	if err == nil && (key == "original" || key == "reply") {
		body["dir"] = key
		key, err = l.name("what to read of the connection")
		if err == nil && (key == "ip" || key == "ip6") {
			family := key
			key, err = l.name("an address of the connection")
			key = family + " " + key
		}
	}
	body["key"] = key
	return expr{"ct": body}, err
}

// fib reads "fib saddr . iif oif".
func (l *lexer) fib(token) (any, error) {
	var flags []any
	for {
		flag, err := l.name("what to look up")
		if err != nil {
			return nil, err
		}
		flags = append(flags, flag)
		more, err := l.accept(".")
		if err != nil {
			return nil, err
		}
		if !more || len(flags) > 8 {
			break
		}
	}
	result, err := l.name("what to find")
	return expr{"fib": expr{"flags": flags, "result": result}}, err
}

func (l *lexer) socket(token) (any, error) {
	key, err := l.name("what to read of the socket")
	body := expr{"key": key}
	if err != nil {
		return nil, err
	}
	if leveled, err := l.accept("level"); err != nil {
		return nil, err
	} else if leveled {
		if body["level"], err = l.integer("a level"); err != nil {
			return nil, err
		}
	}
	return expr{"socket": body}, nil
}

// rt reads fields of IPv6's routing header, and results of routing.
func (l *lexer) rt(token) (any, error) {
	key, err := l.name("what to read of the route")
	if err != nil {
		return nil, err
	}
	switch key {
	case "ip", "ip6":
		next, err := l.name("what to read of the route")
		return expr{"rt": expr{"family": key, "key": next}}, err
	case "classid", "nexthop", "mtu", "ipsec":
		return expr{"rt": expr{"key": key}}, nil
	}
	return expr{"exthdr": expr{"name": "rt", "field": key}}, nil
}

func (l *lexer) ipsec(token) (any, error) {
	direction, err := l.name("in or out")
	if err != nil {
		return nil, err
	}
	body := expr{"dir": direction}
	if numbered, err := l.accept("spnum"); err != nil {
		return nil, err
	} else if numbered {
		if body["spnum"], err = l.integer("a number"); err != nil {
			return nil, err
		}
	}
	key, err := l.name("what to read")
	if err == nil && (key == "ip" || key == "ip6") {
		body["family"] = key
		key, err = l.name("an address")
	}
	body["key"] = key
	return expr{"ipsec": body}, err
}

func (l *lexer) osf(token) (any, error) {
	key, err := l.name("what to read")
	if err == nil && key == "ttl" {
		if _, err = l.name("how to compare the TTL"); err == nil {
			key, err = l.name("what to read")
		}
	}
	return expr{"osf": expr{"key": key}}, err
}

func (l *lexer) numgen(token) (any, error) {
	mode, err := l.name("inc or random")
	if err != nil {
		return nil, err
	}
	return l.modulo("numgen", expr{"mode": mode})
}

func (l *lexer) jhash(t token) (any, error) {
	if err := l.deeper(t.at); err != nil {
		return nil, err
	}
	of, err := l.tuple()
	l.depth--
	if err != nil {
		return nil, err
	}
	return l.modulo("jhash", expr{"expr": of})
}

func (l *lexer) symhash(token) (any, error) { return l.modulo("symhash", expr{}) }

// modulo reads "mod N [seed N] [offset N]".
func (l *lexer) modulo(name string, body expr) (any, error) {
	for {
		t, err := l.peek()
		if err != nil || !t.is("mod", "seed", "offset") {
			return expr{name: body}, err
		}
		if _, err := l.next(); err != nil {
			return nil, err
		}
		n, err := l.integer("a number")
		if err != nil {
			return nil, err
		}
		body[strings.TrimSpace(t.text)] = n
	}
}
