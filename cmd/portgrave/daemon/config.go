package daemon

import (
	"context"
	"log/slog"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/denied"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/firewall/ipvs"
	"github.com/portgrave/portgrave/policy"
)

// Reports tells who was refused. firewall/denied is the real one.
type Reports interface {
	// SetServices tells the names of the services in force.
	SetServices(names []string)
	Stats() denied.Stats
}

// Config is what the daemon is connected to.
type Config struct {
	Reconciler *firewall.Reconciler
	Store      *history.Store
	// Commits is nil where nobody is told of changes.
	Commits Commits
	// Polled: there are changes that Commits does not tell of, so the kernel is looked at now and
	// then.
	Polled bool
	// Read reads and compiles the policy; p is set even if it could not be compiled, nil if it
	// could not be read.
	Read func(ctx context.Context, how ReadOptions) (
		p *policy.Policy, c *policy.Compiled, err error)
	// ReadText is Read for the text of a policy that was in force before (policy.ReadText); nil
	// where networks are not followed while another policy waits.
	ReadText func(ctx context.Context, text []byte, how ReadOptions) (
		p *policy.Policy, c *policy.Compiled, err error)
	// Compile compiles a policy that a client has read, as Read does, but offline: the warnings
	// include those about this host. An error may be one of reading files that the client can
	// read, so it is not for people. nil leaves compiling to clients.
	Compile func(ctx context.Context, q api.CompileRequest) (
		*policy.Policy, *policy.Compiled, error)
	// Memory is that of Read, ReadText and Compile; nil if they have none.
	Memory *policy.Memory
	// Local does what is asked for. It uses the same reconciler and state directory.
	Local *host.Local
	// Protect keeps others from changing the rules, or lets them again; nil where the backend
	// can't.
	Protect firewall.Protector
	// CannotPrint says why a program of this host can't print rules that are protected; "" if all
	// can.
	CannotPrint func() string
	// Folders are those whose files decide what Read says.
	Folders func(p *policy.Policy) []string
	// Audit tells what the host exposes, through everybody's rules; nil if nobody shall look. It is
	// called beside the loop.
	Audit func(ctx context.Context) (audit.Report, error)
	// Effect adds to a plan who gains and who loses access; nil if nobody shall look. It is called
	// beside the loop.
	Effect func(ctx context.Context, d *host.Difference)
	// Virtual lists the services of IPVS that the rules make an exception of (State.Virtual). If it
	// is nil, changes are not followed.
	Virtual ipvs.Reader
	// Reports is nil if refused packets are not reported.
	Reports Reports
	// Denials has these reports for those who ask; nil likewise.
	Denials *Denials
	// EventDir keeps the drift log; RunDir the control socket and the lock that keeps a second
	// daemon out.
	EventDir, RunDir string
	Version          string
	Log              *slog.Logger
}

// ReadOptions say how a policy is read. The functions are called from several goroutines.
type ReadOptions struct {
	// Offline: only what is on this host counts.
	Offline bool
	// Patience is how long to wait for who still writes a file.
	Patience time.Duration
	// Parsed hears of the policy before its networks are loaded.
	Parsed func(*policy.Policy)
	// Unfinished is policy.Files.Unfinished.
	Unfinished func(path string, again time.Time)
}
