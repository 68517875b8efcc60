package nftables

import (
	"fmt"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// Options of a reader.
type Options struct {
	// IPSet finds an ipset by the index that iptables-nft's rules name it by (see IPSetName); nil:
	// look-ups in ipsets stay unknown. The name is for people; a nil set is one that couldn't be
	// read.
	IPSet func(index uint16) (set *exposure.Set, name string)
	// Interface is the name of an interface by its index, for the texts of rules; "": there is
	// none. nil: texts have the index.
	Interface func(index uint64) string
}

// decoder collects the tables.
type decoder struct {
	o      Options
	tables map[tableKey]*kernelTable
	chains []*exposure.Chain
	names  map[ChainName]*exposure.Chain
	// quoting are the expressions of rules whose text quotes a set of their own, which is filled at
	// the end.
	quoting map[*exposure.Rule]kernel.Rule
	// translator is used again for every rule: its registers are large.
	translator translator
	shared     *exposure.Shared
}

type tableKey struct {
	family exposure.Family
	name   string
}

// Decode turns a dump into tables, in the kernel's order. It is pure. It returns an error for bytes
// that don't fit netlink's framing, and for objects that name a table that isn't there.
func Decode(d *Dump, o Options) ([]*exposure.Table, error) {
	x := &decoder{
		o:          o,
		tables:     map[tableKey]*kernelTable{},
		names:      map[ChainName]*exposure.Chain{},
		quoting:    map[*exposure.Rule]kernel.Rule{},
		translator: translator{o: o, decoder: &kernel.Decoder{}},
		shared:     exposure.NewShared(),
	}
	var tables []*exposure.Table
	for _, each := range d.Tables {
		t, err := x.addTable(each)
		if err != nil {
			return nil, fmt.Errorf("nf_tables: table: %w", err)
		}
		tables = append(tables, t)
	}
	for _, part := range []struct {
		what    string
		objects []Object
		add     func(Object) error
	}{
		{"chain", d.Chains, x.addChain}, {"set", d.Sets, func(o Object) error { return x.addSet(o, d) }},
		{"object", d.Objects, x.addObject}, {"flowtable", d.Flowtables, x.addFlowtable}, {"rule", d.Rules, x.addRule},
	} {
		for _, each := range part.objects {
			if err := part.add(each); err != nil {
				return nil, fmt.Errorf("nf_tables: %s: %w", part.what, err)
			}
		}
	}
	for _, t := range tables {
		x.finish(x.tables[tableKey{t.Family, t.Name}], d)
	}
	rank(x.chains, x.names, d.Hooks)
	return tables, nil
}

func (x *decoder) addTable(o Object) (*exposure.Table, error) {
	k, err := kernel.DecodeTable(o.Attributes)
	if err != nil {
		return nil, err
	}
	t := &exposure.Table{System: exposure.NFTables, Family: o.Family, Name: k.Name}
	t.Dormant = k.Flags&unix.NFT_TABLE_F_DORMANT != 0
	key := tableKey{t.Family, t.Name}
	if x.tables[key] != nil {
		return nil, fmt.Errorf("%s %s is there twice", t.Family, t.Name)
	}
	x.tables[key] = &kernelTable{
		Table:   t,
		sets:    map[string]*kernelSet{},
		objects: map[objectKey]object{},
	}
	return t, nil
}

// table is the table that an object is in.
func (x *decoder) table(f exposure.Family, name string) (*kernelTable, error) {
	if t := x.tables[tableKey{f, name}]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("of table %s %s, which isn't there", f, name)
}

func (x *decoder) addChain(o Object) error {
	k, err := kernel.DecodeChain(o.Attributes)
	if err != nil {
		return err
	}
	t, err := x.table(o.Family, k.Table)
	if err != nil {
		return err
	}
	c := chainOf(o.Family, k)
	if t.Chain(c.Name) != nil {
		return fmt.Errorf("%s is in %s %s twice", c.Name, t.Family, t.Name)
	}
	t.AddChain(c)
	x.chains = append(x.chains, c)
	x.names[ChainName{t.Family, t.Name, c.Name}] = c
	return nil
}

func (x *decoder) addSet(o Object, d *Dump) error {
	k, err := kernel.DecodeSet(o.Attributes)
	if err != nil {
		return err
	}
	t, err := x.table(o.Family, k.Table)
	if err != nil {
		return err
	}
	s := setOf(k)
	name := SetName{o.Family, k.Table, s.name}
	if s.read = d.Elements[name]; d.Cut[name] && s.broken == "" {
		s.broken = tooLong
	}
	t.sets[s.name] = s
	t.order = append(t.order, s)
	return nil
}

func (x *decoder) addObject(o Object) error {
	k, err := kernel.DecodeObject(o.Attributes)
	if err != nil {
		return err
	}
	t, err := x.table(o.Family, k.Table)
	if err != nil {
		return err
	}
	text := objectText(k)
	rate := rateOf(k.Expr)
	if rate.Known() {
		rate.List = k.Name
	}
	t.objects[objectKey{k.Type, k.Name}] = object{text, rate}
	t.Others = append(t.Others, text)
	return nil
}

func (x *decoder) addFlowtable(o Object) error {
	k, err := kernel.DecodeFlowtable(o.Attributes)
	if err != nil {
		return err
	}
	t, err := x.table(o.Family, k.Table)
	if err != nil {
		return err
	}
	t.Others = append(t.Others, flowtableText(k))
	return nil
}

func (x *decoder) addRule(o Object) error {
	a, err := netlink.Parse(o.Attributes)
	if err != nil {
		return err
	}
	t, err := x.table(o.Family, a.String(unix.NFTA_RULE_TABLE))
	if err != nil {
		return err
	}
	c := t.Chain(a.String(unix.NFTA_RULE_CHAIN))
	if c == nil {
		return fmt.Errorf("of chain %s, which isn't there", a.String(unix.NFTA_RULE_CHAIN))
	}
	x.translator.reset(t, c)
	r, exprs := x.translator.decodeRule(&a)
	r.Statements = x.shared.Statements(r.Statements)
	r.Number = len(c.Rules) + 1
	c.AddRule(r)
	if namesOwnSet(exprs) {
		x.quoting[r] = exprs
	} else if text, ok := x.nativeText(t, r, exprs); ok {
		r.Text = text
	}
	return nil
}

// finish fills the table's sets, lists the named ones, and writes the rules' texts, which may quote
// sets.
func (x *decoder) finish(t *kernelTable, d *Dump) {
	for _, s := range t.order {
		if len(s.variants) == 0 {
			s.declared()
		}
	}
	fillFlat(t.order)
	for _, s := range t.order {
		s.finish(d.At)
		if !s.is(unix.NFT_SET_ANONYMOUS) {
			t.Sets = append(t.Sets, s.variants[0].out)
		}
	}
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			if exprs, ok := x.quoting[r]; ok {
				r.Text, _ = x.nativeText(t, r, exprs)
			}
			if r.Text == "" { // of iptables-nft
				r.Text = ruleText(t.Family, r.Statements)
			}
		}
	}
}
