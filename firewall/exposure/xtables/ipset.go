package xtables

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// ipset is one set of the kernel's.
type ipset struct {
	name, kind string
	// "ip", "net", "port", "mac", "mark", "iface", "set": the type's words behind its method
	dimensions []string
	bitmap     bool            // bitmap:port has no protocol
	family     exposure.Family // FamilyIPv4 or FamilyIPv6; FamilyUnspec takes packets of both
	netmask    int             // elements stand for networks of that length; 0: they don't
	bitmask    exposure.Value  // which bits of an address count
	markmask   uint64
	maxelem    int
	line       int
	columns    []string // nft's words for the columns of the model's set
	elements   []element
	keys       []exposure.Range // their boxes, one behind the other
	members    []string         // list:set
	unknown    string           // why it has no model, or not all of its elements
	wrong      string           // why ipset wouldn't take an element; "" if nothing is known
	set        *exposure.Set
}

// readSets reads what `ipset save` prints.
func readSets(src source, text []byte, now time.Time, into map[string]*ipset) error {
	var last *ipset
	err := iptsave.ReadSets(bytes.NewReader(text), func(l *iptsave.SetLine) error {
		switch {
		case !l.Add && into[l.Set] != nil:
			return fmt.Errorf("set %s is there twice", l.Set)
		case !l.Add:
			last = newIPSet(l.Set, strings.Fields(l.Text))
			last.line = l.Number
			into[l.Set] = last
			return nil
		case last == nil || last.name != l.Set:
			if last = into[l.Set]; last == nil {
				return fmt.Errorf(
					"an element of set %s, which no line before it creates: give the whole "+
						"output of `ipset save`",
					l.Set,
				)
			}
		}
		if last.add(l.Text, now); last.wrong != "" {
			return fmt.Errorf("set %s: %s", firewall.Excerpt(l.Set), last.wrong)
		}
		return nil
	})
	if err != nil {
		return src.at(err)
	}
	for _, s := range into {
		if s.set == nil {
			s.finish(src)
		}
	}
	return nil
}

// kinds are the types of sets that there are (ipset(8)).
var kinds = []string{
	"hash:ip",
	"hash:mac",
	"hash:ip,mac",
	"hash:net",
	"hash:net,net",
	"hash:ip,port",
	"hash:net,port",
	"hash:ip,port,ip",
	"hash:ip,port,net",
	"hash:net,port,net",
	"hash:ip,mark",
	"hash:net,iface",
	"bitmap:ip",
	"bitmap:ip,mac",
	"bitmap:port",
	"list:set",
}

// columnOf are the dimensions that we know, and how nft calls their columns.
var columnOf = map[string]string{
	"ip":    "addr",
	"net":   "addr",
	"port":  "inet_service",
	"mac":   "ether_addr",
	"mark":  "mark",
	"iface": "ifname",
}

func newIPSet(name string, header []string) *ipset {
	s := &ipset{name: name, bitmask: exposure.Ones(128), markmask: 0xffffffff}
	if len(header) == 0 {
		s.unknown = "it has no type"
		return s
	}
	s.kind = header[0]
	method, words, _ := strings.Cut(header[0], ":")
	s.dimensions = strings.Split(words, ",")
	s.bitmap = method == "bitmap"
	hasAddress := false
	if !slices.Contains(kinds, s.kind) {
		s.unknown = fmt.Sprintf("ipset type %s has no model", s.kind)
	}
	for _, d := range s.dimensions {
		hasAddress = hasAddress || d == "ip" || d == "net"
	}
	if hasAddress {
		s.family = exposure.FamilyIPv4
	}
	for i := 1; i < len(header); i++ {
		value := ""
		if i+1 < len(header) {
			value = header[i+1]
		}
		ok := true
		switch header[i] {
		case "counters", "comment", "forceadd", "skbinfo":
			continue
		case "family":
			if value == "inet6" && hasAddress {
				s.family = exposure.FamilyIPv6
			}
			ok = value == "inet" || value == "inet6"
		case "netmask":
			s.netmask, ok = s.parseNetmask(value)
		case "bitmask":
			var a netip.Addr
			if a, ok = parseAddress(s.family, value); ok {
				s.bitmask = exposure.Address(a)
			}
		case "markmask":
			s.markmask, ok = parseNumber(value, 32)
		case "maxelem", "size":
			s.maxelem, _ = strconv.Atoi(value)
		case "range", "timeout", "hashsize", "bucketsize", "initval", "probes", "resize":
		default:
			ok = false
		}
		if !ok {
			s.unknown = fmt.Sprintf(
				"ipset %s was created with %s %s, which has no model",
				name,
				header[i],
				value,
			)
			break
		}
		i++
	}
	s.columns = s.columnNames()
	return s
}

