package hostview

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
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
func rule(h *exposure.Host, m message) error {
	r := exposure.RoutingRule{Family: firewall.IPv4, Table: uint32(m.header[4]), Action: exposure.RuleAction(m.header[7]), SuppressPrefixLength: -1}
	switch m.header[0] {
	case unix.AF_INET:
	case unix.AF_INET6:
		r.Family = firewall.IPv6
	default: // multicast routing has rules of its own
		return nil
	}
	destBits, sourceBits, tos := int(m.header[1]), int(m.header[2]), m.header[3]
	r.Not = binary.NativeEndian.Uint32(m.header[8:])&ruleInvert != 0
	var unknown []string
	if tos != 0 {
		unknown = append(unknown, fmt.Sprintf("tos %#x", tos))
	}
	masked := false
	err := attributes(m.attributes, func(a *netlink.AttributeDecoder) {
		switch a.Type() {
		case ruleDest:
			r.Dest = prefix(m.header[0], a.Bytes(), destBits)
		case ruleSource:
			r.Source = prefix(m.header[0], a.Bytes(), sourceBits)
		case ruleIn:
			r.In = a.String()
		case ruleOut:
			r.Out = a.String()
		case ruleGoto:
			r.Target = a.Uint32()
		case rulePriority:
			r.Priority = a.Uint32()
		case ruleTable:
			r.Table = a.Uint32()
		case ruleMark:
			r.Mark = a.Uint32()
			if !masked {
				r.MarkMask = 0xffffffff
			}
		case ruleMarkMask:
			r.MarkMask, masked = a.Uint32(), true
		case ruleL3MDev:
			r.L3MDev = a.Uint8() != 0
		case ruleSuppressPrefix:
			r.SuppressPrefixLength = int(int32(a.Uint32()))
		case ruleProtocol:
			r.Protocol = a.Uint8()
		case ruleDport:
			if from, to, ok := portRange(a); ok {
				r.Dport = exposure.Numbers(uint64(from), uint64(to))
			}
		case ruleSport:
			if from, to, ok := portRange(a); ok {
				r.Sport = exposure.Numbers(uint64(from), uint64(to))
			}
		case ruleDportMask: // printed with every single port, as the next
			if mask := a.Uint16(); mask != 0xffff {
				unknown = append(unknown, fmt.Sprintf("dport mask %#x", mask))
			}
		case ruleSportMask:
			if mask := a.Uint16(); mask != 0xffff {
				unknown = append(unknown, fmt.Sprintf("sport mask %#x", mask))
			}
		case ruleUsers:
			unknown = append(unknown, "a user")
		case ruleTunnel:
			if a.Uint64() != 0 {
				unknown = append(unknown, "a tunnel")
			}
		case ruleSuppressGroup:
			if group := a.Uint32(); group != 0xffffffff {
				unknown = append(unknown, fmt.Sprintf("suppress_ifgroup %d", group))
			}
		case ruleFlow, ruleOrigin, rulePad: // the realm that it sets; who made it
		default:
			unknown = append(unknown, fmt.Sprintf("attribute %d", a.Type()))
		}
	})
	if err != nil {
		return err
	}
	r.Unknown = strings.Join(unknown, ", ")
	h.Rules = append(h.Rules, r)
	return nil
}

// portRange reads struct fib_rule_port_range; ports from 0 to 0 are none.
func portRange(a *netlink.AttributeDecoder) (from, to uint16, ok bool) {
	b := a.Bytes()
	if len(b) != 4 {
		return 0, 0, false
	}
	from, to = binary.NativeEndian.Uint16(b), binary.NativeEndian.Uint16(b[2:])
	return from, to, from <= to && to > 0
}

// sortRules orders rules by priority; those of equal priority stay in the kernel's order.
func sortRules(h *exposure.Host) {
	slices.SortStableFunc(h.Rules, func(a, b exposure.RoutingRule) int { return cmp.Compare(a.Priority, b.Priority) })
}
