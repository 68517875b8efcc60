package xt

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Sets are read from the kernel itself: `ipset save` takes three times as long to print a million
// elements, before anybody has read them.

// ipset's messages, command level and below (include/uapi/linux/netfilter/ipset/ip_set.h).
const (
	ipsetProtocol = 6 // the oldest, which every kernel speaks
	ipsetList     = 7

	ipsetProtocolVersion = 1

	ipsetSetName  = 2
	ipsetTypeName = 3
	ipsetFamily   = 5
	ipsetFlags    = 6
	ipsetData     = 7
	ipsetADT      = 8

	ipsetListNames = 1 << 1 // IPSET_FLAG_LIST_SETNAME

	ipsetIP      = 1
	ipsetCIDR    = 3
	ipsetPort    = 4
	ipsetTimeout = 6
	ipsetProto   = 7

	// These are the kernel's business: it makes sets larger by itself.
	ipsetInitval    = 17
	ipsetHashSize   = 18
	ipsetMaxElem    = 19
	ipsetBucketSize = 21
	ipsetResize     = 22
	ipsetElements   = 24
	ipsetReferences = 25
	ipsetMemory     = 26
)

// setReader takes the sets of our names, with their elements, from the kernel's answers.
type setReader struct {
	sets map[string]*set
	now  time.Time // the kernel tells what time is left
}

// readSets reads those ipsets that bear our names: all in one request if there are no others, whose
// size nobody knows.
func readSets(ctx context.Context, r *ruleset, now func() time.Time) error {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	var names []string
	others := false
	err = conn.Ask(ctx, ipsetRequest("", ipsetListNames), func(m netlink.Message) error {
		a, err := netlink.Parse(m.Attributes)
		if name := a.String(ipsetSetName); setNames.MatchString(name) {
			names = append(names, name)
		} else {
			others = true
		}
		return err
	})
	if err != nil {
		return ipsetError("reading ipsets", err)
	}
	if len(names) > 1 && !others {
		names = []string{""}
	}
	reader := setReader{
		r.sets,
		now(),
	} // the programs before took their time, and the kernel counts down
	for _, name := range names {
		// A set that has gone meanwhile is none of ours any more.
		if err := conn.Ask(ctx, ipsetRequest(name, 0), reader.message); err != nil &&
			!errors.Is(err, unix.ENOENT) {
			return ipsetError("reading ipsets", err)
		}
	}
	reader.done()
	return nil
}

// ipsetRequest asks for a set, or for all of them.
func ipsetRequest(name string, flags uint32) netlink.Request {
	fields := func(e *netlink.Encoder) {
		e.Uint8(ipsetProtocolVersion, ipsetProtocol)
		if name != "" {
			e.String(ipsetSetName, name)
		}
		if flags != 0 {
			e.Uint32(ipsetFlags, flags)
		}
	}
	return netlink.Netfilter(
		unix.NFNL_SUBSYS_IPSET,
		ipsetList,
		unix.AF_INET,
		unix.NLM_F_DUMP,
		fields,
	)
}

// ipsetError sorts a failure into firewall's kinds.
func ipsetError(what string, err error) error {
	return fmt.Errorf("%s: %w", what, netlink.Unsupported("ipset", err))
}

// message reads one answer: some elements of a set, with its shape if they are the first.
func (r *setReader) message(m netlink.Message) error {
	a, err := netlink.Parse(m.Attributes)
	if err != nil {
		return err
	}
	name := a.String(ipsetSetName)
	if !setNames.MatchString(name) {
		return nil
	}
	s := r.sets[name]
	if a.Has(ipsetTypeName) {
		if s, err = newSet(name, &a); err != nil {
			return err
		}
		r.sets[name] = s
	}
	if s == nil {
		return fmt.Errorf("the elements of ipset %s came without its type", name)
	}
	if s.kind.questions() {
		return nil // packets fill it
	}
	into := s.elements.(*list)
	return netlink.Each(a.Bytes(ipsetADT), func(_ uint16, data []byte) error {
		e, ok, err := readElement(data, s.kind, r.now)
		if ok && e.prefix.Addr().Is4() == (s.family == address.IPv4) {
			into.add(e)
		} else {
			s.unexpected++
		}
		return err
	})
}

// done puts the elements in order: the kernel tells them as they lie in its table.
func (r *setReader) done() {
	for _, s := range r.sets {
		s.elements.(*list).sort()
	}
}

// newSet reads the shape of a set of our name. A set of another shape than its name says gets no
// kind.
func newSet(name string, a *netlink.Attributes) (*set, error) {
	s := &set{
		name:    name,
		service: serviceOf(name),
		kind:    setKind(name[len(baseChain)+1]),
		family:  address.IPv4,
	}
	family := byte(unix.NFPROTO_IPV4)
	if name[len(baseChain)+2] == '6' {
		s.family, family = address.IPv6, unix.NFPROTO_IPV6
	}
	l, n := &list{}, 0
	s.elements = l
	wantTimeout, ends := s.kind.timeout()
	as := a.String(ipsetTypeName) == s.kind.typeName() && a.Number(ipsetFamily) == uint64(family)
	timeout := false
	err := netlink.Each(a.Bytes(ipsetData), func(kind uint16, data []byte) error {
		switch kind {
		case ipsetInitval,
			ipsetHashSize,
			ipsetBucketSize,
			ipsetResize,
			ipsetReferences,
			ipsetMemory:
		case ipsetMaxElem:
			as = as && (!s.kind.questions() || netlink.Number(data) == firewall.MaxQuestions)
		case ipsetElements:
			n = int(netlink.Number(data))
		case ipsetTimeout:
			timeout = true
			as = as && netlink.Number(data) == uint64(wantTimeout)
		default: // comments, counters, a mask: nothing that we make
			as = false
		}
		return nil
	})
	if !as || timeout != ends {
		s.kind = 0
	} else {
		l.grow(s.family, min(n, 1<<20))
	}
	return s, err
}

// readElement reads an element; not ok is one that carries something that we never write, such as
// nomatch.
func readElement(b []byte, k setKind, now time.Time) (e element, ok bool, err error) {
	var address netip.Addr
	bits, unexpected, ends := -1, false, false
	err = netlink.Each(b, func(kind uint16, data []byte) error {
		switch kind {
		case ipsetIP:
			return netlink.Each(data, func(_ uint16, ip []byte) error {
				address, _ = netip.AddrFromSlice(ip)
				return nil
			})
		case ipsetCIDR:
			bits = int(netlink.Number(data))
		case ipsetPort:
			e.port = uint16(netlink.Number(data))
		case ipsetProto:
			e.protocol = firewall.Protocol(netlink.Number(data))
		case ipsetTimeout:
			ends = true
			if n := netlink.Number(data); n > 0 { // 0: never ends
				e.until = now.Add(time.Duration(n) * time.Second)
			}
		default:
			unexpected = true
		}
		return nil
	})
	if bits < 0 {
		bits = address.BitLen()
	}
	e.prefix = netip.PrefixFrom(address, bits)
	ports := e.port != 0 && e.protocol.HasPorts()
	if k != kindVirtual {
		ports = e.portOf == portOf{}
	}
	return e, !unexpected && ports && e.prefix.IsValid() && e.prefix.Masked() == e.prefix &&
		ends == (k == kindUntil), err
}
