package nftables

import (
	"fmt"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
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

	// version and protocol are what the rule, or its table, has made sure of so far: 4 or 6, and
	// the transport protocol; 0: nothing.
	version  int
	protocol int
	// decoder reads the expressions of all rules.
	decoder *kernel.Decoder
	// compared is the piece that the last statement compared, so that "≥ 5" and "≤ 10" of one load
	// become one range.
	compared *piece
}

// kernelTable is a table with what its rules refer to.
type kernelTable struct {
	*exposure.Table
	sets    map[string]*kernelSet
	order   []*kernelSet // as they were read
	objects map[objectKey]object
}

// reset makes it ready for a rule of a chain.
func (t *translator) reset(table *kernelTable, chain *exposure.Chain) {
	*t = translator{table: table, chain: chain, o: t.o, decoder: t.decoder}
}

// decodeRule reads a rule, and returns its expressions too; its chain's table is known.
func (t *translator) decodeRule(a *netlink.Attributes) (*exposure.Rule, kernel.Rule) {
	switch t.table.Family {
	case exposure.FamilyIPv4:
		t.version = 4
	case exposure.FamilyIPv6:
		t.version = 6
	}
	r := &exposure.Rule{Handle: a.Number(unix.NFTA_RULE_HANDLE)}
	exprs, err := t.decoder.Rule(a.Bytes(unix.NFTA_RULE_EXPRESSIONS))
	for _, e := range exprs.Exprs {
		t.expression(e)
	}
	if err != nil {
		t.add(exposure.Unknown{Text: "a malformed rule", Effect: true})
	}
	r.Statements = t.out
	r.Comment = kernel.Comment(a.Bytes(unix.NFTA_RULE_USERDATA))
	if r.Comment == "" {
		r.Comment = t.comment
	}
	return r, exprs
}

// expression translates one expression.
func (t *translator) expression(e kernel.Expr) {
	switch e := e.(type) {
	case kernel.Payload:
		t.payload(e)
	case kernel.Meta:
		t.meta(e)
	case kernel.CT:
		t.ct(e)
	case kernel.FIB:
		t.fib(e)
	case kernel.Exthdr:
		t.exthdr(e)
	case kernel.RT:
		t.rt(e)
	case kernel.Socket:
		t.socket(e)
	case kernel.OSF: // NFT_OSF_MAXGENRELEN is 16
		t.loadUnknown(e.Dreg, "osf name", 16, true)
	case kernel.XFRM:
		t.loadUnknown(e.Dreg, "ipsec", 16, true)
	case kernel.Tunnel:
		t.loadUnknown(e.Dreg, "tunnel", 4, true)
	case kernel.Numgen:
		t.numgen(e)
	case kernel.Hash:
		t.hash(e)
	case kernel.Immediate:
		t.immediate(e)
	case kernel.Bitwise:
		t.bitwise(e)
	case kernel.Byteorder:
		t.byteorder(e)
	case kernel.Cmp:
		t.cmp(e)
	case kernel.Range:
		t.inRange(e)
	case kernel.Lookup:
		t.lookup(e)
	case kernel.NAT:
		t.nat(e)
	case kernel.Masquerade:
		t.masquerade(e)
	case kernel.Redirect:
		t.redirect(e)
	case kernel.TProxy:
		t.tproxy(e)
	case kernel.Reject:
		t.reject(e)
	case kernel.Queue:
		t.queue(e)
	case kernel.Forward: // the packet goes out of another device at once
		t.add(exposure.Verdict{Kind: exposure.VerdictStolen, With: "fwd to " + t.deviceText(e.Dev)})
	case kernel.Dup:
		t.dup(e)
	case kernel.Notrack:
		t.add(exposure.NoTrack{})
	case kernel.Log:
		t.log(e)
	case kernel.Counter, kernel.Last:
		t.noEffect(e.Name())
	case kernel.Quota:
		// Any packet is more than no byte (nft_overquota in net/netfilter/nft_quota.c).
		text, _ := conditionText(e)
		switch {
		case e.Bytes != 0:
			t.add(exposure.Unknown{Text: text})
		case e.Flags&unix.NFT_QUOTA_F_INV != 0:
			t.noEffect(text)
		default:
			t.never()
		}
	case kernel.Limit, kernel.Connlimit:
		// They end the rule or not by what happened before.
		text, _ := conditionText(e)
		t.add(exposure.Unknown{Text: text, Rate: rateOf(e)})
	case kernel.Dynset:
		t.dynset(e)
	case kernel.Objref:
		t.objref(e)
	case kernel.FlowOffload:
		t.flowOffload(e)
	case kernel.Synproxy:
		// It answers the client in the server's place, which only sees clients that answered back.
		t.unknownEffect("synproxy")
	case kernel.XTMatch:
		t.xtMatch(e)
	case kernel.XTTarget:
		t.xtTarget(e)
	default:
		if e.Name() == "" {
			t.add(exposure.Unknown{Text: "a malformed expression", Effect: true})
			return
		}
		t.unknownEffect(fmt.Sprintf("expression %q", e.Name()))
	}
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

// load writes pieces to a register. An expression that names none is malformed.
func (t *translator) load(to kernel.Register, pieces ...*piece) {
	offset, ok := to.Offset()
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

// loadUnknown writes a value that can't be known. may says that the load can also end the rule,
// where the packet has no such thing.
func (t *translator) loadUnknown(to kernel.Register, text string, n int, may bool) {
	if may {
		t.unknownMatch(text)
	}
	o := host
	if n > 8 { // names and addresses
		o = network
	}
	t.load(to, operand(unknown(text, n), n, o))
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
	case exposure.Of(exposure.FieldEtherType),
		exposure.Operand{Field: exposure.FieldRaw, Raw: linkType}:
		t.version = map[uint64]int{unix.ETH_P_IP: 4, unix.ETH_P_IPV6: 6}[n]
	case exposure.Of(exposure.FieldProtocol):
		t.protocol = int(n)
	case exposure.Operand{Field: exposure.FieldRaw, Raw: nextHeader}:
		// The first header behind IPv6's own. What is no extension header is the transport
		// protocol.
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

// extensionHeaders of IPv6, by number: hop-by-hop, routing, fragment, ESP, AH, destination options,
// mobility, HIP, shim6.
var extensionHeaders = map[uint64]bool{
	0:   true,
	43:  true,
	44:  true,
	50:  true,
	51:  true,
	60:  true,
	135: true,
	139: true,
	140: true,
}

// never ends the rule.
func (t *translator) never() { t.add(exposure.In(exposure.Const(exposure.Value{}))) }
