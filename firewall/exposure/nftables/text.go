package nftables

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"golang.org/x/sys/unix"
)

// A rule's text is put together from its statements, in nft's words where nft has some. It is for
// people: what they need to recognise the rule, not what nft would read back.

// shownMost is how many elements of a set are written out.
const shownMost = 6

// ruleText is a whole rule. What later words say anyway is left out: "meta l4proto tcp" before "tcp
// dport 22", "meta nfproto ipv4" before "ip saddr".
//
// version is the IP version that the table or the chain's hook leaves; Unspec for both.
func ruleText(version exposure.Family, statements []exposure.Statement) string {
	var words []string
	protocol := ""
	for i, s := range statements {
		if m, ok := s.(exposure.Match); ok {
			if name, ok := onlyProtocol(m); ok {
				if protocol = name; reads(statements[i+1:], transportFields) {
					continue
				}
				words = append(words, "meta l4proto "+name)
				continue
			}
			if onlyVersion(m) {
				n, _ := m.In.Keys[0].From.Uint64()
				if version = exposure.Family(n); reads(statements[i+1:], versionFields) {
					continue
				}
			}
			s = named(version, m)
		}
		text := statementText(s)
		if protocol != "" {
			text = strings.ReplaceAll(text, "th sport", protocol+" sport")
			text = strings.ReplaceAll(text, "th dport", protocol+" dport")
			if protocol == "icmpv6" {
				text = strings.ReplaceAll(text, "icmp ", "icmpv6 ")
			}
		}
		words = append(words, text)
	}
	return strings.Join(words, " ")
}

func onlyProtocol(m exposure.Match) (string, bool) {
	if m.Not || len(m.Key) != 1 || m.Key[0] != exposure.Of(exposure.FieldProtocol) ||
		len(m.In.Keys) != 1 ||
		m.In.Name != "" {
		return "", false
	}
	n, ok := m.In.Keys[0].From.Uint64()
	return protocolName(n), ok && m.In.Keys[0] == exposure.One(exposure.Number(n))
}

func onlyVersion(m exposure.Match) bool {
	return !m.Not && len(m.Key) == 1 && m.Key[0] == exposure.Of(exposure.FieldNFProto) &&
		len(m.In.Keys) == 1
}

// transportFields and versionFields are written with their protocol's name, and those of one IP
// version.
var (
	transportFields = map[exposure.Field]bool{
		exposure.FieldSport:    true,
		exposure.FieldDport:    true,
		exposure.FieldTCPFlags: true,
		exposure.FieldICMPType: true,
		exposure.FieldICMPCode: true,
	}
	versionFields = map[exposure.Field]bool{
		exposure.FieldSource4:  true,
		exposure.FieldSource6:  true,
		exposure.FieldDest4:    true,
		exposure.FieldDest6:    true,
		exposure.FieldFragment: true,
	}
)

// reads reports whether one of the statements is about one of the fields.
func reads(statements []exposure.Statement, fields map[exposure.Field]bool) bool {
	has := func(o exposure.Operand) bool {
		raw := o.Field == exposure.FieldRaw && fields[exposure.FieldSource4] &&
			(o.Raw.Base == exposure.RawNetwork || o.Raw.Base == exposure.RawExtension || o.Raw.Base == exposure.RawIPOption)
		return raw || fields[o.Field]
	}
	for _, s := range statements {
		var key []exposure.Operand
		switch s := s.(type) {
		case exposure.Match:
			key = s.Key
		case exposure.VerdictMap:
			key = s.Key
		case exposure.SetUpdate:
			key = s.Key
		case exposure.Assign:
			key = append([]exposure.Operand{exposure.Of(s.To)}, s.Value...)
		case exposure.NAT:
			for _, o := range []*exposure.Operand{s.Addr, s.Port} {
				if o != nil {
					key = append(key, *o)
				}
			}
		}
		for _, o := range key {
			if has(o) || o.Lookup != nil && slices.ContainsFunc(o.Lookup.Key, has) {
				return true
			}
		}
	}
	return false
}

