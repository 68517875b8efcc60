package nftables

import (
	"context"
	"encoding/binary"
	"os"
	"testing"

	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtinfo"
	"github.com/portgrave/portgrave/firewall/netlink"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// attr encodes an attribute that holds attributes.
func attr(kind uint16, parts ...[]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return netlink.AppendBytes(nil, kind, all)
}

func str(kind uint16, s string) []byte { return netlink.AppendString(nil, kind, s) }
func u32(kind uint16, n uint32) []byte {
	return netlink.AppendBytes(nil, kind, binary.BigEndian.AppendUint32(nil, n))
}

// expression encodes one as the kernel does.
func expression(name string, parts ...[]byte) []byte {
	return attr(
		unix.NFTA_LIST_ELEM,
		str(unix.NFTA_EXPR_NAME, name),
		attr(unix.NFTA_EXPR_DATA, parts...),
	)
}

func data(kind uint16, b ...byte) []byte { return attr(kind, attr(unix.NFTA_DATA_VALUE, b)) }

// dumpOf is a dump with one table, chain, set and rule.
func dumpOf(set, elements, rule []byte, family exposure.Family) *Dump {
	name := str(1, "t") // NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_SET_TABLE, NFTA_RULE_TABLE
	d := &Dump{
		Tables: []Object{{family, name}},
		Chains: []Object{
			{family, append(append([]byte(nil), name...), str(unix.NFTA_CHAIN_NAME, "c")...)},
		},
		Sets: []Object{
			{
				family,
				append(
					append(append([]byte(nil), name...), str(unix.NFTA_SET_NAME, "s")...),
					set...),
			},
		},
		Rules: []Object{
			{family, append(append(append([]byte(nil), name...), str(unix.NFTA_RULE_CHAIN, "c")...),
				attr(unix.NFTA_RULE_EXPRESSIONS, rule)...)},
		},
		Elements: map[SetName]*Elements{},
	}
	if elements != nil {
		keyLength := 0
		if k, err := kernel.DecodeSet(d.Sets[0].Attributes); err == nil {
			keyLength = int(k.KeyLen)
		}
		l := NewElements(keyLength)
		l.Add(attr(unix.NFTA_SET_ELEM_LIST_ELEMENTS, elements))
		d.Elements[SetName{family, "t", "s"}] = l
	}
	return d
}

// seeds are the rules, sets and elements of everything else that the tests load, as the kernel
// dumps them.
func seeds(f *testing.F) {
	f.Add(
		[]byte{},
		[]byte{},
		expression(
			"cmp",
			u32(unix.NFTA_CMP_SREG, 1),
			u32(unix.NFTA_CMP_OP, 0),
			data(unix.NFTA_CMP_DATA, 1, 2),
		),
		uint8(2),
	)
	if os.Geteuid() != 0 {
		return
	}
	backendtest.Isolate(f)
	for _, w := range worlds {
		if w.program == "nft" {
			nft(f, w.script)
		}
	}
	d, err := Take(context.Background(), dial(f))
	if err != nil {
		f.Fatal(err)
	}
	for i, r := range d.Rules {
		a, _ := netlink.Parse(r.Attributes)
		var set, elements []byte
		if i < len(d.Sets) {
			set = d.Sets[i].Attributes
			name, _, _ := declaration(d.Sets[i])
			l := d.Elements[name]
			for i := range l.n {
				elements = append(elements, elementOf(l.isEnd(i), l.key(i)...)...)
			}
			for _, b := range l.Others {
				elements = append(elements, attr(unix.NFTA_LIST_ELEM, b)...)
			}
		}
		f.Add(set, elements, a.Bytes(unix.NFTA_RULE_EXPRESSIONS), uint8(r.Family))
	}
}

// Whatever the bytes: no panic, an end, and tables whose rules can be shown.
func FuzzDecode(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, set, elements, rule []byte, family uint8) {
		tables, err := Decode(dumpOf(set, elements, rule, exposure.Family(family)), Options{})
		if err != nil {
			return
		}
		rs := &exposure.Ruleset{Tables: tables}
		rs.MarkDynamic()
		for _, r := range rulesOf(rs) {
			for _, set := range setsOf(r) {
				if set == nil || set.Width < 1 || len(set.Keys)%set.Width != 0 {
					t.Fatalf("set %+v", set)
				}
				rows := set.Len()
				if set.Default {
					rows++
				}
				if set.Unknown == "" &&
					(len(set.Data) != rows*set.DataWidth || set.Verdicts != nil && len(set.Verdicts) != rows) {
					t.Fatalf("set %+v", set)
				}
			}
		}
	})
}

// Objects of every kind, in any order, whatever the bytes.
func FuzzObjects(f *testing.F) {
	f.Add(str(1, "t"), attr(1, str(1, "t")), uint8(1))
	f.Fuzz(func(t *testing.T, a, b []byte, family uint8) {
		fam := exposure.Family(family)
		name := str(1, "t")
		_, _ = Decode(
			&Dump{
				Tables: []Object{{fam, name}},
				Chains: []Object{{fam, append(name, a...)}},
				Sets:   []Object{{fam, append(name, b...)}},
				Objects: []Object{
					{fam, append(name, a...)},
				},
				Flowtables: []Object{{fam, append(name, b...)}},
			},
			Options{},
		)
		_, _ = Decode(&Dump{Tables: []Object{{fam, a}}, Chains: []Object{{fam, b}}}, Options{})
		_, _ = chainAt(a)
	})
}

// Structs of x_tables, whatever the bytes.
func FuzzXTInfo(f *testing.F) {
	for _, name := range []string{"tcp", "multiport", "conntrack", "set", "physdev", "recent", "string", "CT", "DNAT", "NETMAP", "TPROXY", "SET", "REDIRECT", "CONNMARK"} {
		for revision := range uint32(4) {
			f.Add(name, revision, make([]byte, 300), true)
		}
	}
	f.Fuzz(func(t *testing.T, name string, revision uint32, b []byte, six bool) {
		family := exposure.FamilyIPv4
		if six {
			family = exposure.FamilyIPv6
		}
		x := translator{
			table: &kernelTable{Table: &exposure.Table{Family: family}},
			chain: &exposure.Chain{Base: &exposure.Base{}},
		}
		c, _ := x.xtContext()
		c.IPSet = func(uint16) (*exposure.Set, string) { return ipsets["ha"], "ha" }
		match, _ := xtinfo.Match(c, xtinfo.Info{Name: name, Revision: revision, Data: b})
		_ = ruleText(
			exposure.FamilyInet,
			append(
				match,
				xtinfo.Target(c, xtinfo.Info{Name: name, Revision: revision, Data: b})...),
		)
	})
}
