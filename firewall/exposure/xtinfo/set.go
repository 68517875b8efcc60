package xtinfo

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtmatch"
)

// struct xt_set_info { u16 index; u8 dim, flags } (xt_set.h). Flags are enum ip_set_kopt
// (ipset/ip_set.h): 1 inverts, 2, 4, 8, … mean that the first, second, third, … dimension is the
// source's, 128 is --return-nomatch.
type setInfo struct {
	index      uint16
	dim, flags uint8
}

// noSet is IPSET_INVALID_ID.
const noSet = 0xffff

func setInfoAt(b fields, at int) setInfo { return setInfo{b.u16(at), b.u8(at + 2), b.u8(at + 3)} }

func (s setInfo) sides() []xtmatch.Side {
	var out []xtmatch.Side
	for i := range min(int(s.dim), 6) { // IPSET_DIM_MAX
		if s.flags&(2<<i) != 0 {
			out = append(out, xtmatch.Source)
		} else {
			out = append(out, xtmatch.Destination)
		}
	}
	return out
}

// find returns the set, nil if it can't be read, and its name with the sides, for people.
func (s setInfo) find(c Context) (*exposure.Set, string) {
	var set *exposure.Set
	name := ""
	if c.IPSet != nil {
		set, name = c.IPSet(s.index)
	}
	if name == "" {
		name = fmt.Sprintf("number %d", s.index)
	}
	var words []string
	for _, side := range s.sides() {
		words = append(words, [...]string{"src", "dst"}[side])
	}
	return set, name + " " + strings.Join(words, ",")
}

// set is for revisions 1 and 2: struct xt_set_info_match_v1.
func set(c Context, b fields) []exposure.Statement {
	s := setInfoAt(b, 0)
	not := s.flags&1 != 0
	found, text := s.find(c)
	text = "ipset " + text
	if not {
		text = "not in " + text
	}
	if s.flags&128 != 0 {
		return one(exposure.Unknown{Text: text + " --return-nomatch"})
	}
	return append(none(), xtmatch.IPSet(found, c.Family, s.sides(), not, text)...)
}

// set3: struct xt_set_info_match_v3 { struct xt_set_info; struct { u8 op; u64 value } packets,
// bytes; u32 flags }.
func set3(c Context, b fields) []exposure.Statement { return setCounted(c, b, b.u8(8), b.u8(24)) }

// set4: struct xt_set_info_match_v4 { struct xt_set_info; struct { u64 value; u8 op } packets,
// bytes; u32 flags }.
func set4(c Context, b fields) []exposure.Statement { return setCounted(c, b, b.u8(16), b.u8(32)) }

// setCounted is a match that may test the element's counters too: op is IPSET_COUNTER_*, 0 for
// none.
func setCounted(c Context, b fields, packets, bytes uint8) []exposure.Statement {
	if packets == 0 && bytes == 0 {
		return set(c, b)
	}
	_, text := setInfoAt(b, 0).find(c)
	return one(exposure.Unknown{Text: "ipset " + text + " and its counters"})
}

// setTarget is for revisions 1 to 3: struct xt_set_info_target_v1, 2 { struct xt_set_info add_set,
// del_set; … }, 3 { … map_set; … }.
func setTarget(revision int) func(Context, fields) []exposure.Statement {
	return func(c Context, b fields) []exposure.Statement {
		out := none()
		update := func(at int, op exposure.SetOp, verb string) {
			if s := setInfoAt(b, at); s.index != noSet {
				found, text := s.find(c)
				out = append(
					out,
					xtmatch.UpdateIPSet(found, op, c.Family, s.sides(), verb+" ipset "+text)...)
			}
		}
		update(0, exposure.SetAdd, "add to")
		update(4, exposure.SetDelete, "delete from")
		if revision < 3 {
			return out
		}
		// --map-set writes the element's mark into the packet's, and sets its priority and queue.
		if s := setInfoAt(b, 8); s.index != noSet {
			_, text := s.find(c)
			mark := exposure.Operand{
				Field: exposure.FieldUnknown,
				Text:  "mark from ipset " + text,
				Max:   exposure.Ones(32),
			}
			out = append(
				out, exposure.Assign{To: exposure.FieldMark, Value: []exposure.Operand{mark}},
			)
		}
		return out
	}
}
