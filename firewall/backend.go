package firewall

import (
	"context"
	"errors"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
)

// Backend translates between State and one kernel interface (nf_tables, or xtables with ipset).
//
// Goals: the kernel is read, never assumed; a plan holds exactly what differs; applying never
// shows a packet anything but the old verdict or the new one; a failure leaves the old rules.
//
// Observe reads every object of ours as the kernel holds it. Diff is pure. Apply sends a plan
// and may report success or failure wrongly (lost acknowledgements): its caller, Reconciler,
// reads back. A Backend is used by one goroutine at a time.
type Backend interface {
	// Name is "nftables" or "iptables".
	Name() string
	// Observe reads what the kernel holds of ours: consistent, or an error.
	Observe(ctx context.Context) (Observation, error)
	// Diff computes the plan that turns what was seen into want; want nil means that nothing of
	// ours shall be left. It does not touch the kernel. Sources that have expired at now are not
	// wanted.
	Diff(want *State, seen Observation, now time.Time) (Plan, error)
	// Apply sends the plan's program. ErrConflict means that another program changed the rules
	// since they were observed and nothing was applied.
	Apply(ctx context.Context, plan Plan) error
}

// Observation is the kernel's side, as a backend read it.
type Observation interface {
	// Present reports whether anything of our name is in the kernel.
	Present() bool
	// Foreign says, for people, what in the kernel bears our name but was not written by us,
	// such as a table; "" if nothing does.
	Foreign() string
	// Traffic is what was counted for a service, or for UnlistedTraffic; false if nothing counts
	// it.
	Traffic(service string) (Traffic, bool)
	// Notes say, for people, what else about the kernel's side an administrator should know.
	Notes() []string
}

// Protector is a Backend that can keep other programs from changing its rules.
type Protector interface {
	// Protect makes the rules this backend's alone (on) as far as the kernel can, or anybody's
	// again, and tells whether they are. It is cheap when nothing is to be done. ErrHandOver means
	// that the rules can't change as they stand.
	Protect(ctx context.Context, on bool) (Protection, error)
	// HandOver makes the rules anew, so that they are what Protect was asked for: want is the State
	// in force. At every moment packets meet its verdicts.
	HandOver(ctx context.Context, want State) error
}

// Protection tells whether other programs are kept from changing the rules.
type Protection struct {
	Protected bool `json:"protected"`
	// they shall be: the policy says so, or with auto the host can do with it
	Wanted bool   `json:"wanted"`
	Reason string `json:"reason"` // why not; "" if they are
}

// Counting is a Backend that reads its counters without reading everything else.
type Counting interface {
	// Counters returns what Observation.Traffic would, as of now.
	Counters(ctx context.Context) (traffic func(service string) (Traffic, bool), err error)
}

// Names to ask Observation.Traffic for what no service decides about. None is a valid service name.
const (
	UnlistedTraffic = "(unlisted)" // ports that no service lists
	// packets from outside with one of the host's own addresses as source
	SpoofedTraffic = "(spoofed)"
	DirectTraffic  = "(direct)" // packets to State.Direct that this host did not DNAT
)

// OtherTraffic lists those names.
var OtherTraffic = []string{UnlistedTraffic, SpoofedTraffic, DirectTraffic}

// Traffic is what the kernel counted for one service, by family.
type Traffic struct {
	Allowed map[address.Family]Counter
	Refused map[address.Family]Counter
}

// Counter is packets and bytes.
type Counter struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Sum adds up both families.
func Sum(byFamily map[address.Family]Counter) Counter {
	var sum Counter
	for _, c := range byFamily {
		sum.Packets += c.Packets
		sum.Bytes += c.Bytes
	}
	return sum
}

var (
	// ErrConflict: the rules changed between Observe and Apply; nothing was applied.
	ErrConflict = errors.New("another program changed the firewall at the same moment")
	// ErrPermission: the kernel wants CAP_NET_ADMIN.
	ErrPermission = errors.New("not allowed: this needs root or CAP_NET_ADMIN")
	// ErrUnsupported: this kernel lacks what the backend needs.
	ErrUnsupported = errors.New("the kernel does not support this backend")
	// ErrForeign: objects of our name exist that we did not write.
	ErrForeign = errors.New("not written by Portgrave")
	// ErrProtected: the rules are another process's alone, which is the daemon.
	ErrProtected = errors.New(
		"the rules belong to another process, which keeps others from changing them: to the portgrave " +
			"daemon, if it runs",
	)
	// ErrHandOver: the rules can't be protected, or opened to others, as they stand.
	ErrHandOver = errors.New("the rules have to be made anew for that")
	// ErrNotHeld: the kernel accepted the plan but does not hold what was written.
	ErrNotHeld = errors.New("the kernel does not hold what was written")
)
