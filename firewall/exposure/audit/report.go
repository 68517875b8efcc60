package audit

import (
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host/lease"
)

// Report is what an audit found. Its JSON is a contract.
type Report struct {
	Exposures []Exposure `json:"exposures"`
	Findings  []Finding  `json:"findings"`
	// Leases that run: what they open counts as allowed, and is in no policy.
	Leases []lease.Lease `json:"leases,omitempty"`
	// Unread says what could not be read, so that there may be more than is listed.
	Unread []string `json:"unread,omitempty"`
	// Assumed says what was taken for granted.
	Assumed []string `json:"assumed,omitempty"`

	err error
}

// Err is why the report isn't one: what was asked is too large. Only RunOffline's may have one.
func (r Report) Err() error { return r.err }

// Exposure is one reachable thing: a port, as packets find it that come in by one interface, and
// who is behind it.
type Exposure struct {
	Protocol string `json:"protocol"`
	Port     uint16 `json:"port"`
	PortLast uint16 `json:"port_last,omitempty"` // of a range that is published as one
	Address  string `json:"address"`             // bound to, or dialled for a published port
	// Addresses are those that the row is about, where others of the host are let in differently, and
	// have a row of their own.
	Addresses []string `json:"addresses,omitempty"`
	Interface string   `json:"interface"`
	Process   string   `json:"process"`
	PID       int      `json:"pid"`
	Unit      string   `json:"unit"`
	Container string   `json:"container"`
	Target    string   `json:"target"` // of a published port: where its packets go
	// Direct: Address and Port are a published port's target, reached past the port that it is
	// published as.
	Direct    bool   `json:"direct,omitempty"`
	Service   string `json:"service,omitempty"`
	Reachable Bounds `json:"reachable"`
	// Declared: the policy says something of the port, since a service lists it, or since it refuses
	// what none lists. Allowed is whom it lets in.
	Declared bool              `json:"declared"`
	Allowed  firewall.Prefixes `json:"allowed"`
	// Finding is the gravest, "ok" if there is none.
	Finding   Kind     `json:"finding"`
	DecidedBy []string `json:"decided_by"`
}

// Bounds are the sources that surely, and those that possibly, get through.
type Bounds struct {
	Certain  firewall.Prefixes `json:"certain"`
	Possible firewall.Prefixes `json:"possible"`
}

// Kind is a kind of finding.
type Kind string

// The kinds, the gravest first.
const (
	Bypass           Kind = "bypass"            // a published port that a host firewall believes closed
	WiderThanPolicy  Kind = "wider-than-policy" // sources get in that the policy doesn't allow
	Undeclared       Kind = "undeclared"        // reachable beyond loopback, and no service lists it
	BlockedElsewhere Kind = "blocked-elsewhere" // the policy opens it, a foreign rule doesn't
	NoTLS            Kind = "no-tls"            // the policy wants TLS
	Unhealthy        Kind = "unhealthy"         // its health check fails
	Undecided        Kind = "undecided"         // what gets through depends on what can't be known
	NotListening     Kind = "not-listening"     // opened, nobody there
	BoundInside      Kind = "bound-elsewhere"   // published, and bound to another address in its container
	Expired          Kind = "expired"           // an entry of the policy that has ended
	Expiring         Kind = "expiring"          // one that ends within a week
	BoundWider       Kind = "bound-wider"       // bound to more addresses than the policy needs
	OK               Kind = "ok"
)

// gravity orders kinds.
var gravity = []Kind{
	Bypass,
	WiderThanPolicy,
	Undeclared,
	BlockedElsewhere,
	NoTLS,
	Unhealthy,
	Undecided,
	NotListening,
	BoundInside,
	Expired,
	Expiring,
	BoundWider,
	OK,
}

// Kinds are all of them, the gravest first.
func Kinds() []Kind { return slices.Clone(gravity) }

// Finding is one thing that doesn't fit.
type Finding struct {
	Kind      Kind              `json:"kind"`
	Service   string            `json:"service,omitempty"`
	Protocol  string            `json:"protocol,omitempty"`
	Port      uint16            `json:"port,omitempty"`
	PortLast  uint16            `json:"port_last,omitempty"`
	Address   string            `json:"address,omitempty"`
	Interface string            `json:"interface,omitempty"`
	Process   string            `json:"process,omitempty"`
	Sources   firewall.Prefixes `json:"sources"` // concerned
	// Detail is for people, a sentence that names what it is about, but for the interface: what is so,
	// and what to do.
	Detail string `json:"detail"`
}
