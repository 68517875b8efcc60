package xt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/iptsave"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// kernel is what the backend needs of the host. The real one runs programs; tests put one before it
// that fails where they want.
type kernel interface {
	// host says what there is to enforce with. The variant is the one that the host's own commands
	// speak.
	host(ctx context.Context) (host, error)
	// read returns everything of ours, in both variants.
	read(ctx context.Context) (*ruleset, error)
	// run takes one step. An error does not prove that nothing was done.
	run(ctx context.Context, s step) error
	// fill counts the sources in tables of rates and of the log.
	fill(ctx context.Context, services []string) ([]firewall.TableFill, error)
}

// procNet is what the kernel says of the calling thread's network namespace.
const procNet = "/proc/thread-self/net"

// defaultLockWait is how long iptables waits while another program holds the xtables lock, in
// seconds.
const defaultLockWait = 20

// programs is the kernel as the host's programs show it.
type programs struct {
	commands map[program]commands
	ipset    string // path, "" if there is none
	variant  variant
	families []address.Family
	now      func() time.Time
	lockWait int      // in seconds
	vrfs     []string // as they were seen last
	vrfsSeen bool
}

func (p *programs) host(ctx context.Context) (host, error) {
	switch seen, err := vrfs(ctx); {
	case err == nil:
		p.vrfs, p.vrfsSeen = seen, true
	case !p.vrfsSeen:
		return host{}, err
	} // else a repair must not fail for want of what hardly ever changes
	return host{variant: p.variant, ipset: p.ipset != "", families: p.families, vrfs: p.vrfs,
		has: map[variant]bool{legacy: p.complete(legacy), nfVariant: p.complete(nfVariant)}}, nil
}

