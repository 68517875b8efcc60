package main

import (
	"fmt"
	"net/netip"
	"strings"
)

// Table and Set are the names that the scripts give to what they make.
const (
	tableName = "bench"
	setName   = "allow"
)

// networkFile is a list as a network file of a policy.
func networkFile(list []netip.Prefix) []byte {
	b := make([]byte, 0, len(list)*20)
	for _, p := range list {
		b = append(p.AppendTo(b), '\n')
	}
	return b
}

// listPolicy is a policy whose one service on port 9090 admits a network file.
func listPolicy(file string) string {
	return "version: 1\nnetworks:\n  list: {file: " + file + ", max: 2000000}\nservices:\n  - {name: metrics, port: 9090, allow: [list], log: none}\n"
}

// nftScript is the script for nft that loads a list into a table as an administrator would write it
// by hand.
func nftScript(family Family, list []netip.Prefix) []byte {
	kind, match := "ipv4_addr", "ip"
	if family == IPv6 {
		kind, match = "ipv6_addr", "ip6"
	}
	var b strings.Builder
	fmt.Fprintf(
		&b,
		"table inet %s {\n set %s { type %s; flags interval\n elements = { ",
		tableName,
		setName,
		kind,
	)
	writeElements(&b, list)
	fmt.Fprintf(
		&b,
		" } }\n chain input { type filter hook input priority 0;\n %s saddr @%s meta l4proto { tcp, udp } th dport 9090 accept\n meta l4proto { tcp, udp } th dport 9090 drop\n }\n}\n",
		match,
		setName,
	)
	return []byte(b.String())
}

func writeElements(b *strings.Builder, list []netip.Prefix) {
	var text []byte
	for i, p := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		text = p.AppendTo(text[:0])
		b.Write(text)
	}
}

// nftChange is the script for nft that changes the set; with flush, the set is emptied before.
func nftChange(c Change, flush bool) []byte {
	var b strings.Builder
	if flush {
		fmt.Fprintf(&b, "flush set inet %s %s\n", tableName, setName)
	}
	for _, part := range []struct {
		verb string
		list []netip.Prefix
	}{{"delete", c.Remove}, {"add", c.Add}} {
		if len(part.list) > 0 {
			fmt.Fprintf(&b, "%s element inet %s %s { ", part.verb, tableName, setName)
			writeElements(&b, part.list)
			b.WriteString(" }\n")
		}
	}
	return []byte(b.String())
}

// ipsetHeader makes a set with room for size entries and a tenth.
func ipsetHeader(b *strings.Builder, name string, family Family, size int) {
	kind := "inet"
	if family == IPv6 {
		kind = "inet6"
	}
	fmt.Fprintf(
		b,
		"create %s hash:net family %s hashsize %d maxelem %d\n",
		name,
		kind,
		max(size/4, 64),
		size+size/10+1,
	)
}

// ipsetScript is the script for ipset restore that loads a list.
func ipsetScript(family Family, list []netip.Prefix) []byte {
	var b strings.Builder
	ipsetHeader(&b, setName, family, len(list))
	ipsetLines(&b, "add", setName, list)
	return []byte(b.String())
}

func ipsetLines(b *strings.Builder, verb, name string, list []netip.Prefix) {
	var text []byte
	for _, p := range list {
		text = append(append(append(append(text[:0], verb...), ' '), name...), ' ')
		b.Write(append(p.AppendTo(text), '\n'))
	}
}

// ipsetChange is the script for ipset restore that changes the set.
func ipsetChange(c Change) []byte {
	var b strings.Builder
	ipsetLines(&b, "del", setName, c.Remove)
	ipsetLines(&b, "add", setName, c.Add)
	return []byte(b.String())
}

// ipsetReplace is the script for ipset restore that swaps another list in.
func ipsetReplace(family Family, list []netip.Prefix) []byte {
	var b strings.Builder
	ipsetHeader(&b, "next", family, len(list))
	ipsetLines(&b, "add", "next", list)
	fmt.Fprintf(&b, "swap next %s\ndestroy next\n", setName)
	return []byte(b.String())
}

// iptablesRules is the list as one iptables rule a prefix, for iptables-restore; what none of them
// accepts is dropped.
func iptablesRules(list []netip.Prefix) []byte {
	var b strings.Builder
	b.WriteString("*filter\n")
	for _, p := range list {
		for _, protocol := range []string{"tcp", "udp"} {
			fmt.Fprintf(&b, "-A INPUT -p %s --dport 9090 -s %v -j ACCEPT\n", protocol, p)
		}
	}
	b.WriteString(
		"-A INPUT -p tcp --dport 9090 -j DROP\n-A INPUT -p udp --dport 9090 -j DROP\nCOMMIT\n",
	)
	return []byte(b.String())
}

// ipsetRules look the source up in the ipset, for iptables-restore.
const ipsetRules = "*filter\n" +
	"-A INPUT -p tcp --dport 9090 -m set --match-set " + setName + " src -j ACCEPT\n-A INPUT -p udp --dport 9090 -m set --match-set " + setName + " src -j ACCEPT\n" +
	"-A INPUT -p tcp --dport 9090 -j DROP\n-A INPUT -p udp --dport 9090 -j DROP\nCOMMIT\n"
