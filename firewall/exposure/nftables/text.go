package nftables

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// A rule's text is put together from its statements, in nft's words where nft has some. It is for
// people: what they need to recognise the rule, not what nft would read back.

// ruleText is a whole rule. What later words say anyway is left out: "meta l4proto tcp" before "tcp
// dport 22", "meta nfproto ipv4" before "ip saddr".
//
// version is the IP version that the table or the chain's hook leaves; Unspec for both.
func ruleText(version exposure.Family, statements []exposure.Statement) string {
	var words []string
	protocol := ""
	for i, s := range statements {
		if m, ok := s.(exposure.Match); ok {
			if name, ok := onlyProtocol(m); ok {
				if protocol = name; reads(statements[i+1:], transportFields) {
					continue
				}
				words = append(words, "meta l4proto "+name)
				continue
			}
			if onlyVersion(m) {
				n, _ := m.In.Keys[0].From.Uint64()
				if version = exposure.Family(n); reads(statements[i+1:], versionFields) {
					continue
				}
			}
			s = named(version, m)
		}
		text := statementText(s)
		if protocol != "" {
			text = strings.ReplaceAll(text, "th sport", protocol+" sport")
			text = strings.ReplaceAll(text, "th dport", protocol+" dport")
			if protocol == "icmpv6" {
				text = strings.ReplaceAll(text, "icmp ", "icmpv6 ")
			}
		}
		words = append(words, text)
	}
	return strings.Join(words, " ")
}

func onlyProtocol(m exposure.Match) (string, bool) {
	if m.Not || len(m.Key) != 1 || m.Key[0] != exposure.Of(exposure.FieldProtocol) ||
		len(m.In.Keys) != 1 ||
		m.In.Name != "" {
		return "", false
	}
	n, ok := m.In.Keys[0].From.Uint64()
	return protocolName(n), ok && m.In.Keys[0] == exposure.One(exposure.Number(n))
}

func onlyVersion(m exposure.Match) bool {
	return !m.Not && len(m.Key) == 1 && m.Key[0] == exposure.Of(exposure.FieldNFProto) &&
		len(m.In.Keys) == 1
}

// transportFields and versionFields are written with their protocol's name, and those of one IP
// version.
var (
	transportFields = map[exposure.Field]bool{
		exposure.FieldSport:    true,
		exposure.FieldDport:    true,
		exposure.FieldTCPFlags: true,
		exposure.FieldICMPType: true,
		exposure.FieldICMPCode: true,
	}
	versionFields = map[exposure.Field]bool{
		exposure.FieldSource4:  true,
		exposure.FieldSource6:  true,
		exposure.FieldDest4:    true,
		exposure.FieldDest6:    true,
		exposure.FieldFragment: true,
	}
)

// reads reports whether one of the statements is about one of the fields.
func reads(statements []exposure.Statement, fields map[exposure.Field]bool) bool {
	has := func(o exposure.Operand) bool {
		raw := o.Field == exposure.FieldRaw && fields[exposure.FieldSource4] &&
			(o.Raw.Base == exposure.RawNetwork || o.Raw.Base == exposure.RawExtension || o.Raw.Base == exposure.RawIPOption)
		return raw || fields[o.Field]
	}
	for _, s := range statements {
		var key []exposure.Operand
		switch s := s.(type) {
		case exposure.Match:
			key = s.Key
		case exposure.VerdictMap:
			key = s.Key
		case exposure.SetUpdate:
			key = s.Key
		case exposure.Assign:
			key = append([]exposure.Operand{exposure.Of(s.To)}, s.Value...)
		case exposure.NAT:
			for _, o := range []*exposure.Operand{s.Addr, s.Port} {
				if o != nil {
					key = append(key, *o)
				}
			}
		}
		for _, o := range key {
			if has(o) || o.Lookup != nil && slices.ContainsFunc(o.Lookup.Key, has) {
				return true
			}
		}
	}
	return false
}

func statementText(s exposure.Statement) string {
	switch s := s.(type) {
	case exposure.Match:
		return matchText(s)
	case exposure.Verdict:
		return verdictText(s)
	case exposure.VerdictMap:
		return keyText(s.Key) + " vmap " + setText(s.In, s.Key)
	case exposure.Assign:
		if len(s.Value) == 1 && s.To == exposure.FieldCTLabel {
			v := s.Value[0]
			if bit, ok := labelBit(v.Xor); ok && v == exposure.SetLabel(v.Xor).Value[0] {
				return fmt.Sprintf("ct label set %d", bit)
			}
		}
		return fmt.Sprintf("%s set %s", operandText(exposure.Operand{Field: s.To, Raw: s.Raw}), valuesText(s.To, s.Value))
	case exposure.NAT:
		return natStatementText(s)
	case exposure.TProxy:
		return "tproxy" + toText(s.Family, s.Addr, nil, s.Port, nil)
	case exposure.NoTrack:
		return "notrack"
	case exposure.SetUpdate:
		verb := "add"
		if s.Op == exposure.SetDelete {
			verb = "delete"
		}
		return fmt.Sprintf("%s @%s { %s }", verb, s.Set.Name, strings.TrimSpace(keyText(s.Key)+" "+s.Condition))
	case exposure.NoEffect:
		return s.Text
	case exposure.Unknown:
		return s.Text
	}
	return "?"
}

func verdictText(v exposure.Verdict) string {
	switch v.Kind {
	case exposure.VerdictJump, exposure.VerdictGoto:
		return v.Kind.String() + " " + v.Chain
	case exposure.VerdictReject:
		return "reject with " + v.With
	case exposure.VerdictQueue:
		return "queue to " + v.With
	case exposure.VerdictStolen:
		return v.With
	}
	return v.Kind.String()
}
