package nftables

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables/expr"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// drawExpr is an expression of a type with any content that the type can have.
func drawExpr(t *rapid.T, name string, depth int) Expr {
	v := reflect.New(reflect.TypeOf(types[name].read(&codec{}))).Elem()
	for i := range v.NumField() {
		f, label := v.Field(i), v.Type().Field(i).Name
		switch f.Interface().(type) {
		case Optional:
			if rapid.Bool().Draw(t, label) {
				f.Set(reflect.ValueOf(Optional{true, uint32(rapid.Byte().Draw(t, label))}))
			}
		case Verdict:
			f.Set(reflect.ValueOf(Verdict{
				rapid.Int32().Draw(t, label), rapid.StringMatching(`[a-z/.-]{0,9}`).Draw(t, label),
			}))
		case [maxNested]Expr:
			var nested [maxNested]Expr
			for i := range rapid.IntRange(0, maxNested*(1-depth)).Draw(t, label) {
				nested[i] = drawExpr(
					t, rapid.SampledFrom([]string{"limit", "counter", "connlimit"}).Draw(t, label),
					1,
				)
			}
			f.Set(reflect.ValueOf(nested))
		case string:
			f.SetString(rapid.StringMatching(`[a-z0-9/.-]{0,20}`).Draw(t, label))
		default:
			n := rapid.OneOf(rapid.Uint64Range(0, 70), rapid.Uint64()).Draw(t, label)
			f.SetUint(n << (64 - f.Type().Bits()) >> (64 - f.Type().Bits()))
		}
	}
	e := v.Interface().(Expr)
	if i, ok := e.(Immediate); ok { // either a verdict or data
		if i.Dreg == RegVerdict {
			i.Data = ""
		} else {
			i.Verdict = Verdict{}
		}
		return i
	}
	return e
}

// What is written is read as what it was, whatever the expression.
func TestExpressionsSurviveTheWire(t *testing.T) {
	names := slices.Sorted(maps.Keys(types))
	rapid.Check(t, func(t *rapid.T) {
		e := drawExpr(t, rapid.SampledFrom(names).Draw(t, "type"), 0)
		if got := DecodeExpr(AppendExpr(nil, e)); got != e {
			t.Fatalf("%#v came back as %#v", e, got)
		}
		if !Equal(e, e) {
			t.Fatalf("%#v doesn't equal itself", e)
		}
		_ = Rule{[]Expr{e}}.String()
	})
}

// FuzzRule: whatever bytes come, nothing panics, and what was read is written so that it is read
// again as the same.
func FuzzRule(f *testing.F) {
	for _, name := range slices.Sorted(maps.Keys(types)) {
		f.Add(Rule{[]Expr{types[name].read(&codec{})}}.AppendExprs(nil))
	}
	f.Add(Rule{[]Expr{Meta{Key: unix.NFT_META_L4PROTO, Dreg: 1}, Cmp{Sreg: 1, Data: "\x06"},
		Payload{
			Base: 2,
			Len:  4,
			Dreg: 1,
		}, Bitwise{Sreg: 1, Dreg: 1, Len: 4, Mask: "\xff\x00\x00\x00", Xor: "\x00\x00\x00\x00"},
		Cmp{Sreg: 1, Data: "\x01\x00\x00\x00"}, Lookup{Set: "__set1", Sreg: 9},
		Dynset{
			Set:     "s",
			SregKey: 1,
			Exprs:   [2]Expr{Limit{Rate: 1, Unit: 1}, Counter{}},
		}, Unknown{"inner", "abc"}}}.AppendExprs(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<14 {
			return // more than the kernel's rules have
		}
		var d Decoder
		r, err := d.Rule(b)
		if err != nil {
			return
		}
		_ = r.String()
		for _, family := range []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6, unix.NFPROTO_BRIDGE} {
			_ = r.Text(family)
		}
		again, err := d.Rule(r.AppendExprs(nil))
		if err != nil || !slices.Equal(r.Exprs, again.Exprs) || !r.Equal(again) {
			t.Errorf("%x: %#v came back as %#v, %v", b, r, again, err)
		}
	})
}

// An expression that doesn't fit its type keeps its bytes and equals itself alone.
func TestWhatIsUnknownStaysWhole(t *testing.T) {
	pair := func(name string, data []byte) []byte {
		return netlink.AppendBytes(
			netlink.AppendString(nil, unix.NFTA_EXPR_NAME, name),
			unix.NFTA_EXPR_DATA|unix.NLA_F_NESTED,
			data,
		)
	}
	number := func(kind uint16, b ...byte) []byte { return netlink.AppendBytes(nil, kind, b) }
	key := append(
		number(unix.NFTA_META_KEY, 0, 0, 0, 3),
		number(unix.NFTA_META_DREG, 0, 0, 0, 1)...)
	mark := Meta{Key: unix.NFT_META_MARK, Dreg: Reg1}
	for what, tt := range map[string]struct {
		raw  []byte
		want Expr
		text string
	}{
		"as known":            {pair("meta", key), mark, ""},
		"a zero more":         {pair("meta", append(key, number(9, 0, 0)...)), mark, ""},
		"an attribute more":   {pair("meta", append(key, number(9, 1)...)), nil, `unknown expression "meta" (24 bytes)`},
		"one twice":           {pair("meta", append(key, key...)), nil, `unknown expression "meta" (32 bytes)`},
		"of another length":   {pair("meta", number(unix.NFTA_META_KEY, 3)), nil, `unknown expression "meta" (8 bytes)`},
		"a name nobody knows": {pair("inner", key), nil, `unknown expression "inner" (16 bytes)`},
		"a number cut off":    {pair("meta", key[:9]), mark, ""},
		"no name":             {key, nil, "unreadable expression (16 bytes)"},
		"three nested where two fit": {pair("dynset", netlink.AppendBytes(nil, dynsetExpressions, bytes.Repeat(
			netlink.AppendBytes(nil, unix.NFTA_LIST_ELEM, pair("counter", nil)), 3))), nil, `unknown expression "dynset" (64 bytes)`},
	} {
		e := DecodeExpr(tt.raw)
		if what == "a number cut off" {
			continue
		}
		if tt.want != nil {
			if e != tt.want {
				t.Errorf("%s: %#v", what, e)
			}
			continue
		}
		if _, ok := e.(Unknown); !ok {
			t.Errorf("%s: %#v", what, e)
		}
		if text := (Rule{[]Expr{e}}).String(); text != tt.text {
			t.Errorf("%s: %q, want %q", what, text, tt.text)
		}
		if back := AppendExpr(nil, e); !bytes.Equal(back, tt.raw) {
			t.Errorf("%s: %x was written as %x", what, tt.raw, back)
		}
		if Equal(e, mark) || !Equal(e, DecodeExpr(tt.raw)) {
			t.Errorf("%s equals another, or not itself", what)
		}
	}
}

