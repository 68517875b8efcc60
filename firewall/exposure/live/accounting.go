package live

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
)

// Objects of nfacct (include/uapi/linux/netfilter/nfnetlink_acct.h).
const (
	subsystemAccounting = 7 // NFNL_SUBSYS_ACCT
	accountingGet       = 1 // NFNL_MSG_ACCT_GET
	accountingName      = 1 // NFACCT_NAME
	accountingFlags     = 5 // NFACCT_FLAGS
	accountingQuota     = 3 // NFACCT_F_QUOTA_PKTS, NFACCT_F_QUOTA_BYTES
)

// readAccounts finds out of the objects that rules name with the match nfacct whether they only
// count, or have a quota. A match of one with a quota holds once it is used up, which depends on
// traffic; so does one of an object that the kernel doesn't tell of. If the objects can't be read,
// all such matches are unknown and say why. counting lists the objects; it is called at most once.
func readAccounts(rs *exposure.Ruleset, counting func() (map[string]bool, error)) {
	counting = sync.OnceValues(counting)
	var failed error
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				for i, s := range r.Statements {
					u, ok := s.(exposure.Unknown)
					if !ok || u.Account == "" {
						continue
					}
					counts, err := counting()
					only, known := counts[u.Account]
					switch {
					case err != nil:
						r.Statements[i] = exposure.Unknown{
							Text: fmt.Sprintf("%s (its object can't be read: %v)", u.Text, err),
						}
						failed = err
					case only:
						r.Statements[i] = exposure.NoEffect{Text: u.Text}
					case known:
						r.Statements[i] = exposure.Unknown{Text: u.Text + " (a quota)"}
					default:
						r.Statements[i] = exposure.Unknown{Text: u.Text}
					}
				}
			}
		}
	}
	if failed != nil {
		rs.Partly = append(rs.Partly, fmt.Sprintf("the objects of nfacct: %v", failed))
	}
}

// countingAccounts are the kernel's objects by name: true for those without a quota.
func countingAccounts(ctx context.Context, conn *netlink.Conn) (map[string]bool, error) {
	out := map[string]bool{}
	request := netlink.Netfilter(
		subsystemAccounting, accountingGet, unix.AF_UNSPEC, unix.NLM_F_DUMP, nil,
	)
	err := conn.Ask(ctx, request, func(m netlink.Message) error {
		a, err := netlink.Parse(m.Attributes)
		if err != nil {
			return fmt.Errorf("an object of nfacct: %w", err)
		}
		out[a.String(accountingName)] = a.Number(accountingFlags)&accountingQuota == 0
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
