package audit

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Addresses that rules tell apart and that the import doesn't ask about: those that the host
// doesn't have now, such as a virtual one that another host holds, and those of networks that a
// route makes local.

// noteAbsentAddresses names them.
func (w *importWriter) noteAbsentAddresses() {
	input := w.Rules.RulesFrom(func(b *exposure.Base) bool { return b.Hook == exposure.HookInput })
	var absent, anyIP []string
	for _, r := range input {
		if r.Owner() == "portgrave" {
			continue
		}
		for _, st := range r.Statements {
			m, ok := st.(exposure.Match)
			if !ok || m.In == nil || len(m.Key) != 1 {
				continue
			}
			six := m.Key[0].Field == exposure.FieldDest6
			if !six && m.Key[0].Field != exposure.FieldDest4 {
				continue
			}
			to, local := column(m.In, 0), w.anyIP(six)
			for _, a := range singles(to, six) {
				if !w.Host.Owns(a) && !w.group(a) && !a.IsLoopback() && !a.IsUnspecified() &&
					!slices.ContainsFunc(
						local,
						func(p netip.Prefix) bool { return p.Contains(a) },
					) {
					absent = appendOnce(absent, a.String())
				}
			}
			for _, p := range local {
				if to.Touches(exposure.Prefix(p)) {
					anyIP = appendOnce(anyIP, p.String())
				}
			}
		}
	}
	if len(absent) > 0 {
		w.note(
			"rules name addresses that this host doesn't have now: %s; what they let in or refuse "+
				"there is left out: import again where the host has them, or write services with them in "+
				"addresses",
			strings.Join(absent, ", "),
		)
	}
	if len(anyIP) > 0 {
		w.note("routes make %s local, and rules tell addresses there apart, which is left out: a "+
			"service without addresses is open there too, and one for them needs them in addresses",
			strings.Join(anyIP, ", "))
	}
}

// anyIP are the networks that routes make local, without loopback's.
func (s *survey) anyIP(six bool) (out []netip.Prefix) {
	for _, r := range s.Host.Routes {
		if r.Type == exposure.RouteLocal && r.Dest.IsValid() && r.Dest.Addr().Is6() == six &&
			!r.Dest.IsSingleIP() && !r.Dest.Addr().IsLoopback() && !slices.Contains(out, r.Dest) {
			out = append(out, r.Dest)
		}
	}
	return out
}

// localNetworks are all of them.
func (s *survey) localNetworks() (out sources) {
	for _, f := range address.Families {
		for _, p := range s.anyIP(f == address.IPv6) {
			out[slot(f)] = out[slot(f)].Union(exposure.NewRanges(exposure.Prefix(p)))
		}
	}
	return out
}
