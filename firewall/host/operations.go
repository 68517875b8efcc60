package host

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/connections"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/firewall/host/lease"
	"github.com/portgrave/portgrave/firewall/policydiff"
)

// Operations are the verbs. Their errors are those of this package, those of firewall, those of who
// reads the policy, or failures.
type Operations interface {
	// Firewall is what is in force and what passed through it.
	Firewall(context.Context, FirewallRequest) (Firewall, error)
	// Drift is what others changed since the last generation.
	Drift(context.Context, FirewallRequest) (Difference, error)
	// Plan compares a policy with the kernel, or generations with each other.
	Plan(context.Context, PlanRequest) (Difference, error)
	History(context.Context) (History, error)
	Leases(context.Context) (Leases, error)

	Apply(context.Context, ApplyRequest) (Applied, error)
	Confirm(context.Context, ConfirmRequest) (Confirmed, error)
	Rollback(context.Context, RollbackRequest) (Applied, error)
	Teardown(context.Context, TeardownRequest) (TornDown, error)
	Open(context.Context, OpenRequest) (Opened, error)
	Close(context.Context, CloseRequest) (Closed, error)
	// TakeBack returns to the last confirmed generation if the one in force should have been
	// confirmed by now.
	TakeBack(context.Context) (TakenBack, error)
}

// Caller is who asks, as far as it concerns the history and his own session.
type Caller struct {
	User string `json:"user,omitempty"`
	From string `json:"from,omitempty"` // the address of his SSH client
	// Session is the connection that he works through; null if there is none.
	Session *Session `json:"session,omitempty"`
}

// Who is the caller of the request that embeds it.
func (c *Caller) Who() *Caller { return c }

// Session is an SSH connection that must not be cut by accident.
type Session struct {
	Client    netip.AddrPort `json:"client"`
	Server    netip.AddrPort `json:"server"`
	Interface string         `json:"interface,omitempty"`
}

// Policy is a policy as its reader compiled it.
type Policy struct {
	Origin string         `json:"origin"`
	State  firewall.State `json:"state,omitzero"`
	// Text is what it was compiled from, as policy.ReadText reads it, so that its networks can be
	// followed; none: they aren't.
	Text []byte `json:"text,omitempty"`
	// Lists has a digest of what each network held that was loaded from elsewhere, by name.
	Lists map[string]string `json:"lists,omitempty"`
	// FailedTests are those of its own that it fails, in the form of policy.TestResult. They are
	// counted and passed on; nothing here looks into them.
	FailedTests []json.RawMessage `json:"failed_tests,omitempty"`
	// Written is how the policy writes its services, as far as its reader is in this process.
	Written *policydiff.Written `json:"-"`
	// Ref names a policy that the daemon has compiled (api.CompiledPolicy), in place of all else.
	Ref string `json:"ref,omitempty"`
}

