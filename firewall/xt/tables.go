package xt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/coreos/go-iptables/iptables"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// commands are one program's parts. The embedded library runs the program itself, which lists
// chains and takes jumps out of them. It works in the network namespace of the calling thread, as
// ours do. What it leaves to its caller:
//
//   - It keeps the variant to itself, so variantOf asks.
//   - It neither saves nor restores, and takes a program run for each rule: see kernel.go.
//   - Timeout(0) would wait for the xtables lock for ever.
//   - Exists and ChainExists say false without root, so neither is asked: Delete says what
//     was there.
//   - A legacy program loads the modules of the table that it is asked for: callers look in
//     legacyTables first.
type commands struct {
	*iptables.IPTables
	save, restore string // paths
}

// baseNames are the programs' names without a variant.
var baseNames = map[address.Family]string{address.IPv4: "iptables", address.IPv6: "ip6tables"}

// openTables opens a program by its path.
func openTables(path string, f address.Family) (*iptables.IPTables, error) {
	protocol := iptables.ProtocolIPv4
	if f == address.IPv6 {
		protocol = iptables.ProtocolIPv6
	}
	t, err := iptables.New(iptables.Path(path), iptables.IPFamily(protocol),
		iptables.Timeout(defaultLockWait))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// restoreWaits reports whether the program's restore knows about the xtables lock.
func (c commands) restoreWaits() bool {
	major, minor, patch := c.GetIptablesVersion()
	return slices.Compare([]int{major, minor, patch}, []int{1, 6, 2}) >= 0
}

// jump is a rule of a built-in chain that leads to one of ours.
type jump struct{ chain, rule string }

// unhook takes the jumps of a step out, one after the other. One that somebody else has taken out
// meanwhile is no failure.
func (c commands) unhook(ctx context.Context, s step) error {
	for _, j := range s.unhook {
		if err := ctx.Err(); err != nil {
			return err
		}
		words, err := iptsave.Split(j.rule)
		if err != nil {
			return err
		}
		arguments := make([]string, len(words))
		for i, w := range words {
			arguments[i] = w.Text
		}
		err = c.Delete(s.table, j.chain, arguments...)
		failed := (*iptables.Error)(nil)
		switch {
		case err == nil:
		case !errors.As(err, &failed):
			return err
		case !failed.IsNotExist():
			return errorOf(*s.program, failed)
		}
	}
	return nil
}

// errorOf is the library's error as one of ours, which says what to do.
func errorOf(p program, e *iptables.Error) error {
	_, said, _ := strings.Cut(e.Error(), fmt.Sprintf(": exit status %d: ", e.ExitStatus()))
	return &programError{
		name: p.String(),
		said: strings.TrimSpace(withoutWarnings(said)),
		wait: defaultLockWait,
		err:  &e.ExitError,
	}
}
