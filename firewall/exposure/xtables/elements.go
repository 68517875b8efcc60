package xtables

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"go4.org/netipx"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/iana"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// element says which of a set's boxes it is, and what decides among overlapping ones. Sets of
// millions are read, so it is small.
type element struct {
	at int32 // its box, in ipset.keys
	// lengths are the prefix lengths of its nets, one for each: the kernel looks at the longest
	// first.
	lengths [2]uint8
	nomatch bool
	note    *exposure.Note // nil for most
}

// mostElements bounds what ranges of addresses can make of a text of exposure.MaxText.
const mostElements = 5 << 20

// box is an element's box.
func (s *ipset) box(e element) []exposure.Range {
	w := len(s.columns)
	return s.keys[int(e.at)*w : (int(e.at)+1)*w : (int(e.at)+1)*w]
}

// append adds a box.
func (s *ipset) append(e element, box []exposure.Range) error {
	if len(s.elements) >= mostElements {
		return errors.New("too many elements")
	}
	e.at = int32(len(s.elements))
	s.elements = append(s.elements, e)
	s.keys = append(s.keys, box...)
	return nil
}

// parseElement reads an element with its options and appends it: as several boxes where a range of
// addresses is no single prefix of a net.
func (s *ipset) parseElement(value, options string, now time.Time) error {
	e, note := element{}, exposure.Note{}
	wildcard := false
	if options != "" {
		words, err := iptsave.SplitSet(options)
		if err != nil {
			return err
		}
		for i := 0; i < len(words); i++ {
			argument := ""
			if i+1 < len(words) {
				argument = words[i+1].Text
			}
			switch words[i].Text {
			case "nomatch":
				e.nomatch = true
				continue
			case "wildcard":
				wildcard = true
				continue
			case "timeout":
				n, err := strconv.ParseUint(argument, 10, 32)
				if err != nil {
					return fmt.Errorf("%q is no timeout", argument)
				}
				if n > 0 && !now.IsZero() { // 0: it stays
					note.Expires = now.Add(time.Duration(n) * time.Second)
				}
			case "comment":
				note.Comment = argument
			case "packets",
				"bytes",
				"skbmark",
				"skbprio",
				"skbqueue": // nothing that a look-up asks for
			default:
				return fmt.Errorf("option %q has no model", words[i].Text)
			}
			i++
		}
	}
	parts := strings.Split(value, ",")
	if len(parts) > len(s.dimensions) ||
		len(parts) < len(s.dimensions) && s.kind != "bitmap:ip,mac" {
		return fmt.Errorf("%d parts, where %s has %d", len(parts), s.kind, len(s.dimensions))
	}
	var all [][]choice
	for i, d := range s.dimensions {
		// bitmap:ip,mac: without a MAC, the first packet from the address fills it in
		// (bitmap_ipmac_do_test)
		choices := []choice{
			{
				ranges:    []exposure.Range{exposure.Full(48)},
				condition: "the MAC address that a packet teaches it",
			},
		}
		if i < len(parts) {
			var err error
			if choices, err = s.parsePart(d, parts[i], wildcard); err != nil {
				return err
			}
		}
		for _, c := range choices {
			if c.condition != "" {
				note.Condition = c.condition
			}
		}
		all = append(all, choices)
	}
	if note.Condition != "" || note.Comment != "" || !note.Expires.IsZero() {
		e.note = &note
	}
	return s.combine(e, all, 0, nil)
}

// combine appends a box for each way to choose one of each part's values.
func (s *ipset) combine(e element, parts [][]choice, net int, box []exposure.Range) error {
	if len(parts) == 0 {
		return s.append(e, box)
	}
	for _, c := range parts[0] {
		next := net
		if c.net {
			if net < len(e.lengths) {
				e.lengths[net] = c.length
			}
			next++
		}
		if err := s.combine(e, parts[1:], next, append(box[:len(box):len(box)], c.ranges...)); err != nil {
			return err
		}
	}
	return nil
}

// choice is one of the values that a part of an element stands for.
type choice struct {
	ranges    []exposure.Range
	net       bool
	length    uint8 // of a net's prefix
	condition string
}

