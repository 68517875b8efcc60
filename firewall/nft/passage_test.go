package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// passage is a packet's way through the table as the kernel walks it, while a transaction may take
// effect: the kernel reads which generation of the rules is valid once, as the packet enters, and
// which one of a set's elements at each look-up. It knows the expressions that compile makes, for a
// packet that starts a connection from outside to the host.
type passage struct {
	before, after *ruleset
	lookups       int // how many are still made in the generation before
	// mapsGo: a map that the transaction deletes is empty for packets under way.
	mapsGo bool
}

func (r *ruleset) decide(f firewall.Flow) firewall.Verdict {
	return (&passage{before: r, after: r}).decide(f)
}

func (p *passage) decide(f firewall.Flow) firewall.Verdict {
	c := p.before.chains[inputChain]
	if c == nil {
		return firewall.Ignored
	}
	for steps := 0; steps < 20; steps++ {
		verdict, chain := p.chain(c, f)
		if chain == "" {
			return verdict
		}
		if c = p.before.chains[chain]; c == nil {
			return firewall.Ignored // made by the transaction: the rules of before are none
		}
	}
	panic("a packet walks in a circle")
}

// chain runs a chain's rules: a verdict, or the chain to go to.
func (p *passage) chain(c *chain, f firewall.Flow) (firewall.Verdict, string) {
	for _, r := range c.rules {
		if v := p.rule(r, f); v != nil {
			switch v.Code {
			case nftables.CodeAccept:
				if c.name == inputChain || c.name == exemptChain || c.name == insideChain {
					return firewall.Ignored, ""
				}
				return firewall.Allowed, ""
			case unix.NFT_JUMP:
				if jumped := p.before.chains[v.Chain]; jumped != nil && p.ends(jumped, f) {
					return firewall.Ignored, ""
				}
				continue
			case nftables.CodeDrop:
				return firewall.Refused, ""
			}
			return 0, v.Chain
		}
	}
	return firewall.Ignored, "" // a chain's end after goto is the base chain's policy
}

// ends reports whether a chain that is jumped to accepts the packet, instead of letting it return.
func (p *passage) ends(c *chain, f firewall.Flow) bool {
	verdict, next := p.chain(c, f)
	if next != "" || verdict != firewall.Ignored {
		panic("a chain that is jumped to leads on, or decides about a service")
	}
	return slices.ContainsFunc(
		c.rules,
		func(r rule) bool { v := p.rule(r, f); return v != nil && v.Code == nftables.CodeAccept },
	)
}

func (p *passage) rule(r rule, f firewall.Flow) *nftables.Verdict {
	var reg []byte  // the first register
	var rest []byte // what stands in those behind it, of a key of several parts
	load := func(register nftables.Register, b []byte) {
		if register == reg1 {
			reg, rest = b, nil
			return
		}
		rest = append(rest, b...)
		for len(rest)%4 != 0 {
			rest = append(rest, 0)
		}
	}
	for _, e := range r.Exprs {
		match := true
		switch e := e.(type) {
		case nftables.Meta:
			load(e.Dreg, metaOf(e.Key, f))
		case nftables.Payload:
			load(e.Dreg, payloadOf(e, f))
		case nftables.Bitwise:
			masked := bytes.Clone(reg)
			for i := range masked {
				masked[i] &= e.Mask[i]
			}
			reg = masked
		case nftables.Cmp:
			n := min(len(e.Data), len(reg))
			match = string(reg[:n]) == e.Data[:n]
			if e.Op == unix.NFT_CMP_LT {
				match = string(reg[:n]) < e.Data[:n]
			}
		case nftables.Lookup:
			found, v := p.lookup(e.Set, slices.Concat(reg, rest))
			if v != nil {
				return v
			}
			match = found != (e.Flags == unix.NFT_LOOKUP_F_INV)
		case nftables.FIB: // nobody bears the host's address
			match = false
		case nftables.CT:
			switch reg = f.Destination.AsSlice(); { // nothing is translated
			case !e.Direction.Set: // a new connection: direction original, status and state neither confirmed nor related
				match = false
			case e.Key == unix.NFT_CT_PROTO_DST:
				reg = binary.BigEndian.AppendUint16(nil, f.Port)
			case f.Destination.Is4() != (e.Key == unix.NFT_CT_DST_IP):
				match = false
			}
		case nftables.Dynset: // within every limit
			limit, limited := e.Exprs[0].(nftables.Limit)
			match = !limited || limit.Flags != unix.NFT_LIMIT_F_INV
		case nftables.Reject:
			return &nftables.Verdict{}
		case nftables.Immediate:
			return &e.Verdict
		case nftables.Objref, nftables.Log:
		default:
			panic(fmt.Sprintf("no meaning for %T", e))
		}
		if !match {
			return nil
		}
	}
	return nil
}

