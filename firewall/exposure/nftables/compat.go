package nftables

import (
	"fmt"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtinfo"
	"github.com/portgrave/portgrave/firewall/netlink"
)

// x_tables' matches and targets as nf_tables holds them (include/uapi/linux/netfilter/nf_tables_compat.h): NFTA_MATCH_NAME 1, NFTA_MATCH_REV 2,
// NFTA_MATCH_INFO 3; the same for targets.
func xtInfo(a *netlink.Attributes) xtinfo.Info {
	return xtinfo.Info{Name: a.String(1), Revision: uint32(a.Number(2)), Data: a.Bytes(3)}
}

// xtContext is what the structs depend on; false in families that x_tables' IP extensions aren't for.
func (t *translator) xtContext() (xtinfo.Context, bool) {
	c := xtinfo.Context{IPSet: t.o.IPSet}
	switch t.table.Family {
	case exposure.FamilyIPv4:
		c.Family = firewall.IPv4
	case exposure.FamilyIPv6:
		c.Family = firewall.IPv6
	default:
		return c, false
	}
	if t.chain.Base != nil {
		c.Hook, c.HasHook = t.chain.Base.Hook, true
	}
	return c, true
}

func (t *translator) xtMatch(a *netlink.Attributes) {
	i := xtInfo(a)
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

func (t *translator) xtTarget(a *netlink.Attributes) {
	i := xtInfo(a)
	c, ok := t.xtContext()
	if !ok {
		t.unknownEffect(fmt.Sprintf("xt target %q", i.Name))
		return
	}
	for _, s := range xtinfo.Target(c, i) {
		t.add(s)
	}
}
