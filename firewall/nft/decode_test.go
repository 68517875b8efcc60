package nft

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/netlink"
	"github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// What we encode is decoded as what it was, whatever the range.
func TestElementsSurviveTheWire(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, cidr := range []string{
		"0.0.0.0/0", "10.0.0.0/8", "255.255.255.255/32", "128.0.0.0/1", "::/0", "2001:db8::/32",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
	} {
		p := netip.MustParsePrefix(cidr)
		want := spanOf(p, time.Time{})
		e, err := encodeBatch(
			[]op{addElements{elements{set: "x", kind: kindNets, spans: []span{want}}}},
			0,
			1,
			now,
			nil,
		)
		if err != nil {
			t.Fatal(err)
		}
		f := address.IPv6
		if p.Addr().Is4() {
			f = address.IPv4
		}
		d := elementDecoder{set: &set{kind: kindNets, family: f}, now: now}
		if err := netlink.Notifications(e.Buf, unix.NFNL_SUBSYS_NFTABLES, func(m netlink.Message) error {
			return d.message(m.Attributes)
		}); err != nil {
			t.Fatal(err)
		}
		d.finish()
		if len(d.set.spans) != 1 || !sameSpan(d.set.spans[0], want) || d.set.unexpected != 0 {
			t.Errorf("%s came back as %v, %d unexpected", cidr, d.set.spans, d.set.unexpected)
		}
	}
}

func TestManyElementsFitTheirAttributes(t *testing.T) {
	var spans []span
	for i := range 20_000 {
		spans = append(
			spans,
			spanOf(
				netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 25),
				time.Time{},
			),
		)
	}
	e, err := encodeBatch(
		[]op{addElements{elements{set: "x", kind: kindNets, spans: spans}}},
		7,
		1,
		time.Now(),
		nil,
	)
	if err != nil {
		t.Fatal(err)
	}
	d := elementDecoder{set: &set{kind: kindNets}}
	messages := 0
	if err := netlink.Notifications(e.Buf, unix.NFNL_SUBSYS_NFTABLES, func(m netlink.Message) error {
		messages++
		return d.message(m.Attributes)
	}); err != nil {
		t.Fatal(err)
	}
	d.finish()
	if len(d.set.spans) != len(spans) || messages < 2 {
		t.Errorf("%d of %d elements in %d messages", len(d.set.spans), len(spans), messages)
	}
}

// Whatever the kernel, or somebody in its place, sends: no panic, no endless loop.
func FuzzDecode(f *testing.F) {
	e, err := encodeBatch(
		[]op{
			addTable{mark: "x"},
			addSet{"s", specOf(kindNets, address.IPv4), kindNets},
			addChain{"c", &prerouting},
			addRule{"c", newRule().saddrIn(address.IPv4, "s").accept()},
			addElements{
				elements{
					set:   "s",
					kind:  kindNets,
					spans: []span{spanOf(netip.MustParsePrefix("10.0.0.0/8"), time.Time{})},
				},
			},
		},
		1,
		1,
		time.Now(),
		nil,
	)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(e.Buf)
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = netlink.Notifications(
			bytes.Clone(b),
			unix.NFNL_SUBSYS_NFTABLES,
			func(m netlink.Message) error {
				data := m.Attributes
				_, _ = nftables.DecodeTable(data)
				_, _ = nftables.DecodeChain(data)
				_, _, _, _ = new(nftables.Decoder).DecodeRule(data)
				_, _ = nftables.DecodeSet(data)
				_, _ = nftables.DecodeObject(data)
				_, _ = nftables.DecodeFlowtable(data)
				for _, k := range []setKind{
					kindNets, kindHosts, kindExpiring, kindPorts, kindForeign,
				} {
					d := elementDecoder{set: &set{kind: k}}
					_ = d.message(data)
					d.finish()
				}
				return nil
			},
		)
	})
}

func benchState(b *testing.B) firewall.State {
	var list []netip.Prefix
	for i := range 100_000 {
		list = append(
			list,
			netip.PrefixFrom(
				netip.AddrFrom4([4]byte{byte(20 + i>>16), byte(i >> 8), byte(i), 0}),
				25,
			),
		)
	}
	sources, err := address.New(list...)
	if err != nil {
		b.Fatal(err)
	}
	return firewall.State{
		Unlisted:    firewall.UnlistedIgnore,
		Refuse:      firewall.RefuseDrop,
		Established: firewall.EstablishedCut,
		Services: []firewall.Service{
			{
				Name:    "big",
				Ports:   []firewall.PortRange{{Protocol: firewall.TCP, First: 1, Last: 1}},
				Sources: sources,
				Log:     firewall.LogNone,
			},
		},
	}
}

func BenchmarkCompile100k(b *testing.B) {
	s, now := benchState(b), time.Now()
	b.ReportAllocs()
	for b.Loop() {
		compile(s, now, layout{})
	}
}

func BenchmarkDiff100k(b *testing.B) {
	s, now := benchState(b), time.Now()
	want, have := compile(s, now, layout{}), compile(s, now, layout{})
	b.ReportAllocs()
	for b.Loop() {
		compare(want, have)
	}
}

func BenchmarkEncode100k(b *testing.B) {
	s, now := benchState(b), time.Now()
	r := compile(s, now, layout{})
	program := assemble(compare(r, newRuleset()), r, newRuleset())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := encodeBatch(program.prepare, 0, 1, now, nil); err != nil {
			b.Fatal(err)
		}
	}
}
