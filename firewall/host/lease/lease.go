package lease

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// Lease is one opening: some ports, to some sources, for some time.
type Lease struct {
	// ID is short, for people to say and type; it stays the same for the lease's life. Store.Add
	// gives it.
	ID string
	// Ports, ordered and merged.
	Ports   []firewall.PortRange
	Sources address.Set
	// Opened and Until are whole seconds, UTC. Until is the first moment at which the lease no
	// longer runs.
	Opened, Until time.Time
	// User opened it, From the address of an SSH client ("" if there was none), for Reason.
	User, From, Reason string
	// Unlisted: it also opens those of its ports that no service lists, because that was forced.
	Unlisted bool
}

// Bounds on one lease, far above what anybody types and low enough that no file is large.
const (
	maxRanges  = 100
	maxSources = 1000
	maxText    = 500 // bytes of User, From, Reason
)

// slack is how far the wall clock may be off without consequences: time servers step it by
// fractions of a second, and nothing must change for that.
const slack = time.Minute

// Running reports whether the lease opens anything at a moment. It waits while the clock is before
// its opening (but for slack): then the clock is wrong, and it can't be told how much of the lease
// is over.
func (l Lease) Running(now time.Time) bool {
	return now.Before(l.Until) && !now.Before(l.Opened.Add(-slack))
}

// Ended reports whether the lease is over for good.
func (l Lease) Ended(now time.Time) bool { return !now.Before(l.Until) }

// Opens is what it opens, in a few words: "tcp/9090 to 203.0.113.7".
func (l Lease) Opens() string {
	var sources []string
	for p := range l.Sources.All() {
		sources = append(sources, Source(p))
	}
	return strings.Join(l.portNames(), ", ") + " to " + strings.Join(sources, ", ")
}

// Length is for how long it was granted.
func (l Lease) Length() time.Duration { return l.Until.Sub(l.Opened) }

// check tells what no lease may be, however it came about: what Apply and the Store rely on.
func (l Lease) check() error {
	var errs []error
	if _, err := mergePorts(l.Ports); err != nil {
		errs = append(errs, err)
	}
	if len(l.Ports) > maxRanges {
		errs = append(
			errs,
			fmt.Errorf("%d ranges of ports: a lease has at most %d", len(l.Ports), maxRanges),
		)
	}
	if n := l.Sources.Len(); n == 0 || n > maxSources {
		errs = append(errs, fmt.Errorf("%d sources: a lease has from 1 to %d", n, maxSources))
	}
	if !l.Until.After(l.Opened) {
		errs = append(errs, errors.New("it ends before it was opened"))
	}
	// From the kernel's first second to the last that RFC 3339 can write.
	if l.Opened.Unix() < 0 || l.Until.UTC().Year() > 9999 {
		errs = append(
			errs,
			fmt.Errorf("from %s until %s is not a time for a lease", l.Opened.UTC(), l.Until.UTC()),
		)
	}
	for _, t := range []struct{ name, text string }{
		{"user", l.User}, {"from", l.From}, {"reason", l.Reason},
	} {
		if err := checkText(t.text); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t.name, err))
		}
	}
	return errors.Join(errs...)
}

// checkText bounds what is recorded, and keeps out what would do harm where it is shown.
func checkText(s string) error {
	if len(s) > maxText {
		return fmt.Errorf("it has %d bytes; write at most %d", len(s), maxText)
	}
	return firewall.CheckRemark(s)
}

// mergePorts is the canonical form of ports, as State.Canonical makes it, so that its rules stand
// in one place only.
func mergePorts(ports []firewall.PortRange) ([]firewall.PortRange, error) {
	s, err := firewall.State{
		Unlisted:    firewall.UnlistedIgnore,
		Refuse:      firewall.RefuseDrop,
		Established: firewall.EstablishedCut,
		Services: []firewall.Service{
			{Name: "lease", Ports: ports, Log: firewall.LogNone},
		},
	}.Canonical()
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), `service "lease": `))
	}
	return s.Services[0].Ports, nil
}

// wire is the JSON of a Lease: a contract, and part of the format on disk.
type wire struct {
	ID       string      `json:"id"`
	Ports    []string    `json:"ports"` // "tcp/9090", "udp/5000-5010"
	Sources  address.Set `json:"sources"`
	Opened   time.Time   `json:"opened"`
	Until    time.Time   `json:"until"`
	User     string      `json:"user"`
	From     string      `json:"from"`
	Reason   string      `json:"reason"`
	Unlisted bool        `json:"unlisted"`
}

func (l Lease) wire() wire {
	return wire{
		l.ID,
		l.portNames(),
		l.Sources,
		l.Opened,
		l.Until,
		l.User,
		l.From,
		l.Reason,
		l.Unlisted,
	}
}

func (l Lease) portNames() []string {
	names := make([]string, len(l.Ports))
	for i, r := range l.Ports {
		names[i] = r.String()
	}
	return names
}

// lease reads the JSON form back, and refuses what is no lease.
func (w wire) lease() (Lease, error) {
	l := Lease{
		w.ID,
		nil,
		w.Sources,
		w.Opened.UTC(),
		w.Until.UTC(),
		w.User,
		w.From,
		w.Reason,
		w.Unlisted,
	}
	for _, p := range w.Ports {
		ranges, err := ParsePorts(p)
		if err != nil {
			return Lease{}, err
		}
		l.Ports = append(l.Ports, ranges...)
	}
	err := l.check()
	if err == nil {
		l.Ports, err = mergePorts(l.Ports)
	}
	if err != nil {
		return Lease{}, err
	}
	return l, nil
}

// MarshalJSON writes ports as "tcp/9090", CIDRs as strings and times in RFC 3339.
func (l Lease) MarshalJSON() ([]byte, error) { return json.Marshal(l.wire()) }

// UnmarshalJSON reads what MarshalJSON writes.
func (l *Lease) UnmarshalJSON(b []byte) error {
	var w wire
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	read, err := w.lease()
	if err != nil {
		return err
	}
	*l = read
	return nil
}
