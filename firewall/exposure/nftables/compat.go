package nftables

import (
	"fmt"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtinfo"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
)

// x_tables' matches and targets as nf_tables holds them
// (include/uapi/linux/netfilter/nf_tables_compat.h).

// xtContext is what the structs depend on; false in families that x_tables' IP extensions aren't
// for.
func (t *translator) xtContext() (xtinfo.Context, bool) {
	c := xtinfo.Context{IPSet: t.o.IPSet}
	switch t.table.Family {
	case exposure.FamilyIPv4:
		c.Family = address.IPv4
	case exposure.FamilyIPv6:
		c.Family = address.IPv6
	default:
		return c, false
	}
	if t.chain.Base != nil {
		c.Hook, c.HasHook = t.chain.Base.Hook, true
	}
	return c, true
}

func (t *translator) xtMatch(e kernel.XTMatch) {
	i := xtinfo.Info{Name: e.Match, Revision: e.Revision, Data: []byte(e.Info)}
	c, ok := t.xtContext()
	if !ok {
		t.unknownMatch(fmt.Sprintf("xt match %q", i.Name))
		return
	}
	statements, comment := xtinfo.Match(c, i)
	for _, s := range statements {
		if m, ok := s.(exposure.Match); ok {
			t.match(m)
			continue
		}
		t.add(s)
	}
	if comment != "" {
		t.comment = comment
	}
}

func (t *translator) xtTarget(e kernel.XTTarget) {
	i := xtinfo.Info{Name: e.Target, Revision: e.Revision, Data: []byte(e.Info)}
	c, ok := t.xtContext()
	if !ok {
		t.unknownEffect(fmt.Sprintf("xt target %q", i.Name))
		return
	}
	for _, s := range xtinfo.Target(c, i) {
		t.add(s)
	}
}
