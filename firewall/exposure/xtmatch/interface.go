package xtmatch

import (
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// Interface matches a name, or a prefix that ends in "+": -i, -o, --physdev-in, --physdev-out.
func Interface(f exposure.Field, name string, not bool) exposure.Match {
	r := exposure.One(exposure.Name(name))
	if prefix, ok := strings.CutSuffix(name, "+"); ok {
		r = exposure.NamePrefix(prefix)
	}
	return test(exposure.Of(f), not, r)
}

// PhysicalIs is --physdev-is-in, --physdev-is-out (FieldPhysIn, FieldPhysOut): it holds if there is
// a bridge port.
func PhysicalIs(f exposure.Field, not bool) exposure.Match {
	return test(exposure.Of(f), !not, exposure.One(exposure.Value{}))
}

// PhysicalBridged is --physdev-is-bridged.
func PhysicalBridged(not bool) exposure.Match {
	return test(exposure.Of(exposure.FieldPhysBridged), not, exposure.One(exposure.Number(1)))
}

// DeviceGroup matches devgroup's --src-group, --dst-group: FieldInGroup, FieldOutGroup.
func DeviceGroup(f exposure.Field, group, mask uint32, not bool) exposure.Match {
	return masked(f, uint64(mask), uint64(group&mask), not)
}
