package nft

import (
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"golang.org/x/sys/unix"
)

// hashThreshold is the number of exact addresses above which they leave the interval set for a hash
// set, where one address more costs microseconds instead of a walk over the whole set. Below it,
// one look-up less is worth more.
const hashThreshold = 512

// smallSets lays a service's sources of one family out in sets, without names; those that shapeOf
// wants by length, without the lasting ones. A family without sources needs no set.
func smallSets(svc firewall.Service, f address.Family, s shape, now time.Time) []*set {
	var hosts, nets []span
	if s == shapeSmall {
		for p := range svc.Sources.Family(f) {
			if p.IsSingleIP() {
				hosts = append(hosts, spanOf(p, time.Time{}))
			} else {
				nets = append(nets, spanOf(p, time.Time{}))
			}
		}
		if len(hosts) < hashThreshold {
			nets, hosts = prefixSpans(svc.Sources, f), nil
		}
	}
	var out []*set
	add := func(k setKind, spans []span) {
		if len(spans) > 0 {
			out = append(out, &set{kind: k, family: f, spec: specOf(k, f), spans: spans})
		}
	}
	add(kindHosts, hosts)
	add(kindNets, nets)
	if s, any := expiringSet(svc, f, now); any {
		out = append(out, s)
	}
	return out
}

// expiringSet is the set of the sources of one family that end by themselves, without a name; any
// says whether there are such. It stays when they have all ended.
func expiringSet(of interface {
	ExpiringIn(address.Family, time.Time) ([]firewall.ExpiringSource, bool)
}, f address.Family, now time.Time) (s *set, any bool) {
	s = &set{kind: kindExpiring, family: f, spec: specOf(kindExpiring, f)}
	list, any := of.ExpiringIn(f, now)
	for _, e := range list {
		s.spans = append(s.spans, spanOf(e.Prefix, e.Until))
	}
	return s, any
}

// maxAddresses is the most local addresses of a service that are held one by one, as a policy lists
// them; more are held as ranges.
const maxAddresses = 4096

// addressesOf is the set of a service's own addresses. Neighbours have been merged into prefixes; a
// hash, which is all that is needed for the few that there are, holds them one by one.
func addressesOf(p address.Set, f address.Family) *set {
	s := &set{kind: kindHosts}
	for x := range p.Family(f) {
		for a := x.Addr(); x.Contains(a) && len(s.spans) <= maxAddresses; a = a.Next() {
			s.spans = append(s.spans, span{first: a, last: a})
		}
	}
	if len(s.spans) > maxAddresses {
		s.kind, s.spans = kindNets, prefixSpans(p, f)
	}
	return s
}

func prefixSpans(p address.Set, f address.Family) []span {
	var out []span
	for x := range p.Family(f) {
		out = append(out, spanOf(x, time.Time{}))
	}
	return out
}

// Key types as nft numbers them (nftables, include/datatype.h); the kernel only stores them, nft
// needs them to print the set.
const (
	typeIPv4Addr    = 7
	typeIPv6Addr    = 8
	typeInetProto   = 12
	typeInetService = 13
)

// specOf is how a set of a kind is declared.
func specOf(k setKind, f address.Family) setSpec {
	s := setSpec{KeyType: typeIPv4Addr, KeyLen: 4}
	if f == address.IPv6 {
		s.KeyType, s.KeyLen = typeIPv6Addr, 16
	}
	switch k {
	case kindNets:
		s.Flags = unix.NFT_SET_INTERVAL
	case kindExpiring:
		s.Flags = unix.NFT_SET_INTERVAL | unix.NFT_SET_TIMEOUT
	case kindDynamic:
		s.Flags = unix.NFT_SET_EVAL | unix.NFT_SET_TIMEOUT
	case kindAsked:
		s = setSpec{
			Flags:   unix.NFT_SET_EVAL | unix.NFT_SET_TIMEOUT,
			KeyType: askedType(s.KeyType),
			KeyLen:  s.KeyLen + 8,
			Timeout: firewall.AnswerTime,
			Size:    firewall.MaxQuestions,
		}
	case kindVirtual:
		s = setSpec{KeyType: virtualType(s.KeyType), KeyLen: s.KeyLen + 8}
	case kindPrefix:
		// The kernel uses the faster of its hash tables for sets that declare their size.
	case kindPorts:
		s = setSpec{
			Flags:    unix.NFT_SET_MAP,
			KeyType:  typeInetService,
			KeyLen:   2,
			DataType: unix.NFT_DATA_VERDICT,
		}
	}
	return s
}
