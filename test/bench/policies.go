package main

import (
	"fmt"
	"strings"
)

// firstPort is the first that services and sockets have.
const firstPort = 20000

// networkFiles is how many files the large policy's list is spread over.
const networkFiles = 10

// largePolicy is a policy whose one service admits the network files.
func largePolicy() string {
	var b strings.Builder
	b.WriteString("version: 1\nnetworks:\n")
	var names []string
	for i := range networkFiles {
		names = append(names, fmt.Sprintf("part-%d", i))
		fmt.Fprintf(&b, "  part-%d: {file: part-%d.txt}\n", i, i)
	}
	b.WriteString("services:\n")
	fmt.Fprintf(
		&b,
		"  - {name: metrics, port: 9090, allow: [%s], log: none}\n",
		strings.Join(names, ", "),
	)
	return b.String()
}

// widePolicy is a policy of many services with two sources each.
func widePolicy(services int) string {
	var b strings.Builder
	b.WriteString("version: 1\nservices:\n")
	for i := range services {
		fmt.Fprintf(
			&b,
			"  - {name: service-%d, port: %d, allow: [10.%d.%d.0/24, 192.0.2.7], log: none}\n",
			i,
			firstPort+i,
			i>>8,
			i&255,
		)
	}
	return b.String()
}

// foreignRules are rules as others write them: the host's input jumps to chains of a hundred rules
// each, and refuses the rest.
func foreignRules(rules int) string {
	const chain = 100
	var jumps, chains strings.Builder
	for c := 0; c*chain < rules; c++ {
		fmt.Fprintf(&jumps, "  jump part-%d\n", c)
		fmt.Fprintf(&chains, " chain part-%d {\n", c)
		for i := range min(chain, rules-c*chain) {
			n := c*chain + i
			fmt.Fprintf(&chains, "  ip saddr 172.%d.%d.0/24 tcp dport %d accept\n",
				16+n>>8&15, n&255, firstPort+n%1000)
		}
		chains.WriteString(" }\n")
	}
	return "table inet others {\n" + chains.String() + " chain input {\n" +
		"  type filter hook input priority 0; policy drop;\n  ct state established accept\n" +
		jumps.String() + " }\n}\n"
}
