package policy

import (
	"net/netip"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// Accept is a finding of audit that is known and wanted, an entry of the key accept. It is about
// what it names and about nothing else.
type Accept struct {
	Finding string
	Ports   firewall.PortRange
	// Address is where the port is; the zero Addr: at every address.
	Address netip.Addr
	Reason  string
	// Until is when the finding counts again; zero: never.
	Until    time.Time
	Location Location
}

// AcceptableFindings are the findings that an entry of accept may name. Each is about a port.
var AcceptableFindings = []string{
	"bypass", "wider-than-policy", "undeclared", "blocked-elsewhere", "no-tls", "unhealthy",
	"undecided", "rate-limited", "not-listening", "bound-elsewhere", "bound-wider",
}

var acceptKey = key{
	name: "accept",
	shape: list{words: "a list of accepted findings", of: mapping{
		words: "an accepted finding",
		keys: []key{
			{
				name:     "finding",
				shape:    choice(AcceptableFindings),
				doc:      "what audit reports",
				required: true,
			},
			{
				name:     "port",
				shape:    port,
				doc:      `the port, or a range "8000-8010"`,
				required: true,
			},
			{
				name:    "protocol",
				shape:   choice{"tcp", "udp", "sctp"},
				doc:     "its protocol",
				initial: "tcp",
			},
			{
				name:  "address",
				shape: localAddress,
				doc:   "the address that audit names, such as 192.0.2.10 or 0.0.0.0; any if absent",
			},
			{
				name:     "reason",
				shape:    anyText,
				doc:      "why it is wanted",
				required: true,
			},
			{
				name:  "until",
				shape: expiry,
				doc: "when it counts again: 2027-06-30 (all day, UTC) or a time " +
					"(2027-06-30T18:00:00Z); never if absent",
			},
		},
	}},
	doc: "findings of audit that are known and wanted",
	more: "Audit shows them as accepted, and they don't count for its exit code. An entry is about " +
		"that finding at that port and address alone. It changes no rule, so it holds as soon as it " +
		"is written.",
}

func (d *decoder) accept(n *node) {
	if n.kind != kindMapping {
		return
	}
	a := Accept{Location: n.at}
	setText(n, "finding", &a.Finding)
	setText(n, "reason", &a.Reason)
	a.Ports.Protocol = firewall.TCP
	if x := n.get("protocol"); x != nil && x.kind == kindString {
		if p, err := firewall.ParseProtocol(x.text); err == nil { // else check has reported it
			a.Ports.Protocol = p
		}
	}
	var known bool
	if x := n.get("port"); x != nil {
		a.Ports.First, a.Ports.Last, known = d.portRange(x)
	}
	if x := n.get("address"); x != nil && x.kind == kindString && x.text != "" {
		p, err := parseHinted(x.text, localHint)
		switch {
		case err != nil:
			d.report.at(x.at, "%v", err)
			return
		case !p.IsSingleIP():
			d.report.at(x.at, "%q: address takes an address of this host, not a network", x.text)
			return
		}
		a.Address = p.Addr()
	}
	if x := n.get("until"); x != nil && x.kind == kindString && expiryPattern.MatchString(x.text) {
		until, err := parseExpiry(x.text)
		if err != nil {
			d.report.at(x.at, "%q: this day or time doesn't exist", x.text)
			return
		}
		a.Until = until.UTC()
	}
	if known && a.Finding != "" {
		d.policy.Accepts = append(d.policy.Accepts, a)
	}
}

// endedAccepts warns of entries of accept whose time is over.
func (c *compiler) endedAccepts() {
	for _, a := range c.policy.Accepts {
		if !a.Until.IsZero() && !a.Until.After(c.now) {
			c.warnings.warn(RuleExpiredAccept, a.Location, "this accept ended on %s, and the "+
				"finding counts again; remove it, or give it a later until",
				a.Until.UTC().Format(time.RFC3339))
		}
	}
}
