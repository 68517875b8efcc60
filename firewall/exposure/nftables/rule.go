package nftables

import (
	"fmt"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// translator runs one rule's expressions and writes its statements.
type translator struct {
	table *kernelTable
	chain *exposure.Chain
	o     Options

	registers registers
	out       []exposure.Statement
	comment   string

	// version and protocol are what the rule, or its table, has made sure of so far: 4 or 6, and the transport protocol; 0: nothing.
	version  int
	protocol int
	// data is the expression at hand; here, since it would be allocated anew for each otherwise.
	data netlink.Attributes
	// compared is the piece that the last statement compared, so that "≥ 5" and "≤ 10" of one load become one range.
	compared *piece
}

// kernelTable is a table with what its rules refer to.
type kernelTable struct {
	*exposure.Table
	sets    map[string]*kernelSet
	order   []*kernelSet         // as they were read
	objects map[objectKey]string // their texts
}

// expressions are the kernel's expressions that the reader knows, by name (net/netfilter/nft_*.c).
var expressions map[string]func(*translator, *netlink.Attributes)

func init() { // the handlers reach back to the table
	expressions = map[string]func(*translator, *netlink.Attributes){
		"payload": (*translator).payload, "meta": (*translator).meta, "ct": (*translator).ct, "fib": (*translator).fib,
		"exthdr": (*translator).exthdr, "rt": (*translator).rt, "socket": (*translator).socket, "osf": (*translator).osf,
		"xfrm": (*translator).xfrm, "tunnel": (*translator).tunnel, "numgen": (*translator).numgen, "hash": (*translator).hash,
		"immediate": (*translator).immediate, "bitwise": (*translator).bitwise, "byteorder": (*translator).byteorder,
		"cmp": (*translator).cmp, "range": (*translator).inRange, "lookup": (*translator).lookup,
		"nat": (*translator).nat, "masq": (*translator).masquerade, "redir": (*translator).redirect, "tproxy": (*translator).tproxy,
		"reject": (*translator).reject, "queue": (*translator).queue, "fwd": (*translator).forward, "dup": (*translator).dup,
		"notrack": (*translator).notrack, "log": (*translator).log, "counter": (*translator).counter, "last": (*translator).last,
		"limit": condition("limit"), "quota": condition("quota"), "connlimit": condition("connlimit"),
		"dynset": (*translator).dynset, "objref": (*translator).objref, "flow_offload": (*translator).flowOffload,
		"synproxy": (*translator).synproxy, "match": (*translator).xtMatch, "target": (*translator).xtTarget,
	}
}

// reset makes it ready for a rule of a chain.
func (t *translator) reset(table *kernelTable, chain *exposure.Chain) {
	*t = translator{table: table, chain: chain, o: t.o}
}

// decodeRule reads a rule; its chain's table is known.
func (t *translator) decodeRule(a *netlink.Attributes) *exposure.Rule {
	switch t.table.Family {
	case exposure.FamilyIPv4:
		t.version = 4
	case exposure.FamilyIPv6:
		t.version = 6
	}
	r := &exposure.Rule{Handle: a.Number(unix.NFTA_RULE_HANDLE)}
	err := netlink.Each(a.Bytes(unix.NFTA_RULE_EXPRESSIONS), func(_ uint16, data []byte) error {
		t.expression(data)
		return nil
	})
	if err != nil {
		t.add(exposure.Unknown{Text: "a malformed rule", Effect: true})
	}
	r.Statements = t.out
	r.Comment = commentOf(a.Bytes(unix.NFTA_RULE_USERDATA))
	if r.Comment == "" {
		r.Comment = t.comment
	}
	return r
}

// expression translates one NFTA_EXPR_NAME, NFTA_EXPR_DATA pair.
func (t *translator) expression(b []byte) {
	a, err := netlink.Parse(b)
	if err != nil {
		t.add(exposure.Unknown{Text: "a malformed expression", Effect: true})
		return
	}
	name := netlink.CString(a.Bytes(unix.NFTA_EXPR_NAME))
	translate, ok := expressions[string(name)]
	if t.data, err = netlink.Parse(a.Bytes(unix.NFTA_EXPR_DATA)); err != nil || !ok {
		t.unknownEffect(fmt.Sprintf("expression %q", name))
		return
	}
	translate(t, &t.data)
}

func (t *translator) add(s exposure.Statement) {
	t.compared = nil
	t.out = append(t.out, s)
}

// unknownEffect is an expression that may do anything, to the registers as well.
func (t *translator) unknownEffect(text string) {
	t.add(exposure.Unknown{Text: text, Effect: true})
	t.registers.write(0, operand(unknown("left by "+text, registerBytes), registerBytes, network))
}

// unknownMatch is an expression that may end the rule.
func (t *translator) unknownMatch(text string) { t.add(exposure.Unknown{Text: text}) }

func (t *translator) noEffect(text string) { t.add(exposure.NoEffect{Text: text}) }

// load writes a piece to the register that an attribute names. An expression that names none is malformed.
func (t *translator) load(a *netlink.Attributes, register int, pieces ...*piece) {
	offset, ok := offsetOf(a.Number(register))
	if !ok {
		t.unknownEffect("a load into no register")
		return
	}
	n := 0
	for _, p := range pieces {
		t.registers.write(offset+n, p)
		n += p.n
	}
	t.registers.zero(offset, n)
}

// loadUnknown writes a value that can't be known. may says that the load can also end the rule, where the packet has no such thing.
func (t *translator) loadUnknown(a *netlink.Attributes, register int, text string, n int, may bool) {
	if may {
		t.unknownMatch(text)
	}
	o := host
	if n > 8 { // names and addresses
		o = network
	}
	t.load(a, register, operand(unknown(text, n), n, o))
}

// source is the offset of the register that an attribute names.
func (t *translator) source(a *netlink.Attributes, register int) (int, bool) {
	return offsetOf(a.Number(register))
}

// match adds a match, and notes what it makes sure of.
func (t *translator) match(m exposure.Match) {
	t.add(m)
	if m.Not || len(m.Key) != 1 || len(m.In.Keys) != 1 || m.In.Keys[0].From != m.In.Keys[0].To {
		return
	}
	n, ok := m.In.Keys[0].From.Uint64()
	if !ok {
		return
	}
	switch m.Key[0] {
	case exposure.Of(exposure.FieldNFProto):
		t.version = map[uint64]int{uint64(exposure.FamilyIPv4): 4, uint64(exposure.FamilyIPv6): 6}[n]
	case exposure.Of(exposure.FieldEtherType), exposure.Operand{Field: exposure.FieldRaw, Raw: linkType}:
		t.version = map[uint64]int{unix.ETH_P_IP: 4, unix.ETH_P_IPV6: 6}[n]
	case exposure.Of(exposure.FieldProtocol):
		t.protocol = int(n)
	case exposure.Operand{Field: exposure.FieldRaw, Raw: nextHeader}:
		// The first header behind IPv6's own. What is no extension header is the transport protocol.
		if t.version == 6 && !extensionHeaders[n] {
			t.protocol = int(n)
		}
	}
}

// linkType and nextHeader are where Ethernet's and IPv6's headers name what follows.
var (
	linkType   = exposure.Raw{Base: exposure.RawLink, Offset: 12 * 8, Bits: 16}
	nextHeader = exposure.Raw{Base: exposure.RawNetwork, Offset: 6 * 8, Bits: 8}
)

// extensionHeaders of IPv6, by number: hop-by-hop, routing, fragment, ESP, AH, destination options, mobility, HIP, shim6.
var extensionHeaders = map[uint64]bool{0: true, 43: true, 44: true, 50: true, 51: true, 60: true, 135: true, 139: true, 140: true}

// never ends the rule.
func (t *translator) never() { t.add(exposure.In(exposure.Const(exposure.Value{}))) }
