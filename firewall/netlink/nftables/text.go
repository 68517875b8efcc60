package nftables

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A rule's text is found by running its expressions: each load notes in words what a register
// holds, and each comparison, look-up or statement writes a clause about it.

// value is what a register holds, in words.
type value struct {
	text       string // "ip saddr"; "" for constant bytes
	kind       kind
	size, full int     // bytes that were loaded, and that the whole field has
	says       context // what the words say already: "tcp dport" that the protocol is tcp
	constant   string
	operation  string // " << 4", of what is no mask
	mask, xor  string
	was        kind                // before the bytes were turned around
	rest       []value             // further fields of the same load
	raw        string              // "@nh,64,16", of a load of several fields
	interfaces func(uint64) string // names of interfaces by index, for values that are some
	protocols  bool                // all protocols are written by name
	ofPacket   bool                // of the packet itself, and not of its connection or route
	used       bool                // a clause was written about it
}

// clause is a piece of a rule's text. One that only makes sure of something is left out if the next
// one says the same.
type clause struct {
	text   string
	ensure context
}

// Naming tells a rule's text what the rule itself doesn't say. Without it, an interface is written
// by its index, and a set of the rule's own as "{ … }".
type Naming struct {
	Interface func(index uint64) string // "": there is none
	Set       func(name string) string  // the elements of a set of the rule's own: "{ 22, 80 }"
	// Protocols: all protocols are written by name, also those that nft may not know on every host.
	Protocols bool
}

type writer struct {
	context
	naming    Naming
	family    uint8                     // of the table: NFPROTO_*
	registers [registerBytes / 4]*value // by their first four bytes
	clauses   []clause
	last      *value // what the last clause compared
	lastFrom  string // and the lower bound, if that was all it compared
}

// String is how nft writes the rule in a table of family inet.
func (r Rule) String() string { return r.Text(unix.NFPROTO_INET) }

// Text is how nft writes the rule in a table of a family (NFPROTO_*), as far as its expressions are
// known.
func (r Rule) Text(family uint8) string { return r.Named(family, Naming{}) }

// Named is Text with names.
func (r Rule) Named(family uint8, n Naming) string {
	w := writer{family: family, naming: n, clauses: make([]clause, 0, len(r.Exprs))}
	switch family {
	case unix.NFPROTO_IPV4:
		w.version = 4
	case unix.NFPROTO_IPV6:
		w.version = 6
	}
	for _, e := range r.Exprs {
		w.expr(e)
	}
	for _, v := range w.registers {
		if v != nil && !v.used && v.text != "" {
			w.statement(v.name() + " (loaded and not used)")
		}
	}
	if len(w.clauses) == 0 {
		return "(an empty rule)"
	}
	var b strings.Builder
	for i, c := range w.clauses {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(c.text)
	}
	return b.String()
}

func (w *writer) statement(text string) { w.clause(text, context{}) }

// clause writes a clause that says some things by itself.
func (w *writer) clause(text string, says context) {
	w.implied(says)
	w.clauses = append(w.clauses, clause{text: text})
	w.last = nil
}

// implied leaves out the last clauses that only make sure of what the next one says.
func (w *writer) implied(says context) {
	for n := len(w.clauses); n > 0; n-- {
		e := w.clauses[n-1].ensure
		if e == (context{}) || says.with(e) != says {
			break
		}
		w.clauses = w.clauses[:n-1]
	}
}

// load notes what a register holds.
func (w *writer) load(r Register, v value) {
	at, ok := r.Offset()
	if !ok {
		w.statement(v.name() + " (loaded into no register)")
		return
	}
	if v.full == 0 {
		v.full = v.size
	}
	v.protocols = w.naming.Protocols
	for i := range v.rest {
		v.rest[i].protocols = w.naming.Protocols
	}
	w.registers[at/4] = &v
	for i := at/4 + 1; i < len(w.registers) && 4*i < at+v.size; i++ {
		w.registers[i] = nil
	}
}

