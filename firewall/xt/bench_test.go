package xt

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/netlink"
)

// sizes of the sets that are measured. What the kernel and its programs need besides is measured by
// test/bench.
var sizes = []int{1_000, 100_000, 1_000_000}

// spread is n prefixes that can't be merged.
func spread(f address.Family, n int) address.Set {
	var b address.Builder
	for i := range n {
		a, bits := uint32(1<<24+i<<10), 24+i%9
		p := netip.PrefixFrom(
			netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}),
			bits,
		)
		if f == address.IPv6 {
			p = netip.PrefixFrom(
				netip.AddrFrom16(
					[16]byte{0x20, 1, byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)},
				),
				bits+16,
			)
		}
		_ = b.Add(p)
	}
	return b.Set()
}

// answers is a set as the kernel dumps it, not in order.
func answers(s *set) []netlink.Message {
	header := setMessages(
		fmt.Sprintf(
			"create %s hash:net family %s",
			s.name,
			map[address.Family]string{address.IPv4: "inet", address.IPv6: "inet6"}[s.family],
		),
	)
	const batch = 1_300 // elements in 32 KiB
	parts := make([][]byte, s.elements.len()/batch+1)
	i := 0
	for e := range s.elements.all() {
		version := uint16(1)
		if s.family == address.IPv6 {
			version = 2
		}
		data := netlink.AppendBytes(
			nil,
			ipsetIP,
			netlink.AppendBytes(nil, version, e.prefix.Addr().AsSlice()),
		)
		data = netlink.AppendBytes(data, ipsetCIDR, []byte{byte(e.prefix.Bits())})
		parts[i%len(parts)] = netlink.AppendBytes(parts[i%len(parts)], ipsetData, data)
		i++
	}
	for _, p := range parts {
		header = append(
			header,
			netlink.Message{
				Attributes: netlink.AppendBytes(
					netlink.AppendString(nil, ipsetSetName, s.name),
					ipsetADT,
					p,
				),
			},
		)
	}
	return header
}

func eachSize(b *testing.B, measure func(b *testing.B, s *set)) {
	for _, f := range address.Families {
		for _, n := range sizes {
			b.Run(fmt.Sprintf("%s/%d", f, n), func(b *testing.B) {
				kind, all := layout(spread(f, n), f)
				s := &set{
					name:     setName("web", kind, f, false),
					service:  "web",
					family:   f,
					kind:     kind,
					elements: all,
				}
				b.ReportAllocs()
				b.ResetTimer()
				measure(b, s)
			})
		}
	}
}

func BenchmarkWriteSet(b *testing.B) {
	eachSize(b, func(b *testing.B, s *set) {
		for b.Loop() {
			var e netlink.Encoder
			send := func(r netlink.Request) error {
				e.Buf = e.Buf[:0]
				r.Attributes(&e)
				return nil
			}
			if err := (fill{s.name, false, s.elements}).messages(time.Time{}, send); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkReadSet(b *testing.B) {
	eachSize(b, func(b *testing.B, s *set) {
		messages := answers(s)
		for b.Loop() {
			if err := readMessages(newRuleset(), messages, time.Time{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkCompareSet(b *testing.B) {
	eachSize(b, func(b *testing.B, s *set) {
		r := newRuleset()
		if err := readMessages(r, answers(s), time.Time{}); err != nil {
			b.Fatal(err)
		}
		have := r.sets[s.name].elements.(*list)
		for b.Loop() {
			if add, remove := diffElements(s.elements, have, time.Time{}); add.n+remove.n > 0 {
				b.Fatal("a set differs from itself")
			}
		}
	})
}

// manyServices is what a host of hosts has: each on a port, or an address, of its own.
func manyServices(n int, onePort bool) firewall.State {
	s := firewall.State{
		Unlisted:    firewall.UnlistedDeny,
		Refuse:      firewall.RefuseDrop,
		Established: firewall.EstablishedCut,
	}
	for i := range n {
		svc := firewall.Service{
			Name:    fmt.Sprintf("s%05d", i),
			Log:     firewall.LogDenied,
			Sources: address.Must("10.0.0.0/8", "2001:db8::/32"),
		}
		port := uint16(1 + i*6)
		if onePort {
			port = 443
			svc.Addresses = address.Must(fmt.Sprintf("10.1.%d.%d/32", i>>8, i&255))
		}
		svc.Ports = []firewall.PortRange{{Protocol: firewall.TCP, First: port, Last: port}}
		s.Services = append(s.Services, svc)
	}
	return s
}

// A plan from nothing, with nothing to do, and for another service in front of all.
func BenchmarkServices(b *testing.B) {
	for _, onePort := range []bool{false, true} {
		for _, n := range []int{1_000, 10_000} {
			state := manyServices(n, onePort)
			k := newFakeKernel(nfVariant)
			backend := withKernel(k)
			seen, err := backend.Observe(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			plan := func(b *testing.B, s *firewall.State, seen firewall.Observation) firewall.Plan {
				p, err := backend.Diff(s, seen, time.Time{})
				if err != nil {
					b.Fatal(err)
				}
				return p
			}
			shape := map[bool]string{false: "ports", true: "addresses"}[onePort]
			b.Run(fmt.Sprintf("%s/first/%d", shape, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					plan(b, &state, seen)
				}
			})
			h := mustHost(k)
			held := observation{compile(state, time.Time{}, slots{}, h), h}
			b.Run(fmt.Sprintf("%s/none/%d", shape, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if p := plan(b, &state, held); !p.InSync() {
						b.Fatal(p.Changes[0])
					}
				}
			})
			less := state
			less.Services = less.Services[1:]
			b.Run(fmt.Sprintf("%s/one/%d", shape, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					plan(b, &less, held)
				}
			})
		}
	}
}