// Requests. Backend is "auto", "nftables" or "iptables"; "" means auto.
type (
	FirewallRequest struct {
		Backend string `json:"backend,omitempty"`
	}
	PlanRequest struct {
		Backend string `json:"backend,omitempty"`
		// From and To are generations, 0 a host without rules. Without From it is the live kernel,
		// without To the policy.
		From   *int    `json:"from,omitempty"`
		To     *int    `json:"to,omitempty"`
		Policy *Policy `json:"policy,omitempty"` // null at the daemon: its own
		// All lists the sources of long lists, too, up to a bound.
		All bool `json:"all,omitempty"`
		// Fingerprint asks for Difference.Fingerprint, which takes time with a million sources.
		Fingerprint bool `json:"fingerprint,omitempty"`
		// Effect asks for Difference.Effect.
		Effect bool `json:"effect,omitempty"`
	}
	ApplyRequest struct {
		Caller
		// DryRun tells what would be done, and does nothing.
		DryRun  bool   `json:"dry_run,omitempty"`
		Backend string `json:"backend,omitempty"`
		Reason  string `json:"reason,omitempty"`
		Force   bool   `json:"force,omitempty"`
		// "60s": taken back after that unless it is confirmed; "": for good
		Confirm string  `json:"confirm,omitempty"`
		Policy  *Policy `json:"policy,omitempty"` // null at the daemon: its own
		// Expect is the plan that is carried out, or nothing is.
		Expect *Fingerprint `json:"expect,omitempty"`
		// HostChanged: nobody has asked for it, the host's services of IPVS have changed.
		HostChanged bool `json:"-"`
		// SetAside is what stays set aside of the generation before; a person's apply takes all.
		SetAside map[string]string `json:"-"`
		// LeftPolicy likewise; see history.Record.
		LeftPolicy string `json:"-"`
	}
	ConfirmRequest struct {
		Caller
		// DryRun tells what would be done, and does nothing.
		DryRun bool `json:"dry_run,omitempty"`
	}
	RollbackRequest struct {
		Caller
		// DryRun tells what would be done, and does nothing.
		DryRun  bool   `json:"dry_run,omitempty"`
		Backend string `json:"backend,omitempty"`
		// 0: the last one that enforced something else
		Generation int    `json:"generation,omitempty"`
		Reason     string `json:"reason,omitempty"`
		Force      bool   `json:"force,omitempty"`
	}
	TeardownRequest struct {
		Caller
		// DryRun tells what would be done, and does nothing.
		DryRun  bool   `json:"dry_run,omitempty"`
		Backend string `json:"backend,omitempty"`
		Force   bool   `json:"force,omitempty"`
	}
	OpenRequest struct {
		Caller
		// DryRun tells what would be done, and does nothing.
		DryRun  bool     `json:"dry_run,omitempty"`
		Backend string   `json:"backend,omitempty"`
		Port    string   `json:"port"` // "9090", "udp/53", "8000-8010"
		Sources []string `json:"sources"`
		For     string   `json:"for"` // "2h", "1d"
		Reason  string   `json:"reason,omitempty"`
		Force   bool     `json:"force,omitempty"`
	}
	CloseRequest struct {
		Caller
		// DryRun tells what would be done, and does nothing.
		DryRun  bool   `json:"dry_run,omitempty"`
		Backend string `json:"backend,omitempty"`
		Lease   string `json:"lease"` // its ID, or a port
		Reason  string `json:"reason,omitempty"`
		Force   bool   `json:"force,omitempty"`
	}
)

// Difference is the result of plan and drift. Its JSON is a contract.
type Difference struct {
	InSync  bool   `json:"in_sync"`
	Backend string `json:"backend"`
	// Services are what changes for whom: for plan between the policy in force and the other one,
	// for drift between the kernel and what was applied.
	Services []policydiff.Change `json:"services"`
	// Restores is what a plan undoes of what others changed in the kernel, whatever the policy
	// says.
	Restores []policydiff.Change `json:"restores,omitempty"`
	// Unknown says why Services can't be told; "" if they can.
	Unknown  string            `json:"unknown,omitempty"`
	Changes  []firewall.Change `json:"changes"`
	Author   *firewall.Author  `json:"author"`
	Warnings []string          `json:"warnings,omitempty"`
	// Fingerprint identifies the plan, if that was asked for.
	Fingerprint *Fingerprint `json:"fingerprint,omitempty"`
	// Applied is false if nothing was ever applied, or all was torn down.
	Applied bool `json:"applied"`
	// Leases that run and are part of what was compared: what they open is in no policy.
	Leases []lease.Lease `json:"leases,omitempty"`
	// Effect is who gains and who loses access to what listens or is published, through everybody's
	// rules; nil if nobody asked, or the host can't be read.
	Effect *[]Effect `json:"effect,omitempty"`
	// EffectUnknown says why Effect can't be told, or not all of it; "" if it can.
	EffectUnknown string `json:"effect_unknown,omitempty"`
	// Wanted is what Effect is computed from, for who does (package effect); nil if nobody asked,
	// or nothing changes.
	Wanted *Wanted `json:"-"`
}

