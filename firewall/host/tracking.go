package host

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/connections"
)

// tracking is the fill of the table of tracked connections, and why it can't be told; nil where
// nobody asks.
func (l *Local) tracking(ctx context.Context) (*connections.Tracking, []string) {
	if l.Tracking == nil {
		return nil, nil
	}
	t, err := l.Tracking(ctx)
	if err != nil {
		return nil, []string{err.Error()}
	}
	return &t, nil
}

// trackingBegins warns before the first rules on a host that tracks no connections: what they cost
// all its traffic, and not that of listed ports alone.
func (l *Local) trackingBegins(
	ctx context.Context,
	p firewall.Plan,
	seen firewall.Observation,
) []string {
	// through another backend
	ours := func(c firewall.Change) bool { return c.Action != firewall.Add }
	if p.InSync() || seen.Present() || slices.ContainsFunc(p.Changes, ours) {
		return nil
	}
	t, problems := l.tracking(ctx)
	if t == nil || !t.Idle() {
		return problems
	}
	room := ""
	if t.Limit > 0 {
		room = fmt.Sprintf(": %d at most (sysctl net.netfilter.nf_conntrack_max)", t.Limit)
	}
	return []string{
		"no connection is tracked on this host yet; applying this has the kernel track all of them, " +
			"unlisted ports included" + room + ", and a packet that would begin one more is dropped; " +
			"raise the limit if the host has that many connections at once",
	}
}

// repliesUnknown warns of rules that keep packets out of connection tracking, where replies need
// it.
func (l *Local) repliesUnknown(ctx context.Context, want firewall.State) []string {
	if l.Untracked == nil || want.Unlisted != firewall.UnlistedDeny {
		return nil
	}
	rules, err := l.Untracked(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	if len(rules) == 0 {
		return nil
	}
	return []string{
		fmt.Sprintf(
			"another program's rules keep packets out of connection tracking (notrack): %s; "+
				"replies to what this host begins can't be told from other packets there, and "+
				"unlisted: deny refuses them: take the rules away, or list the ports that the "+
				"replies come to",
			strings.Join(rules, "; "),
		),
	}
}

// Untracked names the rules on this host that end connection tracking.
func Untracked(ctx context.Context) ([]string, error) {
	return connections.Untracked(
		ctx,
		func(ctx context.Context, name string, args ...string) ([]byte, error) {
			out, err := exec.CommandContext(ctx, name, args...).Output()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			return out, nil
		},
	)
}
