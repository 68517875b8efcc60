package exposure

// assign sets a field.
func (w *walk) assign(c *chain, r *rule, s Assign, f flow) []branch {
	var out []branch
	for n, rd := range w.read(&f, s.Value) {
		g := f
		g.sources = rd.sources
		if rd.doubtful {
			g.doubts = w.doubt(
				f.doubts,
				Decider{Rule: r.Rule, Chain: c.Chain, Reason: "not known: what is set"},
				n+2,
			)
		}
		if rd.absent == Yes {
			out = append(out, branch{flow: g, do: toNextRule})
			continue
		}
		width := Of(s.To).Width()
		if s.To == FieldRaw {
			width = 128
		}
		v := exactly(Value{}, width)
		for _, x := range rd.values {
			part := x.view
			if x.source {
				part = anyValue(x.operand.Width())
			}
			part = widen(part, width)
			if len(rd.values) == 1 {
				v = part
			} else {
				v = v.xor(part)
			}
		}
		p := *g.packet
		w.set(&p, s.To, v)
		if rd.absent == Maybe {
			branches := w.mayHold(c, r, g, "whether there is a value to set")
			branches[0].packet = &p
			out = append(out, branches...)
			continue
		}
		g.packet = &p
		out = append(out, branch{flow: g})
	}
	return out
}

// widen moves a value into a field of another width: it is cut, or zeros are added above.
func widen(v view, width int) view {
	if v.width == width {
		return v
	}
	all := Ones(width)
	out := view{width: width, absent: v.absent}
	above := all.AndNot(Ones(v.width))
	out.bits = Bits{v.bits.Value.And(all), v.bits.Known.Or(above).And(all)}
	if v.within.To.Compare(all) <= 0 {
		out.within = v.within
	} else {
		out.within = fromBits(out.bits, width).within
	}
	return out
}

// set changes a field of a packet.
func (w *walk) set(p *packet, to Field, v view) {
	connection := func(b *Bits) {
		switch w.noConnection(p) { // without a connection nothing is written, and the rule goes on
		case No:
			*b = v.bits
		case Maybe:
			*b = b.Join(v.bits)
		}
	}
	four := w.isFour()
	switch to {
	case FieldMark, FieldCTMark, FieldCTLabel, FieldCTZone:
	default:
		w.touch(p)
	}
	switch to {
	case FieldMark:
		p.mark = v.bits
	case FieldCTMark:
		connection(&p.ctMark)
	case FieldCTLabel:
		connection(&p.label)
	case FieldCTZone:
		w.setZone(p, v.bits)
	case FieldDest4, FieldDest6:
		if w.reply != nil { // the client's
			p.writeUnknown(addressWidth(w.q.Family))
			w.follows(p)
		} else if (to == FieldDest4) == four {
			p.now.addr, p.local, p.moved, p.rewritten = v.within, false, true, true
			w.follows(p)
		}
	case FieldDport:
		if w.reply != nil {
			p.writeUnknown(addressWidth(w.q.Family))
			w.follows(p)
			return
		}
		p.now.port, p.moved, p.rewritten = v.within, true, true
		w.follows(p)
	case FieldRaw,
		FieldSource4,
		FieldSource6,
		FieldSport,
		FieldProtocol,
		FieldTCPFlags,
		FieldFragment,
		FieldICMPType,
		FieldICMPCode:
		p.writeUnknown(addressWidth(w.q.Family))
		w.follows(p)
	}
}

// setZone attaches a template with the zone of the coming connection. The first template stays
// (xt_ct_target in net/netfilter/xt_CT.c, nft_ct_set_zone_eval in net/netfilter/nft_ct.c). nft
// attaches one to an untracked packet too, which is then tracked again; x_tables doesn't.
func (w *walk) setZone(p *packet, zone Bits) {
	switch {
	case w.phase == afterConntrack || w.phase == beforeConntrack && p.template == Yes:
		return
	case w.phase == beforeConntrack && p.track == tracked && p.template == No:
		p.zone, p.template = zone, Yes
		return
	case p.track == untracked:
		p.track = perhapsTracked
	}
	p.zone, p.template = p.zone.Join(zone), Maybe
}

// writeUnknown changes the packet as a rule does that writes to bytes which aren't followed.
func (p *packet) writeUnknown(width int) {
	p.now = endpoint{Full(width), Full(16)}
	p.sport = Full(16)
	p.headerSource = sourceOther
	p.local, p.moved, p.rewritten, p.headerUnknown = false, true, true, true
}

// follows sets the connection to the packet as it is now. It is for rules that change the packet
// before it has a connection.
func (w *walk) follows(p *packet) {
	if w.reply != nil { // the connection exists, and may not be found any more
		if w.phase != afterConntrack && p.track == tracked {
			p.track = perhapsTracked
		}
		return
	}
	switch w.phase {
	case beforeConntrack:
		p.orig, p.reply, p.origSource, p.replySource = p.now, p.now, p.headerSource, p.headerSource
		p.rewritten = p.headerUnknown
	case atConntrack:
		p.orig, p.reply = p.orig.join(p.now), p.reply.join(p.now)
		p.origSource, p.replySource = max(
			p.origSource,
			p.headerSource,
		), max(
			p.replySource,
			p.headerSource,
		)
	}
}
