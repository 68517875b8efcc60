package nftables

import (
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Attributes and flags that x/sys/unix lacks (include/uapi/linux/netfilter/nf_tables.h).
const (
	tableUserdata = 6 // NFTA_TABLE_USERDATA
	tableOwner    = 7 // NFTA_TABLE_OWNER

	chainFlags   = 10 // NFTA_CHAIN_FLAGS
	chainBinding = 4  // NFT_CHAIN_BINDING

	hookDev      = 3 // NFTA_HOOK_DEV
	hookDevs     = 4 // NFTA_HOOK_DEVS
	devicePrefix = 2 // NFTA_DEVICE_PREFIX: every device that begins so

	setObjectType  = 15 // NFTA_SET_OBJ_TYPE
	setExpr        = 17 // NFTA_SET_EXPR
	setExpressions = 18 // NFTA_SET_EXPRESSIONS
	setCount       = 20 // NFTA_SET_COUNT (Linux 6.16)
	descConcat     = 2  // NFTA_SET_DESC_CONCAT
	fieldLength    = 1  // NFTA_SET_FIELD_LEN

	flowtableTable = 1 // NFTA_FLOWTABLE_TABLE
	flowtableName  = 2 // NFTA_FLOWTABLE_NAME
	flowtableHook  = 3 // NFTA_FLOWTABLE_HOOK
	flowtableDevs  = 3 // NFTA_FLOWTABLE_HOOK_DEVS
)

// The decoders below read the attributes of one object as the kernel dumps it. They return an error
// for bytes that don't fit netlink's framing, and for nothing else.

// Table is a table with what Add has taken in of it.
type Table struct {
	Name       string
	Flags      uint32 // NFT_TABLE_F_*
	Owner      uint32 // the netlink port that alone may change it, if the flags say so
	Comment    string
	Chains     []*Chain
	Sets       []Set
	Objects    []Object
	Flowtables []Flowtable

	chains  map[string]*Chain // by name
	decoder Decoder
}

// DecodeTable reads a table, without what is in it.
func DecodeTable(b []byte) (*Table, error) {
	a, err := netlink.Parse(b)
	return &Table{
		Name:    a.String(unix.NFTA_TABLE_NAME),
		Flags:   uint32(a.Number(unix.NFTA_TABLE_FLAGS)),
		Owner:   uint32(a.Number(tableOwner)),
		Comment: Comment(a.Bytes(tableUserdata)),
	}, err
}

// Comment is the comment in user data of tables, rules and elements: records of a type, a length
// and bytes; type 0 is the comment (libnftnl's udata.h: NFTNL_UDATA_TABLE_COMMENT,
// NFTNL_UDATA_RULE_COMMENT, NFTNL_UDATA_SET_ELEM_COMMENT).
func Comment(userdata []byte) string {
	for len(userdata) >= 2 {
		kind, n := userdata[0], int(userdata[1])
		if 2+n > len(userdata) {
			return ""
		}
		if kind == 0 {
			return netlink.String(userdata[2 : 2+n])
		}
		userdata = userdata[2+n:]
	}
	return ""
}

// Hook says where the kernel enters a base chain.
type Hook struct {
	Type     string // "filter"
	Number   uint32 // NF_INET_PRE_ROUTING = 0 (include/uapi/linux/netfilter.h)
	Priority int32
	Policy   uint32   // CodeDrop, CodeAccept
	Devices  []string // of ingress and egress; "eth*" for all that begin so
}

// Equal reports whether both hooks are the same; nil is no hook.
func (h *Hook) Equal(o *Hook) bool {
	if h == nil || o == nil {
		return h == o
	}
	return h.Type == o.Type && h.Number == o.Number && h.Priority == o.Priority &&
		h.Policy == o.Policy &&
		slices.Equal(h.Devices, o.Devices)
}

// Chain is a chain.
type Chain struct {
	Table, Name string
	Hook        *Hook // nil for a regular chain
	Binding     bool  // made by the kernel for a rule, and goes when the rule goes
	Rules       []Rule
}

// DecodeChain reads a chain, without its rules.
func DecodeChain(b []byte) (Chain, error) {
	a, err := netlink.Parse(b)
	if err != nil {
		return Chain{}, err
	}
	c := Chain{
		Table:   a.String(unix.NFTA_CHAIN_TABLE),
		Name:    a.String(unix.NFTA_CHAIN_NAME),
		Binding: a.Number(chainFlags)&chainBinding != 0,
	}
	if !a.Has(unix.NFTA_CHAIN_HOOK) {
		return c, nil
	}
	h, err := netlink.Parse(a.Bytes(unix.NFTA_CHAIN_HOOK))
	if err != nil {
		return c, err
	}
	c.Hook = &Hook{
		Type:     a.String(unix.NFTA_CHAIN_TYPE),
		Number:   uint32(h.Number(unix.NFTA_HOOK_HOOKNUM)),
		Priority: int32(uint32(h.Number(unix.NFTA_HOOK_PRIORITY))),
		Policy:   CodeAccept,
	}
	if a.Has(unix.NFTA_CHAIN_POLICY) {
		c.Hook.Policy = uint32(a.Number(unix.NFTA_CHAIN_POLICY))
	}
	c.Hook.Devices, err = devices(h)
	return c, err
}

func devices(hook netlink.Attributes) (out []string, err error) {
	if hook.Has(hookDev) {
		out = append(out, hook.String(hookDev))
	}
	err = netlink.Each(hook.Bytes(hookDevs), func(kind uint16, data []byte) error {
		name := netlink.String(data)
		if kind == devicePrefix {
			name += "*"
		}
		if !slices.Contains(out, name) { // the kernel names the first one twice
			out = append(out, name)
		}
		return nil
	})
	return out, err
}

// SetSpec is how a set is declared, but for its name. Two are the same if they are equal.
type SetSpec struct {
	Flags           uint32 // NFT_SET_*
	KeyType, KeyLen uint32 // nft's number of the type; bytes
	DataType        uint32 // of a map; NFT_DATA_VERDICT for verdicts
	Timeout         time.Duration
	Size            uint32 // how many elements it may hold; 0 for any number
	ElementExprs    int    // expressions that are attached to every element
}

// Set is a set or map without its elements.
type Set struct {
	Table, Name string
	SetSpec
	DataLen    uint32
	ObjectType uint32   // of a map to objects
	Fields     []uint32 // lengths of the parts of a concatenation, if the kernel tells
	Exprs      []Expr
	Count      Optional // how many elements there are, on kernels that count
}

// Anonymous reports whether the set belongs to a rule and goes with it.
func (s SetSpec) Anonymous() bool { return s.Flags&unix.NFT_SET_ANONYMOUS != 0 }

// DecodeSet reads a set.
func DecodeSet(b []byte) (Set, error) {
	a, err := netlink.Parse(b)
	if err != nil {
		return Set{}, err
	}
	desc, err := netlink.Parse(a.Bytes(unix.NFTA_SET_DESC))
	if err != nil {
		return Set{}, err
	}
	s := Set{
		Table: a.String(unix.NFTA_SET_TABLE),
		Name:  a.String(unix.NFTA_SET_NAME),
		SetSpec: SetSpec{
			Flags:    uint32(a.Number(unix.NFTA_SET_FLAGS)),
			KeyType:  uint32(a.Number(unix.NFTA_SET_KEY_TYPE)),
			KeyLen:   uint32(a.Number(unix.NFTA_SET_KEY_LEN)),
			DataType: uint32(a.Number(unix.NFTA_SET_DATA_TYPE)),
			Timeout:  time.Duration(a.Number(unix.NFTA_SET_TIMEOUT)) * time.Millisecond,
			Size:     uint32(desc.Number(unix.NFTA_SET_DESC_SIZE)),
		},
		DataLen:    uint32(a.Number(unix.NFTA_SET_DATA_LEN)),
		ObjectType: uint32(a.Number(setObjectType)),
		Count:      Optional{len(a.Bytes(setCount)) == 4, uint32(a.Number(setCount))},
	}
	if err := netlink.Each(desc.Bytes(descConcat), func(_ uint16, data []byte) error {
		field, err := netlink.Parse(data)
		s.Fields = append(s.Fields, uint32(field.Number(fieldLength)))
		return err
	}); err != nil {
		return s, err
	}
	s.Exprs, err = attached(a.Bytes(setExpr), a.Bytes(setExpressions))
	s.ElementExprs = len(s.Exprs)
	return s, err
}

// attached are the expressions of a set or an element: one in an attribute of its own, or a list.
func attached(single, list []byte) (out []Expr, err error) {
	if single != nil {
		out = append(out, DecodeExpr(single))
	}
	err = netlink.Each(list, func(_ uint16, data []byte) error {
		out = append(out, DecodeExpr(data))
		return nil
	})
	return out, err
}

// DecodeRule reads a rule and the names of its table and chain.
func (d *Decoder) DecodeRule(b []byte) (r Rule, table, chain string, err error) {
	a, err := netlink.Parse(b)
	if err != nil {
		return r, "", "", err
	}
	r, err = d.Rule(a.Bytes(unix.NFTA_RULE_EXPRESSIONS))
	return r, a.String(unix.NFTA_RULE_TABLE), a.String(unix.NFTA_RULE_CHAIN), err
}

// Object is a counter, quota, limit or the like that rules name.
type Object struct {
	Table, Name string
	Type        uint32 // NFT_OBJECT_*
	// Expr is what the object does: Counter, Quota, Limit, Connlimit as in a rule, else Unknown.
	Expr Expr
}

// objectExprs are the expressions whose attributes objects of a type have.
var objectExprs = map[uint32]string{
	unix.NFT_OBJECT_COUNTER:   "counter",
	unix.NFT_OBJECT_QUOTA:     "quota",
	unix.NFT_OBJECT_LIMIT:     "limit",
	unix.NFT_OBJECT_CONNLIMIT: "connlimit",
}

// DecodeObject reads an object.
func DecodeObject(b []byte) (Object, error) {
	a, err := netlink.Parse(b)
	if err != nil {
		return Object{}, err
	}
	kind := uint32(a.Number(unix.NFTA_OBJ_TYPE))
	return Object{
		Table: a.String(unix.NFTA_OBJ_TABLE),
		Name:  a.String(unix.NFTA_OBJ_NAME),
		Type:  kind,
		Expr:  decodeNamed(objectExprs[kind], a.Bytes(unix.NFTA_OBJ_DATA)),
	}, nil
}

// Flowtable is a table of connections that pass the host without its rules.
type Flowtable struct {
	Table, Name string
	Devices     []string
}

// DecodeFlowtable reads a flowtable.
func DecodeFlowtable(b []byte) (Flowtable, error) {
	a, err := netlink.Parse(b)
	if err != nil {
		return Flowtable{}, err
	}
	f := Flowtable{Table: a.String(flowtableTable), Name: a.String(flowtableName)}
	hook, err := netlink.Parse(a.Bytes(flowtableHook))
	if err != nil {
		return f, err
	}
	err = netlink.Each(hook.Bytes(flowtableDevs), func(_ uint16, data []byte) error {
		f.Devices = append(f.Devices, netlink.String(data))
		return nil
	})
	return f, err
}
