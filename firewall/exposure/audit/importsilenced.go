package audit

import (
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// Rules for outgoing packets that stop answers. Of TCP and SCTP, a source without an answer has no
// connection, so the policy refuses it. A packet of UDP may have its effect without an answer, so
// the policy lets it in, and with it the answer out.

// noteSilenced names the ports whose answers to some sources are stopped by rules.
func (w *importWriter) noteSilenced() {
	var order []string
	ports := map[string][]string{}
	for _, x := range w.subjects {
		if x.silenced.empty() || x.Protocol.HasPorts() && !x.receiver.there ||
			x.Protocol == firewall.Ping && w.out.Closed.Has(firewall.EssentialEcho) {
			continue
		}
		to := fewOf(w.pool.simplestPrefixes(w.pool.number(x.silenced)))
		if ports[to] == nil {
			order = append(order, to)
		}
		ports[to] = append(ports[to], x.String())
	}
	for _, to := range order {
		w.note("rules for outgoing packets stop the answers of %s to %s, which get out by this "+
			"policy: write such sources in except of the service, or keep these rules",
			strings.Join(ports[to], ", "), to)
	}
}