// Count is how many objects differ.
func (d Difference) Count() int { return firewall.Plan{Changes: d.Changes}.Count() }

// Applied is the result of apply and rollback.
type Applied struct {
	Changed    bool       `json:"changed"`
	Generation int        `json:"generation"`
	ConfirmBy  *time.Time `json:"confirm_by"` // null: in force for good
	Backend    string     `json:"backend"`
	// Services, Restores, Unknown and Author are as in Difference.
	Services []policydiff.Change `json:"services"`
	Restores []policydiff.Change `json:"restores,omitempty"`
	Unknown  string              `json:"unknown,omitempty"`
	Author   *firewall.Author    `json:"author,omitempty"`
	Changes  []firewall.Change   `json:"changes"`
	Cut      []Cut               `json:"cut"`
	Warnings []string            `json:"warnings"`
	// DryRun: nothing was done; Generation is the one in force.
	DryRun bool `json:"dry_run,omitempty"`
}

// Cut is a running connection that was ended.
type Cut struct {
	Protocol string         `json:"protocol"`
	Client   netip.AddrPort `json:"client"`
	Dialled  netip.AddrPort `json:"dialled"`
}

// Confirmed is the result of confirm.
type Confirmed struct {
	Generation int  `json:"generation"`
	Changed    bool `json:"changed"` // false: it was in force for good before
	DryRun     bool `json:"dry_run,omitempty"`
}

// TornDown is the result of teardown.
type TornDown struct {
	Changed bool              `json:"changed"`
	Changes []firewall.Change `json:"changes"`
	DryRun  bool              `json:"dry_run,omitempty"`
}

// Opened is the result of open.
type Opened struct {
	Lease      lease.Lease `json:"lease"`
	Generation int         `json:"generation"`
	Changed    bool        `json:"changed"` // false: all of it was allowed as long already
	Warnings   []string    `json:"warnings,omitempty"`
	DryRun     bool        `json:"dry_run,omitempty"` // then the lease has no ID
}

// Closed is the result of close.
type Closed struct {
	Closed []lease.Lease `json:"closed"`
	// Staying are leases that open one of these ports, and others.
	Staying    []lease.Lease `json:"staying,omitempty"`
	Generation int           `json:"generation"`
	Cut        []Cut         `json:"cut,omitempty"`
	Warnings   []string      `json:"warnings,omitempty"`
	DryRun     bool          `json:"dry_run,omitempty"`
}

// TakenBack is the result of TakeBack.
type TakenBack struct {
	Done bool `json:"done"` // false: there was nothing to take back
}

// Leases is the result of leases: those that are not over, and why others can't be read.
type Leases struct {
	Leases []lease.Lease `json:"leases"`
	Error  string        `json:"error,omitempty"`
}

// History is the result of history, the newest generation first.
type History struct {
	Generations []Entry `json:"generations"`
	Error       string  `json:"error,omitempty"` // what could not be read
}

// Entry is a generation without its State.
type Entry struct {
	Generation int       `json:"generation"`
	Time       time.Time `json:"time"`
	User       string    `json:"user"`
	From       string    `json:"from"`
	Reason     string    `json:"reason"`
	Backend    string    `json:"backend"`
	Origin     string    `json:"origin"`
	Summary    string    `json:"summary"`
	Confirmed  bool      `json:"confirmed"`
	// when an unconfirmed one is, or was, taken back
	ConfirmBy time.Time `json:"confirm_by,omitzero"`
	TornDown  bool      `json:"torn_down"`
	Services  int       `json:"services"`
}

