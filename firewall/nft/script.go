package nft

import (
	"fmt"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// Script is the State as an nft script. Loaded with `nft -f` into a kernel without our table it
// makes the same objects that Apply makes; loaded over itself it replaces itself. A table that
// portgrave made keeps others from that where the kernel knows the flag persist; the script says
// what to do.
func Script(s firewall.State, now time.Time) string {
	r := compile(s, now, layout{})
	var b strings.Builder
	b.WriteString("#!/usr/sbin/nft -f\n# Written by portgrave export nft.\n")
	// Adding before deleting makes deleting work whether the table is there or not. (destroy would
	// do the same for every table, and needs nft 1.0.7.)
	b.WriteString(
		"# Should the next line be refused (Operation not supported, or not permitted), " +
			"the table is portgrave's own:\n# portgrave teardown removes it.\n",
	)
	fmt.Fprintf(&b, "table inet %s\ndelete table inet %s\ntable inet %s {\n\tcomment %q\n",
		tableName, tableName, tableName, r.mark)
	for _, name := range sortedKeys(r.counters) {
		fmt.Fprintf(&b, "\tcounter %s {\n\t}\n", name)
	}
	for _, name := range sortedKeys(r.sets) {
		scriptSet(&b, r.sets[name], now)
	}
	// A chain must be declared before a rule or a map goes to it.
	for _, name := range sortedKeys(r.chains) {
		if r.chains[name].hook == nil {
			fmt.Fprintf(&b, "\tchain %s {\n\t}\n", name)
		}
	}
	for _, name := range sortedKeys(r.chains) {
		c := r.chains[name]
		fmt.Fprintf(&b, "\tchain %s {\n", name)
		if c.hook != nil {
			fmt.Fprintf(&b, "\t\ttype %s hook %s priority %d; policy accept;\n",
				c.hook.Type, hookNames[c.hook.Number], c.hook.Priority)
		}
		for _, rule := range c.rules {
			fmt.Fprintf(&b, "\t\t%s\n", rule)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	for _, name := range r.portMaps() {
		fmt.Fprintf(&b, "add element inet %s %s {\n", tableName, name)
		for _, p := range allVerdicts(r.sets[name]) {
			fmt.Fprintf(&b, "\t%d : %s,\n", uint16(p.key), p.verdict)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func scriptSet(b *strings.Builder, s *set, now time.Time) {
	types := map[uint32]string{
		typeIPv4Addr:              "ipv4_addr",
		typeIPv6Addr:              "ipv6_addr",
		typeInetService:           "inet_service",
		askedType(typeIPv4Addr):   "ipv4_addr . inet_service . inet_service",
		askedType(typeIPv6Addr):   "ipv6_addr . inet_service . inet_service",
		virtualType(typeIPv4Addr): "ipv4_addr . inet_proto . inet_service",
		virtualType(typeIPv6Addr): "ipv6_addr . inet_proto . inet_service",
	}
	if s.kind == kindPorts {
		fmt.Fprintf(b, "\tmap %s {\n\t\ttype %s : verdict\n", s.name, types[s.spec.KeyType])
	} else {
		fmt.Fprintf(b, "\tset %s {\n\t\ttype %s\n", s.name, types[s.spec.KeyType])
	}
	var flags []string
	for _, f := range []struct {
		bit  uint32
		name string
	}{
		{unix.NFT_SET_EVAL, "dynamic"},
		{unix.NFT_SET_INTERVAL, "interval"},
		{unix.NFT_SET_TIMEOUT, "timeout"},
	} {
		if s.spec.Flags&f.bit != 0 {
			flags = append(flags, f.name)
		}
	}
	if len(flags) > 0 {
		fmt.Fprintf(b, "\t\tflags %s\n", strings.Join(flags, ","))
	}
	if s.spec.Timeout != 0 {
		fmt.Fprintf(b, "\t\ttimeout %ds\n", int64(s.spec.Timeout.Seconds()))
	}
	if s.spec.Size != 0 {
		fmt.Fprintf(b, "\t\tsize %d\n", s.spec.Size)
	}
	var elements []string
	for _, x := range s.spans {
		text := x.String()
		if x.first == x.last {
			text = x.first.String() // a set of exact addresses takes no prefix
		}
		if !x.until.IsZero() {
			text += fmt.Sprintf(" timeout %ds", max(1, int64(x.until.Sub(now).Seconds())))
		}
		elements = append(elements, text)
	}
	for i := range s.keys.Len() {
		elements = append(elements, s.keys.At(i).String())
	}
	for _, v := range s.virtual {
		elements = append(
			elements,
			fmt.Sprintf("%s . %s . %d", v.At.Addr(), v.Protocol, v.At.Port()),
		)
	}
	if len(elements) > 0 {
		fmt.Fprintf(b, "\t\telements = {\n\t\t\t%s\n\t\t}\n", strings.Join(elements, ",\n\t\t\t"))
	}
	b.WriteString("\t}\n")
}
