package audit

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// subject is some ports of one protocol that no rule tells apart, or a protocol without ports.
type subject struct {
	firewall.PortRange
	behind   behind
	sampled  bool       // the rules tell its ports apart, and only the first was asked about
	profiles []*profile // one for each of the survey's interfaces
	// like is another one that no rule tells from it, which was asked about in its place; nil if none.
	like *subject
}

// weight is how many ports it has.
func (s *subject) weight() int { return int(s.Last) - int(s.First) + 1 }

// place is one interface, and the protocol; those without ports are one.
type place struct {
	protocol firewall.Protocol
	iface    int
}

// portless stands for all protocols without ports in a place.
const portless = firewall.Protocol(0)

func (s *subject) place(iface int) place {
	if s.Protocol.HasPorts() {
		return place{s.Protocol, iface}
	}
	return place{portless, iface}
}

// maxImportQuestions bounds what is asked: a question takes tens of microseconds to a millisecond.
const maxImportQuestions = 40_000

// choose lists the subjects: each range of ports within which no rule and no listener makes a
// difference, for each protocol; and each protocol without ports.
func (s *survey) choose() {
	people := s.behindPorts()
	each := len(firewall.Protocols) * max(1, len(s.interfaces)) * len(firewall.Families)
	ranges, questions := map[firewall.Protocol][][2]uint16{}, 0
	for _, p := range firewall.Protocols {
		ranges[p] = s.toldApart(p, people)
		questions += len(ranges[p]) * each / len(firewall.Protocols)
		s.narrowed = s.narrowed || ranges[p] == nil
	}
	s.narrowed = s.narrowed || questions > maxImportQuestions
	for _, p := range firewall.Protocols {
		asked := ranges[p]
		if s.narrowed {
			asked = s.fewer(p, asked, people, maxImportQuestions/each)
		}
		for _, r := range asked {
			s.subjects = append(s.subjects, &subject{
				PortRange: firewall.PortRange{Protocol: p, First: r[0], Last: r[1]},
				behind:    people[portKey{p, r[0]}],
				sampled:   ranges[p] == nil && r[0] < r[1],
			})
		}
	}
	s.choosePortless()
}

// choosePortless lists the protocols without ports. Of those that neither a name nor a rule tells
// apart, some two hundred, one is asked about.
func (s *survey) choosePortless() {
	b := bordersOf(s.Rules, nil, 0)
	var asked *subject // the last without a name that was asked about
	for n := 1; n < 256; n++ {
		p := firewall.Protocol(n)
		if b.protocols[n] {
			asked = nil
		}
		if !p.Listable() || p.HasPorts() {
			continue
		}
		x := &subject{PortRange: firewall.Portless(p)}
		if unnamed := strings.HasPrefix(p.String(), "protocol-"); unnamed && !b.protocolComputed {
			if x.like = asked; asked == nil {
				asked = x
			}
		}
		s.subjects = append(s.subjects, x)
	}
}

// toldApart are the ranges of ports within which no rule about a protocol, and no listener, makes a
// difference; nil where a rule computes with ports, so that each may be a matter of its own.
func (s *survey) toldApart(p firewall.Protocol, people map[portKey]behind) (out [][2]uint16) {
	b := bordersOf(s.Rules, s.told(), p)
	if b.computed || b.raw {
		return nil
	}
	// Essentials decide about these, so no service may have them among others.
	for _, port := range []int{firewall.DHCPClientPort, firewall.DHCPv6ClientPort} {
		b.starts[port], b.starts[port+1] = true, true
	}
	for k := range people {
		b.starts[k.port], b.starts[int(k.port)+1] = true, true
	}
	for first, port := 1, 1; port < 1<<16; port++ {
		if port == 1<<16-1 || b.starts[port+1] {
			out = append(out, [2]uint16{uint16(first), uint16(port)})
			first = port + 1
		}
	}
	return out
}

// fewer are the ranges asked about where all of them are too many: somebody's ports, and the widest
// others, which show the default. Where it isn't known where rules begin to differ, all is nil: then
// the gaps between somebody's ports are cut into samples.
func (s *survey) fewer(
	p firewall.Protocol,
	all [][2]uint16,
	people map[portKey]behind,
	most int,
) (out [][2]uint16) {
	known := map[int]bool{firewall.DHCPClientPort: true, firewall.DHCPv6ClientPort: true}
	for k := range people {
		if k.protocol == p {
			known[int(k.port)] = true
		}
	}
	if all == nil {
		return samples(known)
	}
	var others [][2]uint16
	for _, r := range all {
		if known[int(r[0])] {
			out = append(out, r)
		} else {
			others = append(others, r)
		}
	}
	slices.SortStableFunc(others, func(a, b [2]uint16) int {
		return cmp.Compare(b[1]-b[0], a[1]-a[0])
	})
	out = append(out, others[:min(len(others), max(most-len(out), 1))]...)
	slices.SortFunc(out, func(a, b [2]uint16) int { return cmp.Compare(a[0], b[0]) })
	return out
}

// samplesOfGap is into how many samples a gap is cut. Their first ports are even and odd ones.
const samplesOfGap = 7

// samples are some ports, and ranges that fill the gaps between them.
func samples(known map[int]bool) (out [][2]uint16) {
	last := 0
	for _, port := range append(slices.Sorted(maps.Keys(known)), 1<<16) {
		step := max((port-last-1)/samplesOfGap, 1) | 1
		for first := last + 1; first < port; first += step {
			out = append(out, [2]uint16{uint16(first), uint16(min(first+step, port) - 1)})
		}
		if port < 1<<16 {
			out = append(out, [2]uint16{uint16(port), uint16(port)})
		}
		last = port
	}
	return out
}
