package xtinfo

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtmatch"
)

// Info is one match or target: its name, revision and struct.
type Info struct {
	Name     string
	Revision uint32
	Data     []byte
}

// Context is what a decoder needs besides the struct.
type Context struct {
	// Family of the rule's table, and of its addresses.
	Family address.Family
	// IPSet finds an ipset by its index; nil if ipsets can't be read. The name is for people, "" if
	// unknown. A nil set couldn't be read.
	IPSet func(index uint16) (set *exposure.Set, name string)
	// Hook is the hook of the rule's base chain. HasHook is false for a user chain, which may be
	// called from several.
	Hook    exposure.Hook
	HasHook bool
}

// layout is a decoder for one revision of a struct.
type layout struct {
	// size is the minimum size of the struct: sizeof without the padding at the end.
	size   int
	decode func(c Context, b fields) []exposure.Statement
}

// key identifies a match or target's revision.
type key struct {
	name     string
	revision uint32
}

// fields reads a struct's members by their offset. Callers have checked the size.
type fields []byte

func (b fields) u8(at int) uint8       { return b[at] }
func (b fields) u16(at int) uint16     { return binary.NativeEndian.Uint16(b[at:]) }
func (b fields) be16(at int) uint16    { return binary.BigEndian.Uint16(b[at:]) }
func (b fields) u32(at int) uint32     { return binary.NativeEndian.Uint32(b[at:]) }
func (b fields) u64(at int) uint64     { return binary.NativeEndian.Uint64(b[at:]) }
func (b fields) bit(at, n int) bool    { return b[at]&(1<<n) != 0 }
func (b fields) text(at, n int) string { return cString(b[at : at+n]) }

func cString(b []byte) string {
	for i, x := range b {
		if x == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// address reads a union nf_inet_addr (include/uapi/linux/netfilter.h): an IPv4 address is its first
// four bytes.
func (b fields) address(at int, f address.Family) netip.Addr {
	if f == address.IPv6 {
		return netip.AddrFrom16([16]byte(b[at : at+16]))
	}
	return netip.AddrFrom4([4]byte(b[at : at+4]))
}

func (b fields) value(at int, f address.Family) exposure.Value {
	return exposure.Address(b.address(at, f))
}

// ports reads two ports in host byte order, first and last.
func (b fields) ports(at int) exposure.Range { return portRange(b.u16(at), b.u16(at+2)) }

// portRange is a range of ports.
func portRange(from, to uint16) exposure.Range {
	return exposure.Numbers(uint64(from), uint64(to))
}

// Match translates a match. comment is the text of "-m comment", "" for others.
func Match(c Context, i Info) (statements []exposure.Statement, comment string) {
	if i.Name == "comment" {
		text := cString(i.Data)
		return []exposure.Statement{exposure.NoEffect{Text: fmt.Sprintf("comment %q", text)}}, text
	}
	if l, ok := matches[key{i.Name, i.Revision}]; ok && len(i.Data) >= l.size {
		if s := l.decode(c, i.Data); s != nil {
			return s, ""
		}
	}
	header, optional := xtmatch.Needs(i.Name, c.Family)
	return one(exposure.Unknown{
		Text: unknownText("match", i), Optional: optional, Header: header, Rate: rateOf(i),
	}), ""
}

// Target translates a target.
func Target(c Context, i Info) []exposure.Statement {
	if text, ok := harmless[i.Name]; ok {
		return []exposure.Statement{exposure.NoEffect{
			Text: text + prefixText(i), Header: xtmatch.WritesHeader(i.Name),
		}}
	}
	if l, ok := targets[key{i.Name, i.Revision}]; ok && len(i.Data) >= l.size {
		if s := l.decode(c, i.Data); s != nil {
			return s
		}
	}
	return []exposure.Statement{exposure.Unknown{Text: unknownText("target", i), Effect: true}}
}

func unknownText(what string, i Info) string {
	if describe, ok := descriptions[key{i.Name, i.Revision}]; ok && what == "match" &&
		len(i.Data) >= describe.size {
		return describe.text(i.Data)
	}
	return fmt.Sprintf("xt %s %q revision %d", what, i.Name, i.Revision)
}
