// Package live reads the host that it runs on, for the evaluator: rules of nf_tables and legacy
// x_tables with their sets, interfaces and routes, and who listens.
//
// Each part has its reader in a package of its own; this one calls them all, in the network
// namespace of the calling thread, and puts together what refers to each other: ipsets that rules
// of either system look up. What can't be read is recorded in the parts (Ruleset.Missing,
// Snapshot.Unread), never left out.
//
// It changes nothing and loads no kernel module.
package live

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/hostview"
	"github.com/portgrave/portgrave/firewall/exposure/nftables"
	"github.com/portgrave/portgrave/firewall/exposure/sockets"
	"github.com/portgrave/portgrave/firewall/exposure/xtables"
	"github.com/portgrave/portgrave/firewall/ipvs"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Host is all that the evaluator and the audit want to know of the host.
type Host struct {
	Rules   *exposure.Ruleset
	Host    *exposure.Host
	Sockets sockets.Snapshot
	// IPVS are the services that take their packets before any socket does.
	IPVS []ipvs.Service
	// Enter reads the rules and the host of another of the namespaces in Sockets, by inode.
	Enter func(inode uint64) (*exposure.Ruleset, *exposure.Host, error)
}

// Read reads the host.
func Read(ctx context.Context) (Host, error) {
	runtime.LockOSThread() // one namespace for all parts, should threads be in several
	defer runtime.UnlockOSThread()
	host, err := hostview.Read(ctx)
	if err != nil {
		return Host{}, err
	}
	rules, err := Rules(ctx, host)
	if err != nil {
		return Host{}, err
	}
	listening, err := sockets.Read(ctx)
	if err != nil {
		return Host{}, fmt.Errorf("reading listening sockets: %w", err)
	}
	served, err := ipvs.Services()
	if err != nil {
		return Host{}, err
	}
	return Host{rules, host, listening, served, enter(ctx, listening)}, nil
}

// Rules reads the rules of a host whose interfaces are known. Without the right to read nf_tables
// it is firewall.ErrPermission: an answer in which nothing is certain would be of no use.
func Rules(ctx context.Context, host *exposure.Host) (*exposure.Ruleset, error) {
	rs := &exposure.Ruleset{}
	sets := xtables.LiveSets(ctx, run, time.Now())
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("reading nf_tables: %w", err)
	}
	defer func() { _ = conn.Close() }()
	indexes, err := netlink.Dial(unix.NETLINK_NETFILTER) // beside the dump under way
	if err != nil {
		return nil, fmt.Errorf("reading ipsets: %w", err)
	}
	defer func() { _ = indexes.Close() }()
	byIndex := func(index uint16) (*exposure.Set, string) {
		name, err := nftables.IPSetName(ctx, indexes, index)
		if err != nil {
			return nil, fmt.Sprintf("number %d", index)
		}
		return sets.Named(name), name
	}
	interfaceName := func(index uint64) string {
		if i := host.ByIndex(int(index)); i != nil {
			return i.Name
		}
		return ""
	}
	o := nftables.Options{IPSet: byIndex, Interface: interfaceName}
	if err := nftables.Read(ctx, conn, rs, o); err != nil {
		return nil, fmt.Errorf("reading nf_tables: %w", err)
	}
	if slices.ContainsFunc(
		rs.Missing,
		func(m exposure.Missing) bool { return m.What == "nf_tables" },
	) {
		return nil, firewall.ErrPermission
	}
	if err := xtables.ReadLegacy(ctx, os.DirFS("/proc"), run, sets, rs); err != nil {
		return nil, fmt.Errorf("reading legacy tables: %w", err)
	}
	readAccounts(rs, func() (map[string]bool, error) { return countingAccounts(ctx, conn) })
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	rs.MarkDynamic()
	return rs, nil
}

// run runs a program in the calling thread's namespace. The error holds what it complained of.
func run(ctx context.Context, name string, args ...string) ([]byte, error) {
	var out, complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &complaint
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	err := cmd.Run()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		err = fmt.Errorf("%s: %w", strings.TrimSpace(complaint.String()), err)
	}
	return out.Bytes(), err
}
