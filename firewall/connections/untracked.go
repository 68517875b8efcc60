package connections

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Untracked names the chains with rules that keep packets out of connection tracking (notrack), of
// whatever program: "table ip raw, chain PREROUTING". Replies that they match are not known as
// such. run runs a program in the calling thread's namespace, as iptables-legacy-save has to be
// where the legacy table is in use.
func Untracked(
	ctx context.Context,
	run func(ctx context.Context, name string, args ...string) ([]byte, error),
) ([]string, error) {
	found, err := untrackedByNFTables(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking for rules that end connection tracking: %w", err)
	}
	for _, ip := range []string{"ip", "ip6"} {
		tables, err := os.ReadFile("/proc/thread-self/net/" + ip + "_tables_names")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return found, fmt.Errorf("looking for rules that end connection tracking: %w", err)
		}
		if !slices.Contains(strings.Fields(string(tables)), "raw") {
			continue // asking would load it
		}
		out, err := run(ctx, ip+"tables-legacy-save", "-t", "raw")
		if err != nil {
			return found, fmt.Errorf("looking for rules that end connection tracking: %w", err)
		}
		found = append(found, untrackedByLegacy(ip, out)...)
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// untrackedAttempts bounds how often rules are read again because somebody writes.
const untrackedAttempts = 10

func untrackedByNFTables(ctx context.Context) ([]string, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	var found []string
	_, err = netlink.OneGeneration(conn.Ruleset(ctx), untrackedAttempts, func(uint32) error {
		found = nil
		rules := netlink.Netfilter(
			unix.NFNL_SUBSYS_NFTABLES,
			unix.NFT_MSG_GETRULE,
			unix.NFPROTO_UNSPEC,
			unix.NLM_F_DUMP,
			nil,
		)
		return conn.Ask(ctx, rules, func(m netlink.Message) error {
			a, err := netlink.Parse(m.Attributes)
			if err != nil {
				return err
			}
			return netlink.Each(
				a.Bytes(unix.NFTA_RULE_EXPRESSIONS),
				func(_ uint16, b []byte) error {
					if untracks(b) {
						found = append(
							found,
							fmt.Sprintf(
								"table %s %s, chain %s",
								familyName(m.Family()),
								a.String(unix.NFTA_RULE_TABLE),
								a.String(unix.NFTA_RULE_CHAIN),
							),
						)
					}
					return nil
				},
			)
		})
	})
	if errors.Is(netlink.Unsupported("nf_tables", err), firewall.ErrUnsupported) {
		return nil, nil
	}
	return found, err
}

// untracks reports whether an expression is nf_tables' own notrack, or xtables' target CT with that
// flag or NOTRACK (include/uapi/linux/netfilter/xt_CT.h, nf_tables_compat.h).
func untracks(expression []byte) bool {
	const targetName, targetInfo, flagNotrack = 1, 3, 1
	e, err := netlink.Parse(expression)
	if err != nil {
		return false
	}
	switch e.String(unix.NFTA_EXPR_NAME) {
	case "notrack":
		return true
	case "target":
		x, err := netlink.Parse(e.Bytes(unix.NFTA_EXPR_DATA))
		if err != nil {
			return false
		}
		info := x.Bytes(targetInfo)
		return x.String(targetName) == "NOTRACK" ||
			x.String(targetName) == "CT" && len(info) >= 2 &&
				binary.NativeEndian.Uint16(info)&flagNotrack != 0
	}
	return false
}

func familyName(family uint8) string {
	switch family {
	case unix.NFPROTO_INET:
		return "inet"
	case unix.NFPROTO_IPV4:
		return "ip"
	case unix.NFPROTO_IPV6:
		return "ip6"
	case unix.NFPROTO_BRIDGE:
		return "bridge"
	}
	return fmt.Sprint(family)
}

// untrackedByLegacy reads what iptables-legacy-save prints.
func untrackedByLegacy(ip string, saved []byte) (found []string) {
	for line := range bytes.Lines(saved) {
		words := strings.Fields(string(line))
		if len(words) < 2 || words[0] != "-A" ||
			!slices.Contains(words, "--notrack") && !slices.Contains(words, "NOTRACK") {
			continue
		}
		found = append(found, fmt.Sprintf("%stables-legacy table raw, chain %s", ip, words[1]))
	}
	return found
}