func statementText(s exposure.Statement) string {
	switch s := s.(type) {
	case exposure.Match:
		return matchText(s)
	case exposure.Verdict:
		return verdictText(s)
	case exposure.VerdictMap:
		return keyText(s.Key) + " vmap " + setText(s.In, s.Key)
	case exposure.Assign:
		if len(s.Value) == 1 && s.To == exposure.FieldCTLabel {
			v := s.Value[0]
			if bit, ok := labelBit(v.Xor); ok && v == exposure.SetLabel(v.Xor).Value[0] {
				return fmt.Sprintf("ct label set %d", bit)
			}
		}
		return fmt.Sprintf("%s set %s", operandText(exposure.Operand{Field: s.To, Raw: s.Raw}), valuesText(s.To, s.Value))
	case exposure.NAT:
		return natStatementText(s)
	case exposure.TProxy:
		return "tproxy" + toText(s.Family, s.Addr, nil, s.Port, nil)
	case exposure.NoTrack:
		return "notrack"
	case exposure.SetUpdate:
		verb := "add"
		if s.Op == exposure.SetDelete {
			verb = "delete"
		}
		return fmt.Sprintf("%s @%s { %s }", verb, s.Set.Name, strings.TrimSpace(keyText(s.Key)+" "+s.Condition))
	case exposure.NoEffect:
		return s.Text
	case exposure.Unknown:
		return s.Text
	}
	return "?"
}

func verdictText(v exposure.Verdict) string {
	switch v.Kind {
	case exposure.VerdictJump, exposure.VerdictGoto:
		return v.Kind.String() + " " + v.Chain
	case exposure.VerdictReject:
		return "reject with " + v.With
	case exposure.VerdictQueue:
		return "queue to " + v.With
	case exposure.VerdictStolen:
		return v.With
	}
	return v.Kind.String()
}

// matchText is "ip saddr 10.0.0.0/8", "tcp dport != { 22, 80 }", "ct state new,related", "tcp flags
// & 0x12 == 0x2".
func matchText(m exposure.Match) string {
	if len(m.Key) == 1 {
		if len(m.In.Keys) == 0 && m.In.Name == "" {
			if _, ok := m.Key[0].IsConst(); ok {
				return "never"
			}
		}
		if text, ok := bitsText(m); ok {
			return text
		}
		if text, ok := labelText(m); ok {
			return text
		}
		switch k := m.Key[0]; {
		case k == exposure.Of(exposure.FieldSourceMAC) && slices.Equal(m.In.Keys, []exposure.Range{exposure.Full(48)}):
			return iifType + " ether"
		case k == (exposure.Operand{Field: exposure.FieldFib, Fib: k.Fib}) && k.Fib.Want == exposure.FibExists &&
			len(m.In.Keys) == 1 && m.In.Keys[0].From == m.In.Keys[0].To && !m.Not:
			there := map[bool]string{true: "missing", false: "exists"}[m.In.Keys[0].From.IsZero()]
			k.Fib.Want = exposure.FibOutIndex
			return fibText(k.Fib) + " " + there
		case k.Field == exposure.FieldUnknown && strings.HasSuffix(k.Text, " exists") && !m.Not &&
			slices.Equal(m.In.Keys, []exposure.Range{exposure.One(exposure.Number(1))}):
			return k.Text
		case k == exposure.Of(exposure.FieldCTProtocol) && slices.Equal(m.In.Keys, []exposure.Range{exposure.Full(8)}):
			return "ct exists"
		case k == exposure.Of(exposure.FieldFragment) && len(m.In.Keys) == 1:
			return "ip frag-off " + map[bool]string{true: "!=", false: "=="}[!m.In.Keys[0].From.IsZero()] + " 0"
		}
	}
	not := " "
	switch {
	case m.Not:
		not = " != "
	case len(m.Key) == 1 && !m.Key[0].Clear.IsZero() && m.In.Name == "" && m.In.Len() == 1:
		not = " == "
	}
	return keyText(m.Key) + not + setText(m.In, m.Key)
}