func (s *ipset) columnNames() []string {
	var out []string
	for _, d := range s.dimensions {
		switch {
		case columnOf[d] == "addr" && s.family == exposure.FamilyIPv6:
			out = append(out, "ipv6_addr")
		case columnOf[d] == "addr":
			out = append(out, "ipv4_addr")
		case d == "port" && !s.bitmap:
			out = append(out, "inet_proto", "inet_service")
		default:
			out = append(out, columnOf[d])
		}
	}
	return out
}

func (s *ipset) parseNetmask(value string) (int, bool) {
	n, err := strconv.Atoi(value)
	return n, err == nil && n > 0 && n <= s.width()
}

// width is that of the set's addresses.
func (s *ipset) width() int {
	if s.family == exposure.FamilyIPv6 {
		return 128
	}
	return 32
}

func (s *ipset) add(text string, now time.Time) {
	value, options, _ := strings.Cut(text, " ")
	if s.kind == "list:set" {
		s.members = append(s.members, value)
		return
	}
	if s.unknown != "" {
		return
	}
	if err := s.parseElement(value, options, now); err != nil {
		s.unknown = fmt.Sprintf("its element %q: %v", firewall.Excerpt(text), err)
		s.wrong = wrongElement(text, s.dimensions)
		s.elements, s.keys = nil, nil
	}
}

// finish makes the model's set of the elements.
func (s *ipset) finish(src source) {
	s.set = &exposure.Set{
		Name:    s.name,
		Size:    s.maxelem,
		Unknown: s.unknown,
		Columns: s.columns,
		Width:   len(s.columns),
	}
	if src.file != "" {
		s.set.Origin = exposure.Origin{File: src.file, Line: s.line}
	}
	switch {
	case s.unknown != "" || s.kind == "list:set":
	case s.flat():
		s.set.Keys = s.keys
		for i, e := range s.elements {
			if e.note != nil {
				if s.set.Notes == nil {
					s.set.Notes = map[int]exposure.Note{}
				}
				s.set.Notes[i] = *e.note
			}
		}
	default:
		s.resolve()
	}
	s.elements, s.keys = nil, nil
}

// key is what of a packet is looked up, given --match-set's directions ("src,dst"), one for each
// dimension. False if the kernel would not look at all: fewer directions than dimensions, or
// another IP version (ip_set_test in net/netfilter/ipset/ip_set_core.c).
func (s *ipset) key(family exposure.Family, source []bool) ([]exposure.Operand, bool) {
	if len(source) < len(s.dimensions) || s.family != exposure.FamilyUnspec && s.family != family {
		return nil, false
	}
	var key []exposure.Operand
	for i, d := range s.dimensions {
		pick := func(src, dst exposure.Field) exposure.Operand {
			if source[i] {
				return exposure.Of(src)
			}
			return exposure.Of(dst)
		}
		switch d {
		case "ip", "net":
			o := pick(fieldsFor(family).source, fieldsFor(family).dest)
			if mask := s.bitmask.And(exposure.Ones(s.width())); mask != exposure.Ones(s.width()) {
				o = o.And(mask)
			}
			key = append(key, o)
		case "port":
			if !s.bitmap {
				key = append(key, exposure.Of(exposure.FieldProtocol))
			}
			key = append(key, pick(exposure.FieldSport, exposure.FieldDport))
		case "mac":
			key = append(key, pick(exposure.FieldSourceMAC, exposure.FieldDestMAC))
		case "mark":
			key = append(key, exposure.Of(exposure.FieldMark).And(exposure.Number(s.markmask)))
		case "iface":
			key = append(key, pick(exposure.FieldInName, exposure.FieldOutName))
		}
	}
	return key, true
}

// Read reads `ipset save` output. now is when it was taken, for elements with a timeout; the zero
// Time if nobody knows.
func (s *Sets) Read(name string, r io.Reader, now time.Time) error {
	text, err := exposure.ReadText(name, r, lessText)
	if err != nil {
		return err
	}
	return readSets(source{name: name, file: name}, text, now, s.sets)
}