// read is what a register holds.
func (w *writer) read(r Register) *value {
	at, ok := r.Offset()
	if !ok || w.registers[at/4] == nil {
		return &value{text: fmt.Sprintf("register %d", r)}
	}
	v := w.registers[at/4]
	v.used = true
	return v
}

// key is what a register and those behind it hold, as far as nobody has asked for it yet: the parts
// of a concatenation.
func (w *writer) key(r Register) (text string, says context, parts int) {
	first := w.read(r)
	text, says, parts = first.name(), first.says, 1
	for _, v := range first.rest {
		text, says, parts = text+" . "+v.name(), says.with(v.says), parts+1
	}
	at, ok := r.Offset()
	for size := first.size; ok; {
		next := (at + size + 3) / 4
		if next >= len(w.registers) || w.registers[next] == nil || w.registers[next].used {
			break
		}
		v := w.registers[next]
		v.used = true
		text, says, parts = text+" . "+v.name(), says.with(v.says), parts+1
		at, size = 4*next, v.size
	}
	return text, says, parts
}

// name is the value in words, with what is done to it.
func (v *value) name() string {
	text := v.text
	if text == "" {
		text = v.write(v.constant, len(v.constant))
	}
	text += v.operation
	if bits, mask, ok := v.setBits(); ok {
		if mask != "" {
			text += " & " + v.kind.write(mask, len(mask))
		}
		return text + " | " + v.kind.write(bits, len(bits))
	}
	switch mask := v.kind.write(v.mask, len(v.mask)); {
	case v.mask == "":
	case v.kind.flags() != nil:
		text += " & (" + strings.ReplaceAll(mask, ",", " | ") + ")"
	default:
		text += " & " + mask
	}
	if strings.Trim(v.xor, "\x00") != "" {
		text += " ^ " + v.kind.write(v.xor, len(v.xor))
	}
	return text
}

// setBits are the bits that a mask clears and xor then sets, and what else the mask keeps; "" if
// that is all.
func (v *value) setBits() (bits, mask string, ok bool) {
	if len(v.xor) != len(v.mask) || strings.Trim(v.xor, "\x00") == "" {
		return "", "", false
	}
	kept := []byte(v.mask)
	for i := range kept {
		if kept[i]&v.xor[i] != 0 {
			return "", "", false
		}
		kept[i] |= v.xor[i]
	}
	if bits, isPrefix := PrefixBits(string(kept)); isPrefix && bits == 8*len(kept) {
		return v.xor, "", true // nothing is cleared
	}
	return v.xor, string(kept), true
}

// write is a value of the same kind.
func (v *value) write(s string, full int) string {
	n, ok := v.kind.number(s)
	switch {
	case !ok || v.mask != "":
	case v.interfaces != nil:
		if name := v.interfaces(n); name != "" {
			return strconv.Quote(name)
		}
	case v.kind == kindNumber && (v.was == kindTime || v.was == kindHour):
		return timeText(v.was, n)
	case v.kind == kindProtocol && v.protocols:
		return named(moreProtocols, n, "%d")
	}
	return v.kind.write(s, full)
}

// comparisons are the operators of NFT_CMP_*.
var comparisons = map[uint32]string{
	unix.NFT_CMP_NEQ: "!= ",
	unix.NFT_CMP_LT:  "< ",
	unix.NFT_CMP_LTE: "<= ",
	unix.NFT_CMP_GT:  "> ",
	unix.NFT_CMP_GTE: ">= ",
}

