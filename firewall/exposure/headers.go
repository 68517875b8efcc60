package exposure

import "slices"

// IPv6 extension headers. A sender may put them before TCP's or UDP's, and ordinary senders don't.
//
// Where a rule stops such packets, a sender leaves them out: the rule stops no source. Where a rule
// lets them in, its sources are possible, as far as such packets get to a socket:
//
//   - what stands behind all headers is the question's protocol: never ESP, and never nothing
//     (ipv6header);
//   - conntrack puts fragments together before rules meet them, in the hooks after its own. The
//     kernel takes no fragments within fragments, so what comes to a local socket has no fragment
//     header left by then; forwarded packets may;
//   - an authentication header is taken off before a local socket sees what is behind it, and the
//     packet without it passes all hooks once more (xfrm6_transport_finish in
//     net/ipv6/xfrm6_input.c). So a rule at input that accepts packets with the header opens
//     nothing.
//
// test/exposure tries all this with packets.

// Numbers of headers.
const (
	headerFragment = 44
	headerESP      = 50
	headerAuth     = 51
	headerNone     = 59
)

// Bits of FieldHeaders (MASK_* in include/uapi/linux/netfilter_ipv6/ip6t_ipv6header.h).
// headersProto is for a protocol behind all headers; ordinary packets have no other.
const (
	headersProto    = 1
	headersNone     = 2
	headersESP      = 4
	headersAuth     = 8
	headersFragment = 16
)

// behindHeaders are the bits of FieldHeaders that are known of a packet with a protocol that stands
// behind extension headers.
const behindHeaders = headersProto | headersNone | headersESP

// nextHeader is the field of IPv6's own header that names what follows it.
var nextHeader = Raw{Base: RawNetwork, Offset: 48, Bits: 8}

// avoidable is a match of a rule that packets with extension headers alone meet, and that decides
// nothing about sources.
type avoidable struct {
	at int32 // the match's index, −1 for none
	// local: the rule accepts packets with an authentication header. That decides nothing at input
	// alone.
	local bool
}

// avoidableMatch finds such a match in a rule that only stops packets ("rt type 0 drop", which ufw
// begins with), or that only accepts packets with an authentication header.
func avoidableMatch(r *Rule) avoidable {
	found, auth := avoidable{at: -1}, avoidable{at: -1, local: true}
	for n, s := range r.Statements {
		switch s := s.(type) {
		case NoEffect:
		case Match, Unknown:
			if u, ok := s.(Unknown); ok && u.Effect {
				return avoidable{at: -1}
			}
			if found.at < 0 && NeedsExtension(s) {
				found.at = int32(n)
			}
			if auth.at < 0 && needsAuthentication(s) {
				auth.at = int32(n)
			}
		case Verdict:
			switch s.Kind {
			case VerdictDrop, VerdictReject:
				return found
			case VerdictAccept:
				return auth
			}
			return avoidable{at: -1}
		default:
			return avoidable{at: -1}
		}
	}
	return avoidable{at: -1}
}

// NeedsExtension reports whether a match needs an IPv6 extension header in order to hold.
func NeedsExtension(s Statement) bool {
	m, ok := s.(Match)
	if !ok {
		u, ok := s.(Unknown)
		return ok && u.Optional
	}
	return slices.ContainsFunc(m.Key, func(o Operand) bool {
		switch {
		case o.Field == FieldHeaders:
			return !m.holdsFor(o, Number(headersProto))
		case o.Field != FieldRaw || o.Raw.Base != RawExtension:
			return false
		}
		return !o.Raw.Present || !m.holdsFor(o, Value{})
	})
}

// needsAuthentication reports whether a match needs an authentication header in order to hold.
func needsAuthentication(s Statement) bool {
	m, ok := s.(Match)
	if !ok {
		u, ok := s.(Unknown)
		return ok && u.Optional && u.Header == headerAuth
	}
	if len(m.Key) != 1 || m.Not || m.In == nil {
		return false
	}
	o := m.Key[0]
	switch {
	case o == Operand{Field: FieldRaw, Raw: nextHeader}:
		return NewRanges(m.In.Keys...).Equal(NewRanges(One(Number(headerAuth)))) &&
			!m.In.Grows && m.In.Unknown == ""
	case o.Field != FieldHeaders:
		return false
	}
	for n := range uint64(256) { // all there are
		if n&headersAuth == 0 && m.holdsFor(o, Number(n)) {
			return false
		}
	}
	return true
}

