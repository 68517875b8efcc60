package audit

import (
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/host/lease"
)

// Report is the result of an audit. Its JSON is a contract.
type Report struct {
	Exposures []Exposure `json:"exposures"`
	Findings  []Finding  `json:"findings"`
	Evidence
	// Leases in force: what they open counts as allowed, but isn't in the policy file.
	Leases []lease.Lease `json:"leases,omitempty"`
	// Unread lists what couldn't be read, so the report may be incomplete.
	Unread []string `json:"unread,omitempty"`
	// Assumed lists the assumptions made.
	Assumed []string `json:"assumed,omitempty"`
	// Unjudged: no policy was given with rules from files, so no row is compared with one, and only
	// findings that need none are listed.
	Unjudged bool `json:"unjudged,omitempty"`
	// UnjudgedWhy says why there is no policy to compare with, if one is there.
	UnjudgedWhy string `json:"unjudged_why,omitempty"`

	err error
}

// Evidence says what a report is about. Rules from files have no host, kernel and generation.
type Evidence struct {
	Host    string    `json:"host"`
	At      time.Time `json:"at"`
	Version string    `json:"version"` // of portgrave
	Kernel  string    `json:"kernel"`
	// GenerationUnknown: it can't be read which one is in force.
	GenerationUnknown bool `json:"generation_unknown,omitempty"`
	// Generation is the one in force; 0: none. AppliedBy and AppliedAt are its author and time.
	Generation int       `json:"generation"`
	AppliedBy  string    `json:"applied_by"`
	AppliedAt  time.Time `json:"applied_at,omitzero"`
}

// Err is the error of a RunOffline whose question was too large, or about an IP version that the
// rules don't cover; nil otherwise.
func (r Report) Err() error { return r.err }

// Exposure is one row: a port as packets by one interface reach it, and what listens there.
type Exposure struct {
	Protocol string `json:"protocol"`
	Port     uint16 `json:"port"`
	PortLast uint16 `json:"port_last,omitempty"` // for a published range
	Address  string `json:"address"`             // bound to or, for a published port, dialled
	// Addresses are the row's addresses, if other addresses of the host have a different answer and
	// a row of their own.
	Addresses []string `json:"addresses,omitempty"`
	Interface string   `json:"interface"`
	Process   string   `json:"process"`
	PID       int      `json:"pid"`
	Unit      string   `json:"unit"`
	Container string   `json:"container"`
	Target    string   `json:"target"` // for a published port: where its packets go
	// Direct: Address and Port are a published port's target, reached directly.
	Direct  bool   `json:"direct,omitempty"`
	Service string `json:"service,omitempty"`
	// Rate is how often the service lets each source in: "10/minute"; "" if there is no limit.
	Rate      string `json:"rate,omitempty"`
	Reachable Bounds `json:"reachable"`
	// From names the possible sources, and Surely the certain ones if those differ, with the
	// policy's networks: "everywhere except office".
	From   string `json:"from"`
	Surely string `json:"surely,omitempty"`
	// Declared: the policy decides on the port, because a service lists it or because it refuses
	// unlisted ports. Allowed is the sources that it lets in.
	Declared bool        `json:"declared"`
	Allowed  address.Set `json:"allowed"`
	// AllowedFrom names Allowed; "" if the policy doesn't decide.
	AllowedFrom string `json:"allowed_from,omitempty"`
	// Finding is the most severe finding, "ok" if there is none. What is accepted comes last.
	Finding   Kind      `json:"finding"`
	Severity  Severity  `json:"severity"` // "" for ok
	Accepted  *Accepted `json:"accepted"` // null if Finding isn't accepted
	DecidedBy []string  `json:"decided_by"`
	// Stopped are the sources that the policy allows and something else stops; nil if there are
	// none.
	Stopped *Stopped `json:"-"`

	bound string // the address that its socket is bound to; "" for a row without a socket
	found []rowFinding
}

// Stopped are sources that something stops.
type Stopped struct {
	Sources address.Set
	By      []string // what stops them, in words
	Owners  []string // the programs that have written what stops them, as far as they are known
}

// Bounds are the sources that certainly, and those that possibly, get through.
type Bounds struct {
	Certain  address.Set `json:"certain"`
	Possible address.Set `json:"possible"`
}

// Kind is a kind of finding.
type Kind string

// The kinds, the most severe first.
const (
	// a published port that a host firewall assumes closed
	Bypass          Kind = "bypass"
	WiderThanPolicy Kind = "wider-than-policy" // sources get in that the policy doesn't allow
	// reachable beyond loopback, but not listed by a service
	Undeclared Kind = "undeclared"
	// the policy opens it, but another program's rule doesn't
	BlockedElsewhere Kind = "blocked-elsewhere"
	NoTLS            Kind = "no-tls"    // the policy requires TLS
	Unhealthy        Kind = "unhealthy" // its health check fails
	Undecided        Kind = "undecided" // it depends on something that can't be known
	// another program's rule limits how often sources get in
	RateLimited  Kind = "rate-limited"
	NotListening Kind = "not-listening" // open, but nothing listens
	// published, but bound to another address in its container
	BoundInside Kind = "bound-elsewhere"
	Expired     Kind = "expired"     // an entry of the policy that has ended
	Expiring    Kind = "expiring"    // one that ends within a week
	BoundWider  Kind = "bound-wider" // bound to more addresses than the policy needs
	OK          Kind = "ok"
)

// kindSeverity orders kinds, the most severe first.
var kindSeverity = []Kind{
	Bypass,
	WiderThanPolicy,
	Undeclared,
	BlockedElsewhere,
	NoTLS,
	Unhealthy,
	Undecided,
	RateLimited,
	NotListening,
	BoundInside,
	Expired,
	Expiring,
	BoundWider,
	OK,
}

// Kinds returns all kinds, the most severe first.
func Kinds() []Kind { return slices.Clone(kindSeverity) }

// rank is the place of a kind among them.
func rank(k Kind) int { return slices.Index(kindSeverity, k) }

// Finding is one mismatch between host and policy.
type Finding struct {
	Kind      Kind        `json:"kind"`
	Severity  Severity    `json:"severity"`
	Accepted  *Accepted   `json:"accepted"` // null if it isn't
	Service   string      `json:"service,omitempty"`
	Protocol  string      `json:"protocol,omitempty"`
	Port      uint16      `json:"port,omitempty"`
	PortLast  uint16      `json:"port_last,omitempty"`
	Address   string      `json:"address,omitempty"`
	Interface string      `json:"interface,omitempty"`
	Process   string      `json:"process,omitempty"`
	Sources   address.Set `json:"sources"` // concerned
	// From names Sources with the policy's networks; "" if there are none.
	From string `json:"from,omitempty"`
	// Detail is a sentence for people: the subject without its interface, what is so, and what to
	// do.
	Detail string `json:"detail"`

	addresses []string // of its row
}
