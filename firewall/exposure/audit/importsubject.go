package audit

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// subject is a range of ports that no rule distinguishes, or a protocol without ports.
type subject struct {
	firewall.PortRange
	receiver receiver
	sampled  bool       // the rules distinguish its ports, and only the first was asked about
	profiles []*profile // one for each of the survey's interfaces
	silenced sources    // packets of these get in, and rules stop the answers to them
	// spreading is where the policy differs from the rules about broadcasts and multicast.
	spreading []spreading
	// like is an equivalent subject that was asked about in its place, or nil.
	like *subject
}

// weight is the number of its ports.
func (s *subject) weight() int { return int(s.Last) - int(s.First) + 1 }

// place is an interface and a protocol. Protocols without ports count as one.
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

// maxImportQuestions bounds the questions. Each takes tens of microseconds to a millisecond.
const maxImportQuestions = 40_000

// choose lists the subjects: for each protocol, each range of ports within which rules and
// listeners are the same; and each protocol without ports.
func (s *survey) choose() {
	receivers := s.receivers()
	each := len(firewall.Protocols) * max(1, len(s.interfaces)) * len(address.Families)
	ranges, questions := map[firewall.Protocol][][2]uint16{}, 0
	for _, p := range firewall.Protocols {
		ranges[p] = s.distinctRanges(p, receivers)
		questions += len(ranges[p]) * each / len(firewall.Protocols)
		s.tooManyPorts = s.tooManyPorts || ranges[p] == nil
	}
	s.tooManyPorts = s.tooManyPorts || questions > maxImportQuestions
	for _, p := range firewall.Protocols {
		asked := ranges[p]
		if s.tooManyPorts {
			asked = s.limitRanges(p, asked, receivers, maxImportQuestions/each)
		}
		for _, r := range asked {
			s.subjects = append(s.subjects, &subject{
				PortRange: firewall.PortRange{Protocol: p, First: r[0], Last: r[1]},
				receiver:  receivers[portKey{p, r[0]}],
				sampled:   ranges[p] == nil && r[0] < r[1],
			})
		}
	}
	s.choosePortless()
}

// choosePortless lists the protocols without ports. Of some two hundred without a name that no rule
// distinguishes, one is asked about.
func (s *survey) choosePortless() {
	b := bordersOf(s.Rules, nil, 0, nil)
	var asked *subject // the last one without a name that was asked about
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

// distinctRanges are the ranges of ports within which a protocol's rules and listeners are the
// same. It is nil if a rule computes with ports, so that each port may differ.
func (s *survey) distinctRanges(
	p firewall.Protocol,
	receivers map[portKey]receiver,
) (out [][2]uint16) {
	b := bordersOf(s.Rules, s.mentionedPorts(), p, nil)
	if b.computed || b.raw {
		return nil
	}
	// Essentials decide about these, so a service must not have them among other ports.
	for _, port := range []int{firewall.DHCPClientPort, firewall.DHCPv6ClientPort} {
		b.starts[port], b.starts[port+1] = true, true
	}
	for k := range receivers {
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

// limitRanges picks the ranges to ask about if all are too many: ports with a receiver, and the
// widest others, which show the default. If all is nil, as the borders aren't known, the gaps
// between ports with a receiver are cut into samples.
func (s *survey) limitRanges(
	p firewall.Protocol,
	all [][2]uint16,
	receivers map[portKey]receiver,
	most int,
) (out [][2]uint16) {
	known := map[int]bool{firewall.DHCPClientPort: true, firewall.DHCPv6ClientPort: true}
	for k := range receivers {
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

// samplesOfGap is the number of samples that a gap is cut into. Their first ports alternate between
// even and odd.
const samplesOfGap = 7

// samples returns some ports, and ranges that fill the gaps between them.
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