// labelText is a test of a single bit of a connection's label.
func labelText(m exposure.Match) (string, bool) {
	o := m.Key[0]
	if o.Field != exposure.FieldCTLabel || o.Shift != 0 || !o.Xor.IsZero() || len(m.In.Keys) != 1 {
		return "", false
	}
	mask := exposure.Ones(o.Width()).AndNot(o.Clear)
	bit, ok := labelBit(mask)
	is := m.Not
	switch m.In.Keys[0] {
	case exposure.One(mask):
		is = !is
	case exposure.One(exposure.Value{}):
	default:
		return "", false
	}
	if is {
		return fmt.Sprintf("ct label %d", bit), ok
	}
	return fmt.Sprintf("ct label ! %d", bit), ok
}

// labelBit is the number of the only bit of a label that is set.
func labelBit(v exposure.Value) (int, bool) {
	for n := range 128 {
		if v == exposure.LabelBit(n) {
			return n, true
		}
	}
	return 0, false
}

// flagNames are the bits of fields that people know by name.
var flagNames = map[exposure.Field][]struct {
	bit  uint64
	name string
}{
	exposure.FieldCTState: {
		{1, "invalid"},
		{2, "established"},
		{4, "related"},
		{8, "new"},
		{64, "untracked"},
	},
	exposure.FieldCTStatus: {
		{1, "expected"},
		{2, "seen-reply"},
		{4, "assured"},
		{8, "confirmed"},
		{16, "snat"},
		{32, "dnat"},
	},
	exposure.FieldTCPFlags: {
		{1, "fin"},
		{2, "syn"},
		{4, "rst"},
		{8, "psh"},
		{16, "ack"},
		{32, "urg"},
		{64, "ecn"},
		{128, "cwr"},
	},
}

// bitsText is a test of some bits of a field of flags: any of them, none, or just these.
func bitsText(m exposure.Match) (string, bool) {
	o := m.Key[0]
	if flagNames[o.Field] == nil || o.Shift != 0 || !o.Xor.IsZero() || len(m.In.Keys) != 1 ||
		m.In.Keys[0].From != m.In.Keys[0].To {
		return "", false
	}
	mask, _ := exposure.Ones(o.Width()).AndNot(o.Clear).Uint64()
	want, _ := m.In.Keys[0].From.Uint64()
	names, ok := namesOf(o.Field, mask)
	if !ok {
		return "", false
	}
	switch {
	case want == 0 && m.Not && !o.Clear.IsZero():
		return o.Field.String() + " " + names, true
	case want == 0 && !o.Clear.IsZero():
		return o.Field.String() + " ! " + names, true
	}
	values, ok := namesOf(o.Field, want)
	equals := " == "
	if m.Not {
		equals = " != "
	}
	if o.Clear.IsZero() {
		return o.Field.String() + equals + values, ok
	}
	return o.Field.String() + " & (" + strings.ReplaceAll(
		names,
		",",
		"|",
	) + ")" + equals + strings.ReplaceAll(
		values,
		",",
		"|",
	), ok
}

func namesOf(f exposure.Field, bits uint64) (string, bool) {
	var out []string
	for _, n := range flagNames[f] {
		if bits&n.bit != 0 {
			out = append(out, n.name)
			bits &^= n.bit
		}
	}
	return strings.Join(out, ","), bits == 0 && len(out) > 0
}

func keyText(key []exposure.Operand) string {
	var words []string
	for _, o := range key {
		words = append(words, operandText(o))
	}
	return strings.Join(words, " . ")
}

// operandText is a field in nft's words, with what is done to it.
func operandText(o exposure.Operand) string {
	if v, ok := o.IsConst(); ok {
		return v.String()
	}
	text := o.Field.String()
	switch o.Field {
	case exposure.FieldProtocol, exposure.FieldNFProto, exposure.FieldPacketType:
		text = "meta " + text
	case exposure.FieldUnknown:
		text = o.Text
	case exposure.FieldFib:
		text = fibText(o.Fib)
	case exposure.FieldRaw:
		text = rawText(o.Raw)
	case exposure.FieldMap:
		text = "map"
		if o.Lookup != nil && o.Lookup.In != nil {
			text = keyText(o.Lookup.Key) + " map " + setText(o.Lookup.In, o.Lookup.Key)
		}
	}
	switch {
	case o.Shift > 0:
		text += fmt.Sprintf(" << %d", o.Shift)
	case o.Shift < 0:
		text += fmt.Sprintf(" >> %d", -o.Shift)
	}
	set := o.Xor.And(o.Clear) == o.Xor // bits that are cleared first, and so set
	if !o.Clear.IsZero() && (!set || o.Xor != o.Clear) {
		text += fmt.Sprintf(" & %s", valueText(o.Field, exposure.Ones(o.Width()).AndNot(o.Clear)))
	}
	switch {
	case !o.Xor.IsZero() && set:
		text += " | " + valueText(o.Field, o.Xor)
	case !o.Xor.IsZero():
		text += " ^ " + valueText(o.Field, o.Xor)
	}
	return text
}

