package exposure

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

func network(offset, bits int) Operand {
	return Operand{Field: FieldRaw, Raw: Raw{Base: RawNetwork, Offset: offset, Bits: bits}}
}

// What ordinary packets have in common decides for them, and is listed. What a sender may choose
// keeps its source possible.
func TestOrdinaryPackets(t *testing.T) {
	const everyone, nobody = "everyone", "nobody"
	ttl, length := network(64, 8), network(16, 16)
	hops, payload, next := network(56, 8), network(32, 16), network(48, 8)
	fragment := Operand{
		Field: FieldRaw, Raw: Raw{Base: RawExtension, Bits: 8, Header: 44, Present: true},
	}
	offset := Operand{
		Field: FieldRaw, Raw: Raw{Base: RawExtension, Offset: 16, Bits: 16, Header: 44},
	}
	headers := Of(FieldHeaders)
	ah := Unknown{Text: "-m ah", Optional: true, Header: 51}
	udp := tcp80
	udp.Protocol = firewall.UDP
	six := tcp80
	six.Family, six.Destination = address.IPv6, netip.MustParseAddr("2001:db8::1")
	udp6 := six
	udp6.Protocol = firewall.UDP
	group := udp
	group.Destination = netip.MustParseAddr("224.0.0.251")
	dns, ntp := udp, udp
	dns.Port, ntp.Port = 53, 123
	mdns := udp
	mdns.Port = 5353
	ospf, mobility := tcp80, six
	ospf.Protocol, ospf.Port, mobility.Protocol, mobility.Port = 89, 0, 135, 0
	mobile := fragment
	mobile.Raw.Header = 135
	rt := Unknown{Text: "-m rt", Optional: true}
	counts := Unknown{Text: "-m nfacct", Account: "http"}
	noQuota := assumedNoQuota("http")
	number := func(n uint64) Range { return One(Number(n)) }
	for name, c := range map[string]struct {
		q                 Question
		policy            VerdictKind
		rule              []Statement
		certain, possible string
		assumed           string // "" for none of the assumptions about ordinary packets
	}{
		"ttl above 1": {tcp80, VerdictDrop,
			[]Statement{In(ttl, Numbers(2, 255)), accept}, everyone, everyone, AssumedHops},
		"not ttl 1": {tcp80, VerdictDrop,
			[]Statement{NotIn(ttl, number(1)), accept}, everyone, everyone, AssumedHops},
		"ttl 64": {tcp80, VerdictDrop,
			[]Statement{In(ttl, number(64)), accept}, nobody, everyone, ""},
		"ttl 255": {udp, VerdictDrop,
			[]Statement{In(ttl, number(255)), accept}, nobody, everyone, ""},
		"ttl 1": {tcp80, VerdictDrop,
			[]Statement{In(ttl, number(1)), accept}, nobody, everyone, AssumedHops},
		"no ttl 1": {tcp80, VerdictAccept,
			[]Statement{In(ttl, number(1)), drop}, everyone, everyone, AssumedHops},
		"no high ttl": {tcp80, VerdictAccept,
			[]Statement{In(ttl, Numbers(2, 255)), drop}, nobody, everyone, AssumedHops},
		"ttl of a group": {group, VerdictAccept,
			[]Statement{In(ttl, number(1)), drop}, nobody, everyone, ""},
		"ttl that a rule may have set": {tcp80, VerdictDrop, []Statement{
			NoEffect{Text: "ttl set", Header: true}, In(ttl, Numbers(2, 255)), accept,
		}, nobody, everyone, ""},
		"hop limit": {six, VerdictDrop,
			[]Statement{In(hops, Numbers(2, 255)), accept}, everyone, everyone, AssumedHops},
		"length of TCP": {tcp80, VerdictDrop,
			[]Statement{In(length, Numbers(40, 1500)), accept},
			everyone, everyone, AssumedLengthTCP},
		"length of a SYN": {tcp80, VerdictDrop,
			[]Statement{In(length, Numbers(40, 60)), accept}, nobody, everyone, ""},
		"length of UDP": {udp, VerdictDrop,
			[]Statement{In(length, Numbers(40, 1500)), accept}, nobody, everyone, ""},
		"any frame of UDP": {udp, VerdictDrop,
			[]Statement{In(length, Numbers(0, 1500)), accept}, everyone, everyone, AssumedLength},
		"jumbo frames": {udp, VerdictAccept,
			[]Statement{In(length, Numbers(1501, 65535)), drop}, everyone, everyone, AssumedLength},
		"payload of TCP": {six, VerdictDrop,
			[]Statement{In(payload, Numbers(20, 60)), accept},
			everyone, everyone, AssumedLengthTCP},
		"payload of UDP": {udp6, VerdictDrop,
			[]Statement{In(payload, Numbers(8, 1460)), accept}, everyone, everyone, AssumedLength},
		"meta length": {six, VerdictDrop,
			[]Statement{In(Of(FieldLength), Numbers(60, 100)), accept},
			everyone, everyone, AssumedLengthTCP},
		"a low source port": {tcp80, VerdictAccept,
			[]Statement{In(Of(FieldSport), Numbers(1, 1023)), drop},
			everyone, everyone, assumedPorts},
		"a protocol's own source port": {mdns, VerdictAccept,
			[]Statement{In(Of(FieldSport), number(5353)), drop}, nobody, everyone, ""},
		"a resolver's port": {dns, VerdictDrop,
			[]Statement{In(Of(FieldSport), Numbers(1024, 65535)), accept},
			everyone, everyone, assumedOwnPorts},
		"an old resolver's port": {dns, VerdictAccept,
			[]Statement{In(Of(FieldSport), number(53)), drop},
			everyone, everyone, assumedOwnPorts},
		"some of a resolver's ports": {dns, VerdictDrop,
			[]Statement{In(Of(FieldSport), Numbers(32768, 65535)), accept},
			nobody, everyone, ""},
		"a protocol's own port among high ones": {mdns, VerdictDrop,
			[]Statement{In(Of(FieldSport), Numbers(1024, 65535)), accept},
			everyone, everyone, assumedOwnPorts},
		"a protocol's own low port": {ntp, VerdictDrop,
			[]Statement{In(Of(FieldSport), Numbers(1024, 65535)), accept}, nobody, everyone, ""},
		"a low port to a group": {group, VerdictDrop,
			[]Statement{In(Of(FieldSport), Numbers(1024, 65535)), accept}, nobody, everyone, ""},
		"routers' packets with a TTL of 1": {ospf, VerdictAccept,
			[]Statement{In(ttl, number(1)), drop}, nobody, everyone, ""},
		"a message of its own header": {mobility, VerdictAccept,
			[]Statement{In(mobile, number(1)), jump("x")}, nobody, everyone, ""},
		"a low source port alone": {udp, VerdictDrop, []Statement{In(Of(FieldSport), number(53)), accept},
			nobody, everyone, assumedPorts},
		"a high source port": {tcp80, VerdictDrop,
			[]Statement{In(Of(FieldSport), Numbers(1024, 65535)), accept},
			everyone, everyone, assumedPorts},
		"some high source ports": {tcp80, VerdictDrop,
			[]Statement{In(Of(FieldSport), Numbers(40000, 65535)), accept},
			nobody, everyone, ""},
		"either port": {tcp80, VerdictAccept, []Statement{Match{
			Key: []Operand{Of(FieldSport), Of(FieldDport)},
			In:  &Set{Width: 2, Keys: []Range{number(22), Full(16), Full(16), number(22)}},
		}, drop}, everyone, everyone, assumedPorts},
		"a fragment header": {six, VerdictAccept,
			[]Statement{In(fragment, number(1)), jump("x")},
			everyone, everyone, AssumedNoExtensions},
		"a fragment's drop": {six, VerdictAccept,
			[]Statement{In(fragment, number(1)), drop}, everyone, everyone, AssumedNoExtensions},
		"a fragment's drop over IPv4": {tcp80, VerdictAccept,
			[]Statement{In(fragment, number(1)), drop}, everyone, everyone, ""},
		"an authentication header": {six, VerdictDrop, []Statement{ah, accept}, nobody, nobody, ""},
		"what an authentication header marks": {six, VerdictDrop,
			[]Statement{ah, jump("x")}, nobody, nobody, AssumedNoExtensions},
		"an authentication header's drop": {six, VerdictAccept,
			[]Statement{ah, drop}, everyone, everyone, AssumedNoExtensions},
		"only a hop-by-hop header": {six, VerdictDrop,
			[]Statement{In(headers, number(0x80)), accept}, nobody, nobody, ""},
		"only a hop-by-hop header's drop": {six, VerdictAccept,
			[]Statement{In(headers, number(0x80)), drop}, everyone, everyone, ""},
		"a hop-by-hop header's drop": {six, VerdictAccept,
			[]Statement{In(headers.And(number(0x80).From), number(0x80)), drop},
			everyone, everyone, AssumedNoExtensions},
		"nothing behind the headers": {six, VerdictDrop,
			[]Statement{In(headers.And(number(2).From), number(2)), accept}, nobody, nobody, ""},
		"later fragments": {six, VerdictDrop,
			[]Statement{In(offset, Numbers(8, 0xffff)), accept}, nobody, nobody, ""},
		"only fragments": {six, VerdictDrop,
			[]Statement{In(fragment, number(1)), accept}, nobody, everyone, AssumedNoExtensions},
		"no fragment header": {six, VerdictDrop,
			[]Statement{In(fragment, number(0)), accept}, everyone, everyone, AssumedNoExtensions},
		"drop whole packets": {six, VerdictAccept,
			[]Statement{In(fragment, number(0)), drop}, nobody, everyone, AssumedNoExtensions},
		"next header": {six, VerdictDrop,
			[]Statement{In(next, number(6)), accept}, everyone, everyone, AssumedNoExtensions},
		"verdicts by next header": {six, VerdictDrop, []Statement{verdicts(next, map[uint64]Verdict{
			6: accept, 17: drop,
		})}, everyone, everyone, AssumedNoExtensions},
		"verdicts by next header, and a chain": {six, VerdictAccept, []Statement{
			verdicts(next, map[uint64]Verdict{6: jump("x"), 44: accept}),
		}, nobody, everyone, AssumedNoExtensions},
		"no verdict by next header": {six, VerdictAccept, []Statement{
			verdicts(next, map[uint64]Verdict{44: drop, 17: drop}),
		}, everyone, everyone, AssumedNoExtensions},
		"verdicts by TTL": {tcp80, VerdictAccept, []Statement{
			verdicts(ttl, map[uint64]Verdict{1: drop}),
		}, everyone, everyone, AssumedHops},
		"verdicts by a TTL among others": {tcp80, VerdictAccept, []Statement{
			verdicts(ttl, map[uint64]Verdict{1: drop, 64: drop}),
		}, nobody, everyone, ""},
		"verdicts by source port": {tcp80, VerdictAccept, []Statement{
			verdicts(Of(FieldSport), map[uint64]Verdict{53: drop}),
		}, everyone, everyone, assumedPorts},
		"no extension headers": {six, VerdictDrop,
			[]Statement{In(headers, number(1)), accept}, everyone, everyone, AssumedNoExtensions},
		"a header of any kind": {six, VerdictDrop,
			[]Statement{NotIn(headers.And(Number(0xf8)), number(0)), accept},
			nobody, everyone, AssumedNoExtensions},
		"a routing header": {six, VerdictAccept,
			[]Statement{rt, jump("x")}, everyone, everyone, AssumedNoExtensions},
		"accounting": {tcp80, VerdictDrop,
			[]Statement{counts, accept}, everyone, everyone, noQuota},
		"accounting of drops": {tcp80, VerdictAccept,
			[]Statement{counts, drop}, nobody, everyone, noQuota},
	} {
		b := build()
		in := b.base(FamilyInet, "a", "in", Base{Hook: HookInput, Policy: c.policy})
		in.does(neighbourDiscovery, accept)
		in.does(c.rule...)
		in.user("x").does(drop)
		a, err := Evaluate(b.rs, nil, c.q)
		if err != nil {
			t.Fatal(err)
		}
		certain, possible := a.Through()
		for _, x := range []struct {
			what string
			got  Ranges
			want string
		}{{"certain", certain, c.certain}, {"possible", possible, c.possible}} {
			want := Ranges{}
			if x.want == everyone {
				want = AllSources(c.q.Family)
			}
			if !x.got.Equal(want) {
				t.Errorf("%s: %s %v, want %s", name, x.what, a.Prefixes(x.got).Strings(), x.want)
			}
		}
		for _, s := range []string{AssumedHops, AssumedLengthTCP, AssumedLength, AssumedNoExtensions,
			noQuota, assumedPorts} {
			if slices.Contains(a.Assumed, s) != (s == c.assumed) {
				t.Errorf("%s: assumed %q, want %q", name, a.Assumed, c.assumed)
			}
		}
	}
}

