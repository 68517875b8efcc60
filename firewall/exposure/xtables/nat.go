package xtables

import (
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// nat translates the targets of the table nat: net/netfilter/xt_nat.c, xt_MASQUERADE.c,
// xt_REDIRECT.c, xt_NETMAP.c.
func (x *translator) nat(e iptsave.Extension) []exposure.Statement {
	n := exposure.NAT{Family: x.family}
	switch e.Name {
	case "DNAT":
		n.Kind = exposure.NATDestination
	case "REDIRECT":
		n.Kind = exposure.NATRedirect
	case "SNAT":
		n.Kind = exposure.NATSource
	case "MASQUERADE":
		n.Kind = exposure.NATMasquerade
	}
	var flags []string
	given := false
	for _, o := range e.Options {
		switch o.Name {
		case "--to-destination", "--to-source":
			if given || !x.natRange(&n, o.Value()) { // kernels before 2.6.11 took several
				return effect(e)
			}
			given = true
		case "--to-ports":
			if !natPorts(&n, o.Value()) {
				return effect(e)
			}
		case "--random", "--random-fully", "--persistent":
			flags = append(flags, strings.TrimPrefix(o.Name, "--"))
		default:
			return effect(e)
		}
	}
	if !given && (e.Name == "DNAT" || e.Name == "SNAT") {
		return effect(e)
	}
	n.Text = strings.Join(flags, ",")
	return []exposure.Statement{n}
}

// natRange reads "[address[-address]][:port[-port[/base]]]"; IPv6 addresses with ports stand in
// brackets, both in one pair (parse_to in libxt_NAT.c).
func (x *translator) natRange(n *exposure.NAT, s string) bool {
	addresses, ports, withPorts := s, "", false
	switch {
	case x.family == exposure.FamilyIPv6 && strings.HasPrefix(s, "["):
		end := strings.LastIndexByte(s, ']')
		if end < 0 {
			return false
		}
		addresses = s[1:end]
		rest := s[end+1:]
		ports, withPorts = strings.CutPrefix(rest, ":")
		if rest != "" && !withPorts {
			return false
		}
	case x.family == exposure.FamilyIPv6 && strings.HasPrefix(s, ":") && !strings.HasPrefix(s, "::"):
		addresses, ports, withPorts = "", s[1:], true
	case x.family == exposure.FamilyIPv4:
		addresses, ports, withPorts = strings.Cut(s, ":")
	}
	if addresses != "" {
		r, ok := parseRange(x.family, addresses)
		if !ok {
			return false
		}
		n.Addr = constant(r.From)
		if r.From != r.To {
			n.AddrMax = constant(r.To)
		}
	}
	if withPorts {
		return natPorts(n, ports)
	}
	return addresses != ""
}

// natPorts reads "port[-port[/base]]".
func natPorts(n *exposure.NAT, s string) bool {
	s, base, shifted := strings.Cut(s, "/")
	r, ok := parsePorts(s, "-")
	if !ok || s == "" || strings.HasPrefix(s, "-") || strings.HasSuffix(s, "-") {
		return false
	}
	n.Port = constant(r.From)
	if r.From != r.To {
		n.PortMax = constant(r.To)
	}
	if shifted {
		b, ok := parseNumber(base, 16)
		if !ok {
			return false
		}
		n.PortBase = constant(exposure.Number(b))
	}
	return true
}

func constant(v exposure.Value) *exposure.Operand {
	o := exposure.Const(v)
	return &o
}

// netmap keeps the host part of an address and replaces the network. In prerouting and output that
// is the destination, in input and postrouting the source; a user chain has the hook of the chains
// that jump to it, so settle decides once the table is complete.
func (x *translator) netmap(e iptsave.Extension) []exposure.Statement {
	if len(e.Options) != 1 || e.Options[0].Name != "--to" {
		return effect(e)
	}
	m, ok := parseMasked(x.family, e.Options[0].Value())
	if !ok {
		return effect(e)
	}
	x.pending = &pendingNetmap{to: m, family: x.family, text: e.String()}
	return one(x.pending.of(exposure.NATDestination))
}

// pendingNetmap is the NETMAP that ends a rule, until its direction is known.
type pendingNetmap struct {
	rule   *exposure.Rule
	to     masked
	family exposure.Family
	text   string
}

func (p *pendingNetmap) of(kind exposure.NATKind) exposure.NAT {
	field, width := fieldsFor(p.family).dest, 32
	if kind == exposure.NATSource {
		field = fieldsFor(p.family).source
	}
	if p.family == exposure.FamilyIPv6 {
		width = 128
	}
	a := exposure.Of(field).And(exposure.Ones(width).AndNot(p.to.mask)).XorWith(p.to.address)
	return exposure.NAT{Kind: kind, Family: p.family, Addr: &a, Text: "netmap"}
}

// settle gives NETMAPs their direction, by the hooks from which their chains are reached. One that
// is reached from both kinds is an Unknown effect.
func settle(t *exposure.Table, pending []*pendingNetmap) {
	if len(pending) == 0 {
		return
	}
	var source, dest = map[*exposure.Chain]bool{}, map[*exposure.Chain]bool{}
	for _, c := range t.Chains {
		switch {
		case c.Base == nil:
		case c.Base.Hook == exposure.HookInput || c.Base.Hook == exposure.HookPostrouting:
			reach(t, c, source)
		default:
			reach(t, c, dest)
		}
	}
	for _, p := range pending {
		last := &p.rule.Statements[len(p.rule.Statements)-1]
		switch c := p.rule.Chain; {
		case source[c] && dest[c]:
			*last = exposure.Unknown{Text: p.text, Effect: true}
		case source[c]:
			*last = p.of(exposure.NATSource)
		}
	}
}

// reach marks every chain that a chain leads to, and itself.
func reach(t *exposure.Table, c *exposure.Chain, seen map[*exposure.Chain]bool) {
	for todo := []*exposure.Chain{c}; len(todo) > 0; {
		c, todo = todo[len(todo)-1], todo[:len(todo)-1]
		if c == nil || seen[c] {
			continue
		}
		seen[c] = true
		for _, r := range c.Rules {
			for _, s := range r.Statements {
				if v, ok := s.(exposure.Verdict); ok && v.Chain != "" {
					todo = append(todo, t.Chain(v.Chain))
				}
			}
		}
	}
}