func fibText(f exposure.Fib) string {
	words := []string{[...]string{"saddr", "daddr"}[f.Of&1]}
	for _, w := range []struct {
		on   bool
		name string
	}{{f.ByMark, "mark"}, {f.ByIn, "iif"}, {f.ByOut, "oif"}} {
		if w.on {
			words = append(words, w.name)
		}
	}
	want := "?"
	if int(f.Want) < 5 {
		want = [...]string{"type", "oif", "oifname", "exists", "rpfilter"}[f.Want]
	}
	return "fib " + strings.Join(words, " . ") + " " + want
}

func rawText(r exposure.Raw) string {
	switch r.Base {
	case exposure.RawExtension:
		name := extensionName(r.Header)
		switch {
		case r.Present:
			return "exthdr " + strings.TrimPrefix(name, "exthdr ") + " exists"
		case r.Offset == 0 && r.Bits == 8:
			return name + " nexthdr"
		case r.Header == unix.IPPROTO_ROUTING && r.Offset == 16 && r.Bits == 8:
			return name + " type"
		}
		return fmt.Sprintf("%s @%d,%d", name, r.Offset, r.Bits)
	case exposure.RawIPOption:
		if r.Present {
			return fmt.Sprintf("ip option %d exists", r.Header)
		}
		return fmt.Sprintf("ip option %d @%d,%d", r.Header, r.Offset, r.Bits)
	case exposure.RawTCPOption:
		if r.Present {
			return fmt.Sprintf("tcp option %d exists", r.Header)
		}
		return fmt.Sprintf("tcp option %d @%d,%d", r.Header, r.Offset, r.Bits)
	}
	return fmt.Sprintf("@%s,%d,%d", baseName(r.Base), r.Offset, r.Bits)
}

// setText is a set's name, or its elements.
func setText(s *exposure.Set, key []exposure.Operand) string { return mapText(s, key, nil) }

// mapText is setText for a map of whose data it is known which fields it is for, by column.
func mapText(s *exposure.Set, key []exposure.Operand, columns map[int]exposure.Field) string {
	if s.Name != "" {
		return "@" + s.Name
	}
	var words []string
	for i, box := range s.All() {
		if i == shownMost {
			words = append(words, fmt.Sprintf("… %d in all", s.Len()))
			break
		}
		words = append(words, boxText(box, key)+elementText(s, i, columns))
	}
	if s.Default {
		words = append(words, "*"+elementText(s, s.Len(), columns))
	}
	if len(words) == 1 && s.Verdicts == nil && s.DataWidth == 0 {
		return words[0]
	}
	return "{ " + strings.Join(words, ", ") + " }"
}

func boxText(box []exposure.Range, key []exposure.Operand) string {
	var words []string
	for i, r := range box {
		f := exposure.FieldNone
		if i < len(key) {
			f = shownAs(key[i])
		}
		words = append(words, rangeText(f, r))
	}
	return strings.Join(words, " . ")
}

// shownAs is the field whose values are written as those of an operand: fib's are of several kinds,
// and a whole field of the IP header has protocols or numbers.
func shownAs(o exposure.Operand) exposure.Field {
	for _, h := range headerNames {
		raw := exposure.Raw{Base: exposure.RawNetwork, Offset: h.offset, Bits: h.bits}
		switch {
		case h.shift != 0 || o != exposure.Operand{Field: exposure.FieldRaw, Raw: raw}:
		case h.protocol:
			return exposure.FieldProtocol
		default:
			return exposure.FieldLength // a plain number
		}
	}
	if o.Field == exposure.FieldFib {
		switch o.Fib.Want {
		case exposure.FibOutName:
			return exposure.FieldOutName
		case exposure.FibOutIndex, exposure.FibExists, exposure.FibReversePath:
			return exposure.FieldOutIndex
		}
	}
	return o.Field
}