func entryOf(g history.Record) Entry {
	return Entry{
		g.Number,
		g.Time,
		g.User,
		g.From,
		g.Reason,
		g.Backend,
		g.Origin,
		g.Summary,
		g.Confirmed,
		g.ConfirmBy,
		g.TornDown,
		g.Services,
	}
}

// Firewall is what status shows of the kernel's side.
type Firewall struct {
	Backend      string   `json:"backend"`
	BackendNotes []string `json:"backend_notes"` // what else to know of it, for people
	Present      bool     `json:"present"`       // our rules are in the kernel
	Generation   *Entry   `json:"generation"`    // in force; null: none
	// TornDown is what removed the rules: nothing is enforced until the next apply, at boot
	// neither; null if nothing did.
	TornDown *Entry `json:"torn_down"`
	// SetAside are lists whose content was taken back by a rollback or a trial's end, and is not
	// followed until it changes, by name.
	SetAside []string `json:"set_aside"`
	// Drift is not in sync, with no changes, if the history is damaged and can't tell.
	Drift         DriftCount        `json:"drift"`
	Unlisted      firewall.Unlisted `json:"unlisted"`
	Services      []Service         `json:"services"`
	UnlistedPorts *Traffic          `json:"unlisted_ports"` // refused there, under unlisted: deny
	// Spoofed is what was refused because it came from outside with one of the host's own
	// addresses.
	Spoofed *Traffic `json:"spoofed"`
	// DirectWays is what was refused on its way to the interfaces of direct.
	DirectWays *Traffic `json:"direct"`
	// FullTables are tables of rates, and of the log, that have no room for another source.
	FullTables []FullTable   `json:"full_tables"`
	Leases     []lease.Lease `json:"leases"`
	// Tracking is the fill of the table of tracked connections; null if it can't be told.
	Tracking *connections.Tracking `json:"tracking"`
	// PolicyDigest is Digest of the policy in force, without leases.
	PolicyDigest string `json:"policy_digest"`
	// PolicyText names the text of that policy (history.PolicyName); "" if it is unknown.
	PolicyText string   `json:"policy_text"`
	Warnings   []string `json:"warnings,omitempty"`
}

// FullTable is one table that is full.
type FullTable struct {
	firewall.TableFill
	Family string `json:"family"`
}

// String tells what is so, and what follows.
func (t FullTable) String() string {
	if t.Service == "" {
		return fmt.Sprintf(
			"the log of refused packets remembers %d %s sources and no more: others are refused unreported",
			t.Room,
			t.Family,
		)
	}
	return fmt.Sprintf(
		"the rate of service %s remembers %d %s sources and no more: new ones are refused until some "+
			"are forgotten",
		t.Service,
		t.Room,
		t.Family,
	)
}

// DriftCount is drift in short.
type DriftCount struct {
	InSync  bool `json:"in_sync"`
	Changes int  `json:"changes"`
}

// Service is one service in force.
type Service struct {
	Name string `json:"name"`
	// Policy is the name again, or "" if the policy has no such service: then it is what a lease
	// opens on ports that no service lists.
	Policy     string   `json:"policy_service"`
	Ports      []string `json:"ports"`
	Interfaces []string `json:"interfaces"`
	Addresses  []string `json:"addresses"`
	Sources    int      `json:"sources"`
	Expiring   int      `json:"expiring"`
	Traffic
	Named
}

// Traffic is what was counted, in packets: "total", "ipv4", "ipv6".
type Traffic struct {
	Allowed map[string]firewall.Counter `json:"allowed"`
	Refused map[string]firewall.Counter `json:"refused"`
}

func trafficOf(t firewall.Traffic) Traffic {
	words := func(byFamily map[address.Family]firewall.Counter) map[string]firewall.Counter {
		out := map[string]firewall.Counter{"total": firewall.Sum(byFamily)}
		for _, f := range address.Families {
			out[f.String()] = byFamily[f]
		}
		return out
	}
	return Traffic{words(t.Allowed), words(t.Refused)}
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