func (w *writer) compare(e Cmp) {
	v := w.read(e.Sreg)
	operator, known := comparisons[e.Op]
	if !known && e.Op != unix.NFT_CMP_EQ {
		operator = fmt.Sprintf("(comparison %d) ", e.Op)
	}
	if e.Op == unix.NFT_CMP_LTE && w.last == v && w.lastFrom != "" { // nft has ranges for that
		both := w.lastFrom + "-" + v.write(e.Data, v.full)
		w.clauses[len(w.clauses)-1].text = v.name() + " " + both
		w.last = nil
		return
	}
	if len(v.rest) > 0 && e.Op == unix.NFT_CMP_EQ && v.mask == "" {
		at := 0
		for _, part := range append([]value{*v}, v.rest...) {
			w.clause(part.name()+" "+part.write(cut(e.Data, at, part.size), part.full), part.says)
			at += part.size
		}
		return
	}
	text := v.matched(e.Op, e.Data)
	if text == "" {
		if (v.mask != "" || v.operation != "" || v.kind.flags() != nil) && e.Op == unix.NFT_CMP_EQ {
			operator = "== "
		}
		text = v.name() + " " + operator + v.write(e.Data, v.full)
	}
	if ensure := v.ensures(e); ensure != (context{}) {
		// "ip protocol tcp" says the IP version too.
		ensure = ensure.with(context{version: v.says.version})
		w.implied(v.says)
		w.clauses = append(w.clauses, clause{text, ensure})
		w.context = w.with(ensure)
		return
	}
	w.clause(text, v.says)
	if e.Op == unix.NFT_CMP_GTE {
		w.last, w.lastFrom = v, v.write(e.Data, v.full)
	}
}

// cut is n bytes of a string, or those that are there.
func cut(s string, at, n int) string {
	at = min(at, len(s))
	return s[at:min(at+n, len(s))]
}

// with is a context in which something more is sure.
func (x context) with(more context) context {
	if more.version != 0 {
		x.version = more.version
	}
	if more.protocol != 0 {
		x.protocol = more.protocol
	}
	x.ethernet = x.ethernet || more.ethernet
	return x
}

// ensures is what a rule is sure of after a comparison.
func (v *value) ensures(e Cmp) context {
	n, ok := v.kind.number(e.Data)
	if e.Op != unix.NFT_CMP_EQ || !ok || v.mask != "" || v.operation != "" || !v.ofPacket {
		return context{}
	}
	switch v.kind {
	case kindVersion:
		return context{version: map[uint64]int{unix.NFPROTO_IPV4: 4, unix.NFPROTO_IPV6: 6}[n]}
	case kindEtherType:
		return context{version: map[uint64]int{unix.ETH_P_IP: 4, unix.ETH_P_IPV6: 6}[n]}
	case kindProtocol:
		return context{protocol: int(n)}
	case kindHardware:
		return context{ethernet: n == unix.ARPHRD_ETHER}
	}
	return context{}
}

// matched are the words that nft has for masks: of prefixes, and of single bits. "" if it has none.
func (v *value) matched(op uint32, data string) string {
	if v.mask == "" || strings.Trim(v.xor, "\x00") != "" || v.operation != "" ||
		op != unix.NFT_CMP_EQ && op != unix.NFT_CMP_NEQ {
		return ""
	}
	equal, zero := op == unix.NFT_CMP_EQ, strings.Trim(data, "\x00") == ""
	if text := v.partMatched(equal, data); text != "" {
		return text
	}
	switch v.kind {
	case kindIPv4, kindIPv6:
		bits, ok := PrefixBits(v.mask)
		a, valid := address(data, v.full)
		if !ok || !valid || len(data) != v.full {
			return ""
		}
		not := ""
		if !equal {
			not = "!= "
		}
		return fmt.Sprintf("%s %s%s/%d", v.text, not, a, bits)
	case kindLabel:
		if bit, ok := labelBit(v.mask); ok && zero && !equal {
			return fmt.Sprintf("%s %d", v.text, bit)
		}
	}
	if flags := v.kind.flags(); flags != nil && zero {
		n, _ := v.kind.number(v.mask)
		names, ok := flagNames(flags, n)
		switch {
		case ok && equal:
			return v.text + " ! " + strings.Join(names, ",")
		case ok:
			return v.text + " " + strings.Join(names, ",")
		}
	}
	return ""
}