// elementText is what a map says of an element.
func elementText(s *exposure.Set, i int, columns map[int]exposure.Field) string {
	switch {
	case i < len(s.Verdicts):
		return " : " + verdictText(s.Verdicts[i])
	case s.DataWidth > 0 && (i+1)*s.DataWidth <= len(s.Data):
		var words []string
		for c, v := range s.Row(i) {
			f, ok := columns[c]
			switch {
			case !ok:
				words = append(words, v.String())
			case c > 0 && columns[c-1] == f: // the last of a range
				if last := len(words) - 1; words[last] != valueText(f, v) {
					words[last] += "-" + valueText(f, v)
				}
			default:
				words = append(words, valueText(f, v))
			}
		}
		return " : " + strings.Join(words, " . ")
	}
	return ""
}

// valuesText is what a field is set to.
func valuesText(to exposure.Field, values []exposure.Operand) string {
	var words []string
	for _, v := range values {
		if c, ok := v.IsConst(); ok {
			words = append(words, valueText(to, c))
			continue
		}
		words = append(words, operandText(v))
	}
	return strings.Join(words, " ^ ")
}

func natStatementText(n exposure.NAT) string {
	return strings.TrimSpace(
		n.Kind.String() + toText(n.Family, n.Addr, n.AddrMax, n.Port, n.PortMax) + " " + n.Text,
	)
}

// toText is " to address-address:port-port". What comes from one element of a map is written once.
func toText(f exposure.Family, addr, addrMax, port, portMax *exposure.Operand) string {
	var parts []string
	last := ""
	columns := map[int]exposure.Field{}
	dest := exposure.FieldDest4
	if f == exposure.FamilyIPv6 {
		dest = exposure.FieldDest6
	}
	for _, o := range []*exposure.Operand{addr, addrMax, port, portMax} {
		if o == nil || o.Field != exposure.FieldMap || o.Lookup == nil {
			continue
		}
		if columns[o.Lookup.Column] = dest; o == port || o == portMax {
			columns[o.Lookup.Column] = exposure.FieldDport
		}
	}
	for _, p := range []struct {
		sign    string
		operand *exposure.Operand
		address bool
	}{{"", addr, true}, {"-", addrMax, true}, {":", port, false}, {"-", portMax, false}} {
		if p.operand == nil {
			continue
		}
		text := endText(f, *p.operand, p.address)
		l := p.operand.Lookup
		if l != nil && l.In != nil &&
			*p.operand == (exposure.Operand{Field: exposure.FieldMap, Lookup: l}) {
			text = keyText(l.Key) + " map " + mapText(l.In, l.Key, columns)
		}
		if text != last {
			parts = append(parts, p.sign+text)
		}
		if p.operand.Field == exposure.FieldMap {
			last = text
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " to " + strings.Join(parts, "")
}

// endText is an address or a port that is translated to.
func endText(f exposure.Family, o exposure.Operand, address bool) string {
	v, ok := o.IsConst()
	switch n, small := v.Uint64(); {
	case !ok:
		return operandText(o)
	case !address:
		return fmt.Sprint(n)
	case f == exposure.FamilyIPv4 || f == exposure.FamilyInet && small && n < 1<<32: // of both families: no IPv6 address that low is of use
		return v.IPv4().String()
	}
	return "[" + v.IPv6().String() + "]"
}

var protocolNames = map[uint64]string{
	unix.IPPROTO_ICMP:    "icmp",
	unix.IPPROTO_TCP:     "tcp",
	unix.IPPROTO_UDP:     "udp",
	unix.IPPROTO_ICMPV6:  "icmpv6",
	unix.IPPROTO_SCTP:    "sctp",
	unix.IPPROTO_ESP:     "esp",
	unix.IPPROTO_AH:      "ah",
	unix.IPPROTO_GRE:     "gre",
	unix.IPPROTO_DCCP:    "dccp",
	unix.IPPROTO_UDPLITE: "udplite",
}

func protocolName(n uint64) string {
	if name, ok := protocolNames[n]; ok {
		return name
	}
	return fmt.Sprint(n)
}