// holdsFor reports whether a match of one operand holds for a value of its field. It is true for
// other matches, since they can't be decided.
func (m Match) holdsFor(o Operand, v Value) bool {
	return len(m.Key) != 1 || m.In == nil || m.In.Width != 1 ||
		m.In.Grows || m.In.Shrinks || m.In.Unknown != "" ||
		NewRanges(m.In.Keys...).Contains(o.Apply(v)) != m.Not
}

// avoided is what an avoidable match does to a flow: it doesn't hold for the packets that matter.
// It is false where the match has to be looked at.
func (w *walk) avoided(r *rule, s Statement, f flow) (branches []branch, ok bool) {
	atSocket := w.hook == HookInput && w.reply == nil
	if !w.plainSender() || r.avoid.local && (w.isFour() || !atSocket) {
		return nil, false
	}
	if !r.avoid.local && !w.isFour() && !f.packet.unusual && w.mayHoldForHeaders(s, f) {
		w.noteAssumption(AssumedNoExtensions)
	}
	return []branch{{flow: f, do: toNextRule}}, true
}

// mayHoldForHeaders reports whether a match holds for any packet of the flow.
func (w *walk) mayHoldForHeaders(s Statement, f flow) bool {
	m, ok := s.(Match)
	if !ok {
		return !w.lacks(s.(Unknown).Header, f.packet)
	}
	d := w.decide(w.read(&f, m.Key), m, w.e.prepareSet(m.In))
	return !d.hold.Empty() || !d.perhaps.Empty()
}

// lacks reports whether a packet can't have an extension header where the rule runs; 0 is any.
func (w *walk) lacks(header uint8, p *packet) bool {
	return w.q.NoExtensions || header == headerFragment && w.reassembled(p)
}

// reassembled reports whether a packet has no fragment header left.
func (w *walk) reassembled(p *packet) bool {
	return w.hook == HookInput && w.reply == nil && p.track == tracked &&
		w.e.conntrack[w.q.Family] == Yes
}

// headers is FieldHeaders.
func (w *walk) headers(p *packet, width int) view {
	n := w.q.number()
	switch {
	case n == headerESP || n == headerAuth || n == headerNone || isExtension(n):
		return anyValue(width) // its own header counts as one
	case w.q.NoExtensions:
		return exactly(Number(headersProto), width)
	case w.ordinary && w.plainSender():
		w.take(AssumedNoExtensions)
		return exactly(Number(headersProto), width)
	}
	known := uint64(behindHeaders)
	if w.lacks(headerFragment, p) {
		known |= headersFragment
	}
	return fromBits(Bits{Value: Number(headersProto), Known: Number(known)}, width)
}

// isExtension reports whether a number is that of an extension header.
func isExtension(n uint64) bool { return slices.Contains(extensionHeaders, Number(n)) }

// nextHeaders is what IPv6's own header may name as the next one.
func (w *walk) nextHeaders(p *packet) view {
	if w.q.NoExtensions {
		return exactly(Number(w.q.number()), nextHeader.Bits)
	}
	values := append([]Value{Number(w.q.number())}, extensionHeaders...)
	if w.lacks(headerFragment, p) {
		values = slices.DeleteFunc(values, func(v Value) bool { return v == Number(headerFragment) })
	}
	return amongValues(nextHeader.Bits, values...)
}

// fragmentOffset are the bits of a fragment header that say where the fragment belongs (RFC 8200
// §4.5). A packet's first fragment has zeros there, and opens the connection or nothing does.
const fragmentOffset, fragmentOffsetEnd = 16, 29

// fragmentField is what is known of bits of a fragment header.
func fragmentField(r Raw) view {
	var known Value
	for i := range r.Bits {
		if at := r.Offset + i; at >= fragmentOffset && at < fragmentOffsetEnd {
			known = known.Or(Number(1).Shift(r.Bits - 1 - i))
		}
	}
	return fromBits(Bits{Known: known}, r.Bits).maybeAbsent()
}
