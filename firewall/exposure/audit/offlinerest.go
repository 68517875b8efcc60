package audit

import (
	"fmt"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// notAsked is the row of the ports from first on, which were not asked about: undecided.
func (o *offline) notAsked(p firewall.Protocol, first uint16) offlineRow {
	why := fmt.Sprintf(
		"there is too much to tell apart: %s/%d and above were not looked at, ask with --port",
		p, first,
	)
	o.report.Unread = append(o.report.Unread, why)
	r := reach{unknown: []string{why}, otherUnknown: true, decided: []string{why}}
	for _, f := range o.families {
		r.possible[slot(f)] = exposure.AllSources(f)
	}
	return offlineRow{
		part: part{reach: r, families: o.families}, protocol: p, first: first, last: 1<<16 - 1,
	}
}