// read implements kernel.
func (p *programs) read(ctx context.Context) (*ruleset, error) {
	r := newRuleset()
	r.readAt = p.now()
	for _, f := range p.families {
		for _, v := range []variant{nfVariant, legacy} {
			c, there := p.commands[program{v, f}]
			if !there {
				continue
			}
			if v == legacy {
				// Asking the legacy program loads the kernel's modules: only look where they are at
				// work.
				loaded, err := legacyTables(f)
				if err != nil {
					return nil, err
				}
				if len(loaded) == 0 {
					continue
				}
			}
			out, err := p.saved(ctx, v, c.save)
			if err != nil && v == nfVariant && noKernelSupport(err) && p.variant == legacy {
				continue
			}
			if err == nil {
				err = readSave(r, program{v, f}, out)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return r, p.readSets(ctx, r)
}

// savedAttempts bounds how often rules are read again because others write: a run of the program
// takes some milliseconds, in which a busy writer commits more often than not.
const savedAttempts = 50

// saved is what a program prints of all tables. The nft variant asks for one kind of objects after
// the other and makes sure that nf_tables counts no transaction meanwhile, which is not enough
// (netlink.OneGeneration); so the generation is settled around it. The legacy kernel hands out a
// table as a whole.
func (p *programs) saved(ctx context.Context, v variant, path string) ([]byte, error) {
	if v == legacy {
		return p.output(ctx, path, "--counters")
	}
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return p.output(ctx, path, "--counters") // which says better what is missing
	}
	defer func() { _ = conn.Close() }()
	rules := conn.Ruleset(ctx)
	if _, err := rules.Generation(); err != nil {
		return p.output(ctx, path, "--counters")
	}
	var out []byte
	_, err = netlink.OneGeneration(rules, savedAttempts, func(uint32) (err error) {
		out, err = p.output(ctx, path, "--counters")
		return err
	})
	return out, err
}

// legacyTables lists the tables that ip_tables or ip6_tables hold in this namespace.
func legacyTables(f address.Family) ([]string, error) {
	tables, err := iptsave.LegacyTables(os.DirFS("/proc"), f)
	if errors.Is(err, os.ErrPermission) {
		err = fmt.Errorf("%w (%w)", firewall.ErrPermission, err)
	}
	return tables, err
}

// readSets reads those ipsets that bear our names. Where nobody can have made one the kernel isn't
// asked, since that would load its modules.
func (p *programs) readSets(ctx context.Context, r *ruleset) error {
	if p.ipset == "" {
		for name := range r.lookUps() {
			return fmt.Errorf(
				"rules of ours look up ipset %s, but there is no ipset program to read "+
					"it with: install the package ipset",
				name,
			)
		}
		return nil
	}
	return readSets(ctx, r, p.now)
}

// run implements kernel.
func (p *programs) run(ctx context.Context, s step) error {
	if s.program == nil {
		if p.ipset == "" {
			return errNoIpset
		}
		if len(s.input) > 0 {
			if _, err := p.exec(ctx, s.input, p.ipset, "restore", "-exist"); err != nil {
				return err
			}
		}
		if len(s.fills) == 0 {
			return nil
		}
		return fillSets(ctx, s.fills, p.now)
	}
	c := p.commands[*s.program]
	if err := c.unhook(ctx, s); err != nil {
		return err
	}
	words := []string{"--noflush", "--counters"}
	if c.restoreWaits() {
		words = append(words, "--wait", strconv.Itoa(p.lockWait))
	}
	_, err := p.exec(ctx, s.input, c.restore, words...)
	return err
}

var errNoIpset = fmt.Errorf("%w: there is no program ipset: install the package ipset",
	firewall.ErrUnsupported)

func (p *programs) output(ctx context.Context, path string, args ...string) ([]byte, error) {
	return p.exec(ctx, nil, path, args...)
}

// exec runs a program. It answers in English, and inherits the network namespace of the calling
// thread.
func (p *programs) exec(ctx context.Context, input []byte, path string,
	args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdin = bytes.NewReader(input)
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	err := cmd.Run()
	if err == nil {
		return out.Bytes(), nil
	}
	name := path[strings.LastIndexByte(path, '/')+1:]
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: %w", name, ctx.Err())
	}
	return nil, &programError{
		name,
		args,
		strings.TrimSpace(withoutWarnings(problem.String())),
		p.lockWait,
		err,
	}
}

// programError is a program that failed, and what it said.
type programError struct {
	name string
	args []string
	said string
	wait int // for the xtables lock, in seconds
	err  error
}

func (e *programError) Error() string {
	first, _, _ := strings.Cut(e.said, "\n")
	switch {
	case strings.Contains(e.said, "xtables lock"):
		return fmt.Sprintf(
			"%s: another program held the xtables lock for %d seconds: find it with "+
				"'fuser /run/xtables.lock', then try again",
			e.name,
			e.wait,
		)
	case first == "":
		return fmt.Sprintf("%s %s: %v", e.name, strings.Join(e.args, " "), e.err)
	case strings.Contains(first, "set with the given name cannot be"),
		strings.Contains(first, "Set cannot be destroyed"):
		return fmt.Sprintf("%s: %s (rules of another program look it up: find them with "+
			"iptables-save | grep %s)", e.name, e.said, baseChain)
	}
	return fmt.Sprintf("%s: %s", e.name, strings.ReplaceAll(e.said, "\n", " / "))
}

// Unwrap sorts the failure into firewall's kinds, as far as what was said tells.
func (e *programError) Unwrap() error {
	for _, words := range []string{"you must be root", "Operation not permitted",
		"Permission denied"} {
		if strings.Contains(e.said, words) {
			return firewall.ErrPermission
		}
	}
	if noKernelSupport(e) {
		return firewall.ErrUnsupported
	}
	return e.err
}

// noKernelSupport recognises what the programs say on kernels that lack their interface.
func noKernelSupport(err error) bool {
	var failed *programError
	if !errors.As(err, &failed) {
		return false
	}
	for _, words := range []string{"Table does not exist", "do you need to insmod",
		"Failed to initialize nft", "Protocol not supported", "Protocol not available",
		"Cannot open session to kernel"} {
		if strings.Contains(failed.said, words) {
			return true
		}
	}
	return false
}