// verdicts is a map of verdicts by one value.
func verdicts(key Operand, by map[uint64]Verdict) VerdictMap {
	s := &Set{Width: 1}
	for _, v := range slices.Sorted(maps.Keys(by)) {
		s.Keys, s.Verdicts = append(s.Keys, One(Number(v))), append(s.Verdicts, by[v])
	}
	return VerdictMap{Key: []Operand{key}, In: s}
}

// The answer to an ordinary packet is ordinary too, and one that is lost only if it isn't doesn't
// count.
func TestOrdinaryAnswers(t *testing.T) {
	ttl := network(64, 8)
	for name, c := range map[string]struct {
		rule    []Statement
		certain bool
	}{
		"ttl 1":   {[]Statement{In(ttl, One(Number(1))), drop}, true},
		"ttl 64":  {[]Statement{In(ttl, One(Number(64))), drop}, false},
		"any ttl": {[]Statement{In(ttl, Numbers(2, 255)), drop}, false},
	} {
		b := build()
		b.base(FamilyIPv4, "a", "out", Base{Hook: HookOutput, Policy: VerdictAccept}).does(c.rule...)
		a, err := Evaluate(b.rs, nil, tcp80)
		if err != nil {
			t.Fatal(err)
		}
		certain, possible := a.Connects(func(p Piece) bool { return p.Outcome.Passes() })
		if certain.Empty() == c.certain || possible.Empty() {
			t.Errorf("%s: certain %v, possible %v", name, a.Prefixes(certain).Strings(),
				a.Prefixes(possible).Strings())
		}
	}
}

// Each rule that may let a source in is named, also one that lets in only packets which aren't
// ordinary, beside one that can't be decided for any.
func TestRulesForUnusualPacketsAreNamed(t *testing.T) {
	six := tcp80
	six.Family, six.Destination = address.IPv6, netip.MustParseAddr("2001:db8::1")
	b := build()
	in := b.base(FamilyInet, "a", "in", Base{Hook: HookInput, Policy: VerdictDrop})
	in.does(neighbourDiscovery, accept)
	in.does(Unknown{Text: "-m hbh", Optional: true}, accept)
	in.does(Unknown{Text: "-m ah"}, accept)
	a, err := Evaluate(b.rs, nil, six)
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, p := range a.Pieces {
		for _, u := range p.Unknowns {
			if p.Outcome.Passes() && !slices.Contains(named, u.Reason) {
				named = append(named, u.Reason)
			}
		}
	}
	slices.Sort(named)
	if want := []string{"not known: -m ah", "not known: -m hbh"}; !slices.Equal(named, want) {
		t.Errorf("named %q, want %q", named, want)
	}
}
