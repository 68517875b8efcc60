package nftables

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// A match in nft's words.

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
