package hostview

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
)

// sizeofRuleHeader is that of struct fib_rule_hdr.
const sizeofRuleHeader = 12

// FRA_* of include/uapi/linux/fib_rules.h, those that golang.org/x/sys hasn't.
const (
	ruleDest, ruleSource, ruleIn, ruleGoto, rulePriority = 1, 2, 3, 4, 6
	ruleMark, ruleFlow, ruleTunnel, ruleSuppressGroup    = 10, 11, 12, 13
	ruleSuppressPrefix, ruleTable, ruleMarkMask, ruleOut = 14, 15, 16, 17
	rulePad, ruleL3MDev, ruleUsers, ruleOrigin           = 18, 19, 20, 21
	ruleProtocol, ruleSport, ruleDport                   = 22, 23, 24
	ruleSportMask, ruleDportMask                         = 28, 29
)

const ruleInvert = 2 // FIB_RULE_INVERT

// rule reads struct fib_rule_hdr and FRA_*.
func rule(m netlink.Message) (r exposure.RoutingRule, ok bool, err error) {
	r = exposure.RoutingRule{
		Family:               address.IPv4,
		Table:                uint32(m.Header[4]),
		Action:               exposure.RuleAction(m.Header[7]),
		SuppressPrefixLength: -1,
	}
	switch m.Header[0] {
	case unix.AF_INET:
	case unix.AF_INET6:
		r.Family = address.IPv6
	default: // multicast routing has rules of its own
		return r, false, nil
	}
	destBits, sourceBits, tos := int(m.Header[1]), int(m.Header[2]), m.Header[3]
	r.Not = binary.NativeEndian.Uint32(m.Header[8:])&ruleInvert != 0
	var unknown []string
	if tos != 0 {
		unknown = append(unknown, fmt.Sprintf("tos %#x", tos))
	}
	masked := false
	err = netlink.Each(m.Attributes, func(kind uint16, data []byte) error {
		n := uint32(netlink.Native(data))
		switch kind {
		case ruleDest:
			r.Dest = prefix(m.Header[0], data, destBits)
		case ruleSource:
			r.Source = prefix(m.Header[0], data, sourceBits)
		case ruleIn:
			r.In = netlink.String(data)
		case ruleOut:
			r.Out = netlink.String(data)
		case ruleGoto:
			r.Target = n
		case rulePriority:
			r.Priority = n
		case ruleTable:
			r.Table = n
		case ruleMark:
			r.Mark = n
			if !masked {
				r.MarkMask = 0xffffffff
			}
		case ruleMarkMask:
			r.MarkMask, masked = n, true
		case ruleL3MDev:
			r.L3MDev = n != 0
		case ruleSuppressPrefix:
			r.SuppressPrefixLength = int(int32(n))
		case ruleProtocol:
			r.Protocol = uint8(n)
		case ruleDport:
			if from, to, ok := portRange(data); ok {
				r.Dport = exposure.Numbers(uint64(from), uint64(to))
			}
		case ruleSport:
			if from, to, ok := portRange(data); ok {
				r.Sport = exposure.Numbers(uint64(from), uint64(to))
			}
		case ruleDportMask: // printed with every single port, as the next
			if n != 0xffff {
				unknown = append(unknown, fmt.Sprintf("dport mask %#x", n))
			}
		case ruleSportMask:
			if n != 0xffff {
				unknown = append(unknown, fmt.Sprintf("sport mask %#x", n))
			}
		case ruleUsers:
			unknown = append(unknown, "a user")
		case ruleTunnel:
			if netlink.Native(data) != 0 {
				unknown = append(unknown, "a tunnel")
			}
		case ruleSuppressGroup:
			if n != 0xffffffff {
				unknown = append(unknown, fmt.Sprintf("suppress_ifgroup %d", n))
			}
		case ruleFlow, ruleOrigin, rulePad: // the realm that it sets; who made it
		default:
			unknown = append(unknown, fmt.Sprintf("attribute %d", kind))
		}
		return nil
	})
	r.Unknown = strings.Join(unknown, ", ")
	return r, true, err
}

// portRange reads struct fib_rule_port_range; ports from 0 to 0 are none.
func portRange(b []byte) (from, to uint16, ok bool) {
	if len(b) != 4 {
		return 0, 0, false
	}
	from, to = binary.NativeEndian.Uint16(b), binary.NativeEndian.Uint16(b[2:])
	return from, to, from <= to && to > 0
}

// sortRules orders rules by priority; those of equal priority stay in the kernel's order.
func sortRules(h *exposure.Host) {
	slices.SortStableFunc(
		h.Rules,
		func(a, b exposure.RoutingRule) int { return cmp.Compare(a.Priority, b.Priority) },
	)
}