func metaOf(key uint32, f firewall.Flow) []byte {
	switch key {
	case unix.NFT_META_NFPROTO:
		if f.Source.Is4() {
			return []byte{unix.NFPROTO_IPV4}
		}
		return []byte{unix.NFPROTO_IPV6}
	case unix.NFT_META_L4PROTO:
		return []byte{byte(f.Protocol), 0, 0, 0}
	case nftables.MetaSDIFName, nftables.MetaIIFKind: // not in a VRF
		return make([]byte, unix.IFNAMSIZ)
	case unix.NFT_META_IIFNAME:
		name := make([]byte, unix.IFNAMSIZ)
		copy(name, f.Interface)
		return name
	}
	panic(fmt.Sprintf("no meaning for meta key %v", key))
}

func payloadOf(e nftables.Payload, f firewall.Flow) []byte {
	switch {
	case e.Base == unix.NFT_PAYLOAD_TRANSPORT_HEADER && e.Len == 2:
		return binary.BigEndian.AppendUint16(nil, f.Port)
	case e.Base == unix.NFT_PAYLOAD_TRANSPORT_HEADER:
		return make([]byte, e.Len) // no ICMP, no DHCP
	case e.Offset == 12 || e.Offset == 8: // its first bytes may be all that is loaded
		return f.Source.AsSlice()[:e.Len]
	}
	return f.Destination.AsSlice()
}

// lookup finds a key in a set of the generation that is valid at this moment; a verdict if it is a
// map.
func (p *passage) lookup(name string, key []byte) (bool, *nftables.Verdict) {
	s := p.after.sets[name]
	if p.lookups > 0 || s == nil { // what a transaction deletes keeps its elements
		s = p.before.sets[name]
		// but a map's elements stop with it, since they hold on to chains (nft_map_deactivate)
		if p.mapsGo && p.lookups <= 0 && s.spec.Flags&unix.NFT_SET_MAP != 0 {
			s = &set{kind: s.kind}
		}
	}
	lost := p.lookups <= 0 && p.after.sets[name] == nil &&
		s.kind == kindPorts // but for a map (nft_map_deactivate)
	p.lookups--
	if lost {
		return false, nil
	}
	verdictOf := func(k uint32) *nftables.Verdict {
		if v, ok := s.verdicts[k]; ok {
			return &v
		}
		return nil
	}
	switch s.kind {
	case kindPorts:
		return false, verdictOf(
			portKey(p.before.sets[name].is.protocol, binary.BigEndian.Uint16(key)),
		)
	}
	if s.kind == kindVirtual {
		v, ok := virtualOf(key, s.family)
		return ok && slices.Contains(s.virtual, v), nil
	}
	a, _ := netip.AddrFromSlice(key)
	for i := range s.keys.Len() {
		if s.keys.At(i) == a {
			return true, nil
		}
	}
	return slices.ContainsFunc(
		s.spans,
		func(x span) bool { return x.first.Compare(a) <= 0 && a.Compare(x.last) <= 0 },
	), nil
}