func (s *ipset) parsePart(dimension, part string, wildcard bool) ([]choice, error) {
	single := func(r exposure.Range) []choice { return []choice{{ranges: []exposure.Range{r}}} }
	switch dimension {
	case "ip":
		if p, err := netip.ParsePrefix(part); err == nil &&
			p.Addr().Is6() == (s.family == exposure.FamilyIPv6) {
			return single(exposure.Prefix(p)), nil
		}
		r, ok := parseRange(s.family, part)
		if !ok {
			return nil, fmt.Errorf("%q is no %v address", part, s.family)
		}
		if s.netmask != 0 {
			host := exposure.Ones(s.width() - s.netmask)
			r = exposure.Range{From: r.From.AndNot(host), To: r.To.Or(host)}
		}
		return single(r), nil
	case "net":
		return s.parseNet(part)
	case "port":
		return s.parsePort(part)
	case "mac":
		v, ok := parseMAC(part)
		if !ok {
			return nil, fmt.Errorf("%q is no MAC address", part)
		}
		return single(exposure.One(v)), nil
	case "mark":
		n, ok := parseNumber(part, 32)
		if !ok {
			return nil, fmt.Errorf("%q is no mark", part)
		}
		return single(exposure.One(exposure.Number(n & s.markmask))), nil
	case "iface":
		name, bridged := strings.CutPrefix(part, "physdev:")
		if name == "" || len(name) > 15 {
			return nil, fmt.Errorf("%q is no interface name", part)
		}
		c := choice{ranges: []exposure.Range{exposure.One(exposure.Name(name))}}
		if wildcard {
			c.ranges[0] = exposure.NamePrefix(name)
		}
		if bridged { // which look-ups ask for the bridge port isn't said in the rule
			c.condition = "a bridge port"
		}
		return []choice{c}, nil
	}
	return nil, fmt.Errorf("dimension %s has no model", dimension)
}

func (s *ipset) parseNet(part string) ([]choice, error) {
	var prefixes []netip.Prefix
	if p, err := netip.ParsePrefix(part); err == nil {
		prefixes = append(prefixes, p)
	} else if a, err := netip.ParseAddr(part); err == nil {
		prefixes = append(prefixes, netip.PrefixFrom(a, a.BitLen()))
	} else if r, err := netipx.ParseIPRange(part); err == nil {
		prefixes = r.Prefixes()
	}
	var out []choice
	for _, p := range prefixes {
		if p.Addr().Is6() != (s.family == exposure.FamilyIPv6) || p.Addr().Zone() != "" {
			return nil, fmt.Errorf("%q is no %v network", part, s.family)
		}
		out = append(
			out,
			choice{
				ranges: []exposure.Range{exposure.Prefix(p)},
				net:    true,
				length: uint8(p.Bits()),
			},
		)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%q is no network", part)
	}
	return out, nil
}

// parsePort reads "tcp:80", "80" (tcp), "80-90", "icmp:echo-request", "icmp:8/0", "gre:0". For ICMP
// the kernel takes type and code for a port (get_port in net/netfilter/ipset/ip_set_getport.c), for
// other protocols 0.
func (s *ipset) parsePort(part string) ([]choice, error) {
	protocol, port, named := strings.Cut(part, ":")
	if !named {
		protocol, port = "tcp", part
	}
	n, ok := iana.Protocol(strings.ToLower(protocol))
	if !ok {
		return nil, fmt.Errorf("%q is no protocol", protocol)
	}
	r, ok := parsePorts(port, "-")
	if n == 1 || n == 58 {
		r, ok = icmpPort(n, port)
	}
	if !ok {
		return nil, fmt.Errorf("%q is no port", port)
	}
	if s.bitmap {
		return []choice{{ranges: []exposure.Range{r}}}, nil
	}
	return []choice{{ranges: []exposure.Range{exposure.One(exposure.Number(uint64(n))), r}}}, nil
}

func icmpPort(protocol uint8, s string) (exposure.Range, bool) {
	names := iana.ICMP
	if protocol == 58 {
		names = iana.ICMPv6
	}
	if m, ok := names[s]; ok {
		code := uint64(m.First) // ipset's names without a code mean code 0
		return exposure.One(exposure.Number(uint64(m.Type)<<8 | code)), true
	}
	typ, code, _ := strings.Cut(s, "/")
	t, ok1 := parseNumber(typ, 8)
	c, ok2 := parseNumber(code, 8)
	if code == "" {
		c, ok2 = 0, true
	}
	return exposure.One(exposure.Number(t<<8 | c)), ok1 && ok2
}