// whole is a load of several fields as one number without a name.
func (v *value) whole() value {
	size := v.size
	for _, part := range v.rest {
		size += part.size
	}
	return value{text: v.raw, size: size, full: size, says: context{version: v.says.version}}
}

func (w *writer) inRange(e Range) {
	v := w.read(e.Sreg)
	not := ""
	if e.Op == unix.NFT_RANGE_NEQ {
		not = "!= "
	}
	w.clause(v.name()+" "+not+v.write(e.From, v.full)+"-"+v.write(e.To, v.full), v.says)
}

func (w *writer) bitwise(e Bitwise) {
	v := *w.read(e.Sreg)
	if len(v.rest) > 0 {
		v = v.whole()
	}
	switch {
	case e.Op == BitwiseLeftShift:
		n, _ := kindHost.number(e.Data)
		v.operation += fmt.Sprintf(" << %d", n)
	case e.Op == BitwiseRightShift:
		n, _ := kindHost.number(e.Data)
		v.operation += fmt.Sprintf(" >> %d", n)
	case e.Op != BitwiseMaskXor:
		v.operation += fmt.Sprintf(" (bitwise operation %d)", e.Op)
	case v.mask != "":
		v = value{
			text: "(" + v.name() + ")",
			kind: v.kind,
			size: v.size,
			full: v.full,
			mask: e.Mask,
			xor:  e.Xor,
		}
	default:
		v.mask, v.xor = e.Mask, e.Xor
		if bits, ok := PrefixBits(e.Mask); ok && bits == 8*len(e.Mask) {
			v.mask = ""
		}
	}
	v.used = false
	w.load(e.Dreg, v)
}

func (w *writer) lookup(e Lookup) {
	masked := w.read(e.Sreg).mask != ""
	text, says, parts := w.key(e.Sreg)
	set := w.set(e.Set)
	switch {
	case e.Dreg.Is(unix.NFT_REG_VERDICT):
		w.clause(text+" vmap "+set, says)
	case e.Dreg.Set:
		w.load(Register(e.Dreg.Value), value{text: text + " map " + set, says: says})
	case e.Flags&unix.NFT_LOOKUP_F_INV != 0:
		w.clause(text+" != "+set, says)
	case masked && parts == 1:
		w.clause(text+" == "+set, says)
	default:
		w.clause(text+" "+set, says)
	}
}

// set is a set in a rule. One of the rule's own has no name that says anything.
func (w *writer) set(name string) string {
	switch {
	case !OwnSet(name):
		return "@" + name
	case w.naming.Set == nil:
		return "{ … }"
	}
	return w.naming.Set(name)
}

// OwnSet reports whether nft has made the name up, for a set that a rule has for itself.
func OwnSet(name string) bool {
	for _, own := range []string{"__set", "__map"} {
		if n, ok := strings.CutPrefix(name, own); ok && n != "" &&
			strings.Trim(n, "0123456789") == "" {
			return true
		}
	}
	return false
}

func (w *writer) dynset(e Dynset) {
	text, says, _ := w.key(e.SregKey)
	if e.Timeout > 0 {
		text += " timeout " + duration(e.Timeout)
	}
	for _, x := range e.Exprs {
		if x != nil {
			text += " " + condition(x)
		}
	}
	if e.SregData != 0 {
		data, _, _ := w.key(e.SregData)
		text += " : " + data
	}
	verb := word([]string{"add", "update", "delete"}, uint64(e.Op)) // NFT_DYNSET_OP_*
	w.clause(fmt.Sprintf("%s @%s { %s }", verb, e.Set, text), says)
}

func duration(milliseconds uint64) string {
	if milliseconds%1000 != 0 {
		return strconv.FormatUint(milliseconds, 10) + "ms"
	}
	seconds, text := milliseconds/1000, ""
	for _, unit := range []struct {
		seconds uint64
		name    string
	}{{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}} {
		if n := seconds / unit.seconds; n > 0 {
			text += strconv.FormatUint(n, 10) + unit.name
			seconds %= unit.seconds
		}
	}
	return text
}
