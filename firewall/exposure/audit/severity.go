package audit

import (
	"math"
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
)

// Severity is how much a finding matters.
type Severity string

// The severities, the gravest first.
const (
	Critical Severity = "critical" // reachable against the policy
	Warning  Severity = "warning"  // a service or a promise of the policy fails, or nobody can tell
	Note     Severity = "note"     // nobody gets in who shouldn't
)

// Severities returns them, the gravest first.
func Severities() []Severity { return []Severity{Critical, Warning, Note} }

// AtLeast reports whether a severity is as grave as another one. "" is less than all.
func (s Severity) AtLeast(other Severity) bool {
	i := slices.Index(Severities(), s)
	return i >= 0 && i <= slices.Index(Severities(), other)
}

// severityOf is how much a finding about some sources matters. certain: they get in for sure, or
// but for a rate.
func severityOf(k Kind, concerned address.Set, certain bool) Severity {
	switch k {
	case Bypass, WiderThanPolicy:
		if certain {
			return Critical
		}
		return Warning
	case Undeclared:
		if certain && IsEveryone(concerned) {
			return Critical
		}
		return Warning
	case BlockedElsewhere, NoTLS, Unhealthy, Undecided:
		return Warning
	case OK:
		return ""
	}
	return Note
}

// KindText says of a finding when it is which severity, for the manual.
func KindText(k Kind) (severity, text string) {
	t := kindTexts[k]
	return t[0], t[1]
}

var kindTexts = map[Kind][2]string{
	Bypass: {"critical", "a published port that a host firewall takes for closed, or a published " +
		"target that can be reached by its own address; a warning if that depends on what can't be " +
		"decided in advance"},
	WiderThanPolicy: {"critical", "sources get in that the policy doesn't allow; a warning if that " +
		"depends on what can't be decided in advance"},
	Undeclared: {"critical", "reachable beyond loopback from everywhere, or half of it, and no " +
		"service lists it; a warning if fewer get in, or if that can't be decided"},
	BlockedElsewhere: {"warning", "the policy opens it, and another program's rule, or the lack of a " +
		"route, stops sources that it allows"},
	NoTLS:        {"warning", "the policy requires TLS, and the service answers without"},
	Unhealthy:    {"warning", "the health check that the policy names fails"},
	Undecided:    {"warning", "who gets in depends on what can't be decided in advance"},
	RateLimited:  {"note", "another program's rule limits how often sources get in"},
	NotListening: {"note", "the policy opens it, and nobody listens"},
	BoundInside:  {"note", "published, but the program in the container listens elsewhere"},
	Expired:      {"note", "an entry of the policy has ended"},
	Expiring:     {"note", "an entry of the policy ends within a week"},
	BoundWider:   {"note", "bound to more addresses than the policy needs"},
}

// unicastV6 has all IPv6 addresses that the internet uses (RFC 4291 §2.4).
var unicastV6 = address.Must("2000::/3")

// IsEveryone reports whether a set has at least half of all IPv4 addresses, or of the IPv6
// addresses in use, so that a few exceptions don't hide that the rest of the world gets in.
func IsEveryone(s address.Set) bool {
	var v4, v6 float64 // the shares
	for p := range s.Family(address.IPv4) {
		v4 += math.Ldexp(1, -p.Bits())
	}
	for p := range s.Intersect(unicastV6).Family(address.IPv6) {
		v6 += math.Ldexp(1, 3-p.Bits())
	}
	return v4 >= .5 || v6 >= .5
}