// What has been counted is no difference, what is limited is.
func TestEqual(t *testing.T) {
	limit := Limit{Rate: 5, Unit: 1}
	for _, tt := range []struct {
		a, b Expr
		same bool
	}{
		{Counter{Packets: 1, Bytes: 2}, Counter{}, true},
		{Last{Seen: 1, Milliseconds: 3}, Last{}, true},
		{Quota{Bytes: 9, Consumed: 1}, Quota{Bytes: 9}, true},
		{Quota{Bytes: 9}, Quota{Bytes: 8}, false},
		{Dynset{Set: "s", Exprs: [2]Expr{Counter{Packets: 1}}}, Dynset{Set: "s", Exprs: [2]Expr{Counter{}}}, true},
		{Dynset{Set: "s", Exprs: [2]Expr{limit}}, Dynset{Set: "s"}, false},
		{Lookup{Set: "s", Sreg: 1}, Lookup{Set: "s", Sreg: 1, Dreg: Optional{Set: true}}, false},
		{Log{}, Log{Group: Optional{Set: true}}, false},
		{Counter{}, Last{}, false},
	} {
		if Equal(tt.a, tt.b) != tt.same {
			t.Errorf("%#v, %#v: want %v", tt.a, tt.b, tt.same)
		}
	}
}

// What google/nftables builds is read as these types, and written as google/nftables reads it.
func TestBuiltExpressionsAreKnown(t *testing.T) {
	for _, e := range []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{1}},
		&expr.Payload{
			OperationType: expr.PayloadLoad,
			DestRegister:  1,
			Base:          expr.PayloadBaseNetworkHeader,
			Offset:        12,
			Len:           4,
		},
		&expr.Lookup{SourceRegister: 1, SetName: "s", IsDestRegSet: true}, &expr.Counter{}, &expr.Notrack{},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{1}, Xor: []byte{0}},
		&expr.Verdict{Kind: expr.VerdictDrop}, &expr.Verdict{Kind: expr.VerdictJump, Chain: "c"},
		&expr.Immediate{Register: 1, Data: []byte{1}},
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Objref{Type: 1, Name: "n"},
		&expr.Limit{Rate: 1, Unit: expr.LimitTimeMinute, Burst: 5},
		&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: 1},
		&expr.Ct{Key: expr.CtKeyLABELS, Register: 1, SourceRegister: true},
		&expr.Log{Key: 1 << unix.NFTA_LOG_PREFIX, Data: []byte("x")},
		&expr.Dynset{
			SrcRegKey: 1,
			SetName:   "s",
			Operation: 1,
			Exprs:     []expr.Any{&expr.Limit{Rate: 1, Unit: expr.LimitTimeSecond}},
		},
	} {
		raw, err := expr.Marshal(unix.NFPROTO_INET, e)
		if err != nil {
			t.Fatal(err)
		}
		ours := DecodeExpr(raw)
		if _, unknown := ours.(Unknown); unknown {
			t.Errorf("%#v is unknown: %x", e, raw)
		}
		if again := DecodeExpr(AppendExpr(nil, ours)); again != ours {
			t.Errorf("%#v came back as %#v", ours, again)
		}
	}
}

func TestTextOfOddRules(t *testing.T) {
	for want, r := range map[string]Rule{
		"(an empty rule)": {},
		"meta nfproto ipv4 ip saddr (loaded and not used)": {[]Expr{Meta{Key: unix.NFT_META_NFPROTO, Dreg: 1}, Cmp{Sreg: 1, Data: "\x02"}, Payload{Base: 1, Offset: 12, Len: 4, Dreg: 1}}},
		"register 2 0x1 accept":                            {[]Expr{Cmp{Sreg: 2, Data: "\x01"}, Immediate{Verdict: Verdict{Code: CodeAccept}}}},
		`unknown expression "new" (3 bytes) drop`:          {[]Expr{Unknown{"new", "abc"}, Immediate{}}},
		"meta l4proto tcp tcp sport 1 tcp dport 2": {[]Expr{Meta{Key: unix.NFT_META_L4PROTO, Dreg: 1}, Cmp{Sreg: 1, Data: "\x06"},
			Counter{}, Payload{Base: 2, Len: 4, Dreg: 1}, Cmp{Sreg: 1, Data: "\x00\x01\x00\x02"}}},
	} {
		if got := strings.Replace(r.String(), "counter ", "", 1); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
