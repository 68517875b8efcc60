package daemon

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/policy"
	"golang.org/x/sys/unix"
)

// Status is what the daemon says of itself. Its JSON is GET /v1/status.
type Status struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Backend string    `json:"backend"`
	// the kernel tells of every change; else it is polled besides
	Watching bool `json:"watching"`
	// NetworkNamespace is the inode of the one that the daemon keeps.
	NetworkNamespace uint64 `json:"network_namespace"`
	// Protection tells whether other programs are kept from changing the rules.
	Protection firewall.Protection `json:"protection"`
	Generation int                 `json:"generation"`  // in force; 0: none
	EnforcedAt time.Time           `json:"enforced_at"` // when the kernel was last seen to hold it
	// of the last attempt to enforce; "" if it succeeded
	Error string `json:"error"`
	// StateError is what keeps the state directory from being used; repairs go on from memory. ""
	// if nothing does.
	StateError string `json:"state_error"`
	// Reduced: a small table stands for the generation, which lets in sources of short lists and
	// running SSH sessions alone; the full lists follow.
	Reduced bool `json:"reduced"`
	// Fight is the last one; null if there was none.
	Fight *Fight `json:"fight"`
	// RulesMissing is for how many seconds rules were missing since the daemon started.
	RulesMissing float64 `json:"rules_missing_seconds"`
	Policy       struct {
		Origin string    `json:"origin"`
		ReadAt time.Time `json:"read_at"`
		// why the policy as it is now can't be put in force; "" if it is, or waits
		Error string `json:"error"`
		// Waits: it was edited, or lists were rolled back, and it waits for somebody to apply it.
		Waits  bool     `json:"waits"`
		Follow string   `json:"follow"` // what is put in force by itself: see policy.DaemonConfig
		Stale  []string `json:"stale_networks"`
		// StaleNetworks are the same, with the reasons.
		StaleNetworks []policy.StaleNetwork `json:"stale"`
	} `json:"policy"`
	// Metrics tells where they are served besides the control socket: "" is nowhere.
	Metrics struct {
		Address string `json:"address"`
		Error   string `json:"error"`
	} `json:"metrics"`
	Events map[string]uint64 `json:"events"` // how many of each kind
}

// status is shared by the loop, which writes it, and the clients of the control socket.
type status struct {
	mu sync.Mutex
	s  Status

	expiring   int // sources that end by themselves
	nextExpiry time.Time
	errors     uint64

	running  int // leases
	leaseEnd time.Time
}

func newStatus(c Config) *status {
	return &status{
		s: Status{
			Version:          c.Version,
			PID:              os.Getpid(),
			Started:          time.Now().UTC(),
			Backend:          c.Reconciler.Backend.Name(),
			Watching:         !c.Polled,
			NetworkNamespace: NetworkNamespace(),
		},
	}
}

func (s *status) enforced(at time.Time, g *history.Generation, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.Error = ""
	if err != nil {
		s.s.Error = err.Error()
		s.errors++
		return
	}
	s.s.EnforcedAt, s.s.Generation = at.UTC(), 0
	s.expiring, s.nextExpiry = 0, time.Time{}
	if g == nil {
		return
	}
	s.s.Generation = g.Number
	for _, svc := range g.InForce().Services {
		for _, e := range svc.AllExpiring() {
			if e.Until.After(at) {
				s.expiring++
				if s.nextExpiry.IsZero() || e.Until.Before(s.nextExpiry) {
					s.nextExpiry = e.Until
				}
			}
		}
	}
}

// followed tells whether the policy as it is now waits, and what is followed meanwhile.
func (s *status) followed(waits bool, mode string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.Policy.Waits, s.s.Policy.Follow = waits, mode
}

func (s *status) policyRead(at time.Time, p *policy.Policy, c *policy.Compiled, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.Policy.ReadAt, s.s.Policy.Error = at.UTC(), ""
	if err != nil {
		s.s.Policy.Error = err.Error()
	}
	if p != nil {
		s.s.Policy.Origin = p.Origin
	}
	s.s.Policy.Stale, s.s.Policy.StaleNetworks = []string{}, nil
	if c != nil {
		s.s.Policy.StaleNetworks = c.Stale
		for _, n := range c.Stale {
			s.s.Policy.Stale = append(s.s.Policy.Stale, n.Name)
		}
	}
}

// disk tells what keeps the state directory from being used, and returns what did before.
func (s *status) disk(err string) (before string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, s.s.StateError = s.s.StateError, err
	return before
}

func (s *status) reduced(is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.Reduced = is
}

func (s *status) fight(f Fight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.Fight = &f
}

func (s *status) missing(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.RulesMissing += d.Seconds()
}

func (s *status) protection(p firewall.Protection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.Protection = p
}

func (s *status) metrics(address string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s.Metrics.Address, s.s.Metrics.Error = address, ""
	if err != nil {
		s.s.Metrics.Error = err.Error()
	}
}

func (s *status) setLeases(running int, end time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.leaseEnd = running, end
}

func (s *status) leases() (running int, end time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running, s.leaseEnd
}

// NetworkNamespace is the inode of the calling thread's network namespace; 0 if that can't be told.
func NetworkNamespace() uint64 {
	var s unix.Stat_t
	if unix.Stat("/proc/thread-self/ns/net", &s) != nil {
		return 0
	}
	return s.Ino
}

// numbers are what only metrics show.
func (s *status) numbers() (errors uint64, expiring int, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.errors, s.expiring, s.nextExpiry
}

func (s *status) get() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.s
}

// line is the status in systemctl status.
func (s *status) line() string {
	x := s.get()
	switch {
	case x.Error != "":
		return "The rules can't be enforced: " + x.Error
	case x.Policy.Error != "":
		return fmt.Sprintf(
			"Generation %d is in force; the policy as it is now can't be used.",
			x.Generation,
		)
	case x.Generation == 0:
		return "Nothing is in force until portgrave apply."
	case x.Policy.Waits:
		return fmt.Sprintf(
			"Generation %d is in force; the policy as it is now waits.",
			x.Generation,
		)
	}
	return fmt.Sprintf("Generation %d is in force.", x.Generation)
}
