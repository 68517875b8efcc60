package xtables

import (
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// translator makes statements of one rule's options.
type translator struct {
	family  exposure.Family // FamilyIPv4 or FamilyIPv6
	sets    *Sets
	chain   func(name string) bool // whether the table has a chain of that name
	comment string
	// known are statements that other rules have too, by the option as it was written: most rules
	// ask for one of a few protocols and ports. nil keeps none.
	known   map[string]exposure.Statement
	pending *pendingNetmap // the rule's NETMAP, if it has one
	wrong   *iptsave.Error // an option with an impossible value
}

// version is the family as an IP version.
func (x *translator) version() address.Family {
	if x.family == exposure.FamilyIPv6 {
		return address.IPv6
	}
	return address.IPv4
}

// maxKnown bounds the statements that are kept for other rules.
const maxKnown = 4096

// once translates an option, the first time that it comes.
func (x *translator) once(
	o iptsave.Option,
	translate func(iptsave.Option) exposure.Statement,
) exposure.Statement {
	if s, ok := x.known[o.Text]; ok {
		return s
	}
	s := translate(o)
	if _, plain := s.(exposure.Match); plain && x.known != nil && len(x.known) < maxKnown {
		x.known[strings.Clone(o.Text)] = s
	}
	return s
}

// rule translates: what the header asks for, the matches in their order, what the target does.
// False for a rule that is not for the family ("-4", "-6" in files for both).
func (x *translator) rule(r iptsave.Rule) ([]exposure.Statement, bool) {
	var out []exposure.Statement
	for _, o := range r.Header {
		if o.Name == "-4" && x.family == exposure.FamilyIPv6 ||
			o.Name == "-6" && x.family == exposure.FamilyIPv4 {
			return nil, false
		}
		if s := x.once(o, x.header); s != nil {
			out = append(out, x.checked(o, s))
		}
	}
	for _, e := range r.Matches {
		out = append(out, x.match(e)...)
	}
	x.checkProtocol(r)
	target := x.target(r.Target)
	if len(target) > 0 && isUnknown(target[0]) {
		for _, o := range r.Target.Options {
			x.check(o)
		}
	}
	return append(out, target...), true
}

// checked is an option's statement. One that isn't understood is checked for an impossible value.
func (x *translator) checked(o iptsave.Option, s exposure.Statement) exposure.Statement {
	if isUnknown(s) {
		x.check(o)
	}
	return s
}

func isUnknown(s exposure.Statement) bool {
	_, unknown := s.(exposure.Unknown)
	return unknown
}
