package nftables

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// nativeText is a rule as nft prints it. ok is false for rules of iptables-nft, whose expressions
// nft can't read.
func (x *decoder) nativeText(
	t *kernelTable,
	r *exposure.Rule,
	k kernel.Rule,
) (text string, ok bool) {
	for _, e := range k.Exprs {
		switch e.(type) {
		case kernel.XTMatch, kernel.XTTarget:
			return "", false
		}
	}
	return k.Named(uint8(t.Family), kernel.Naming{
		Protocols: true,
		Interface: func(index uint64) string { return x.o.interfaceName(index) },
		Set: func(name string) string {
			s := t.sets[name]
			if s == nil || len(s.variants) == 0 {
				return "{ … }"
			}
			return x.ownSetText(r.Statements, s.variants[0].out)
		},
	}), true
}

// namesOwnSet reports whether a rule has a set of its own, whose elements its text quotes.
func namesOwnSet(k kernel.Rule) bool {
	return slices.ContainsFunc(k.Exprs, func(e kernel.Expr) bool {
		switch e := e.(type) {
		case kernel.Lookup:
			return kernel.OwnSet(e.Set)
		case kernel.Objref:
			return e.Set != "" && kernel.OwnSet(e.Set)
		}
		return false
	})
}

func (o Options) interfaceName(index uint64) string {
	if o.Interface == nil {
		return ""
	}
	return o.Interface(index)
}

// maxSorted is the most elements that are sorted to be shown as nft does.
const maxSorted = 1000

// ownSetText are the elements of a rule's own set, in order.
func (x *decoder) ownSetText(statements []exposure.Statement, s *exposure.Set) string {
	key, columns := usesOf(statements, s)
	order := make([]int, s.Len())
	for i := range order {
		order[i] = i
	}
	if len(order) <= maxSorted {
		slices.SortStableFunc(order, func(a, b int) int {
			for c := range s.Width {
				if n := s.Element(a)[c].From.Compare(s.Element(b)[c].From); n != 0 {
					return n
				}
			}
			return 0
		})
	}
	var words []string
	for n, i := range order {
		if n == shownMost {
			words = append(words, fmt.Sprintf("… %d in all", s.Len()))
			break
		}
		var box []string
		for c := range s.Width {
			box = append(box, x.columnText(statements, key, c, s.Element(i)[c]))
		}
		words = append(words, strings.Join(box, " . ")+elementText(s, i, columns))
	}
	if s.Default {
		words = append(words, "*"+elementText(s, s.Len(), columns))
	}
	return "{ " + strings.Join(words, ", ") + " }"
}

// columnText is a range in a column of a key.
func (x *decoder) columnText(
	statements []exposure.Statement,
	key []exposure.Operand,
	column int,
	r exposure.Range,
) string {
	f := exposure.FieldNone
	if column < len(key) {
		f = shownAs(key[column])
	}
	if n, small := r.From.Uint64(); small && r.From == r.To {
		switch f {
		case exposure.FieldInIndex, exposure.FieldOutIndex:
			if name := x.o.interfaceName(n); name != "" {
				return strconv.Quote(name)
			}
		case exposure.FieldICMPType:
			return kernel.ICMPType(n, ofICMPv6(statements))
		}
	}
	return rangeText(f, r)
}

func ofICMPv6(statements []exposure.Statement) bool {
	return slices.ContainsFunc(statements, func(s exposure.Statement) bool {
		m, ok := s.(exposure.Match)
		return ok && isProtocol(m, unix.IPPROTO_ICMPV6)
	})
}

func isProtocol(m exposure.Match, n uint64) bool {
	return !m.Not && len(m.Key) == 1 && m.Key[0] == exposure.Of(exposure.FieldProtocol) &&
		m.In != nil && slices.Equal(m.In.Keys, []exposure.Range{exposure.One(exposure.Number(n))})
}

// usesOf finds what statements look up in a set, and for which fields its data is, by column.
func usesOf(
	statements []exposure.Statement,
	set *exposure.Set,
) (key []exposure.Operand, columns map[int]exposure.Field) {
	columns = map[int]exposure.Field{}
	data := func(o *exposure.Operand, f exposure.Field) {
		if o != nil && o.Lookup != nil && o.Lookup.In == set {
			key, columns[o.Lookup.Column] = o.Lookup.Key, f
		}
	}
	for _, s := range statements {
		switch s := s.(type) {
		case exposure.Match:
			if s.In == set {
				key = s.Key
			}
			for i := range s.Key {
				data(&s.Key[i], exposure.FieldNone)
			}
		case exposure.VerdictMap:
			if s.In == set {
				key = s.Key
			}
		case exposure.Assign:
			for i := range s.Value {
				data(&s.Value[i], s.To)
			}
		case exposure.NAT:
			dest := cmp.Or(map[exposure.Family]exposure.Field{
				exposure.FamilyIPv6: exposure.FieldDest6,
			}[s.Family], exposure.FieldDest4)
			data(s.Addr, dest)
			data(s.AddrMax, dest)
			data(s.Port, exposure.FieldDport)
			data(s.PortMax, exposure.FieldDport)
		}
	}
	return key, columns
}
