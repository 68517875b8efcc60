package backendtest

import (
	"context"
	"sync"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// Memory is a backend whose kernel is a variable, for tests of what stands above backends. Its
// methods may be called from any goroutine.
type Memory struct {
	mu    sync.Mutex
	holds *firewall.State
	fails error
	slow  time.Duration
	count int
	looks int
}

var _ firewall.Backend = (*Memory)(nil)

type memoryView struct{ holds *firewall.State }

func (v memoryView) Present() bool                           { return v.holds != nil }
func (v memoryView) Foreign() string                         { return "" }
func (v memoryView) Notes() []string                         { return nil }
func (v memoryView) Traffic(string) (firewall.Traffic, bool) { return firewall.Traffic{}, true }

// Name implements firewall.Backend.
func (m *Memory) Name() string { return "memory" }

// Observe implements firewall.Backend.
func (m *Memory) Observe(context.Context) (firewall.Observation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looks++
	return memoryView{m.holds}, m.fails
}

// Looks is how often it was read.
func (m *Memory) Looks() int { m.mu.Lock(); defer m.mu.Unlock(); return m.looks }

// Diff implements firewall.Backend: everything is replaced by one change.
func (m *Memory) Diff(
	want *firewall.State,
	seen firewall.Observation,
	_ time.Time,
) (firewall.Plan, error) {
	have := seen.(memoryView).holds
	if want == have || want != nil && have != nil && want.Equal(*have) {
		return firewall.Plan{Backend: "memory"}, nil
	}
	return firewall.Plan{
		Backend: "memory",
		Program: want,
		Changes: []firewall.Change{
			{
				Action: firewall.Replace,
				Object: firewall.ObjectTable,
				Detail: "everything",
				Count:  1,
			},
		},
	}, nil
}

// Apply implements firewall.Backend.
func (m *Memory) Apply(_ context.Context, p firewall.Plan) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	time.Sleep(m.slow)
	m.holds = p.Program.(*firewall.State)
	m.count++
	return nil
}

// Set changes what the kernel holds, as another program would.
func (m *Memory) Set(s *firewall.State) { m.mu.Lock(); defer m.mu.Unlock(); m.holds = s }

// Held is what the kernel holds.
func (m *Memory) Held() *firewall.State { m.mu.Lock(); defer m.mu.Unlock(); return m.holds }

// Applies is how often something was written.
func (m *Memory) Applies() int { m.mu.Lock(); defer m.mu.Unlock(); return m.count }

// Fail makes reading fail from now on; nil ends that.
func (m *Memory) Fail(err error) { m.mu.Lock(); defer m.mu.Unlock(); m.fails = err }

// Slow is how long writing takes from now on.
func (m *Memory) Slow(d time.Duration) { m.mu.Lock(); defer m.mu.Unlock(); m.slow = d }
