package exposure

// Forwarding returns the rules that forwarded packets can meet, without those that only packets to
// and from the host itself do. What they distinguish is all that matters for forwarded packets.
func (rs *Ruleset) Forwarding() *Ruleset {
	const onTheWay = PlaceBefore | PlaceTranslation | PlaceForward | PlaceOut
	out := &Ruleset{Missing: rs.Missing}
	for _, t := range rs.Tables {
		at := places(t, placeOfPacket)
		kept := out.AddTable(t.withoutChains())
		for _, c := range t.Chains {
			if at[c]&onTheWay == 0 {
				continue
			}
			chain := kept.AddChain(&Chain{Name: c.Name, Base: c.Base, Origin: c.Origin})
			for _, r := range c.Rules {
				rule := *r
				chain.AddRule(&rule)
			}
		}
	}
	return out
}
