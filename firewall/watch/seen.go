package watch

import (
	"context"
	"errors"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// seen tracks which tables and base chains exist. The kernel does not say whether a deleted chain
// was a base chain, nor whether a reported table is new.
type seen struct {
	tables map[Table]bool
	bases  map[chainID]bool
}

// chainID identifies a chain, even if it is renamed.
type chainID struct {
	Table
	handle uint64
}

// changesHooks processes a message and reports whether it changes what Event.Hooks describes. If s
// is nil it reports true whenever that is possible.
func (s *seen) changesHooks(
	n notification,
	family uint8,
	table string,
	attrs *netlink.Attributes,
) bool {
	at := Table{family, table}
	switch n.kind {
	case kindChain:
		base := attrs.Has(unix.NFTA_CHAIN_HOOK)
		if s == nil {
			return n.deleted || base
		}
		id := chainID{at, attrs.Number(unix.NFTA_CHAIN_HANDLE)}
		if n.deleted {
			base = base || s.bases[id]
			delete(s.bases, id)
		} else if base {
			s.bases[id] = true
		}
		return base
	case kindFlowtable:
		return true
	case kindTable:
		// For an existing table the kernel only reports changed flags.
		changed := !n.deleted && attrs.Number(unix.NFTA_TABLE_USE) > 0
		if s == nil {
			return changed
		}
		stood := s.tables[at]
		if n.deleted {
			delete(s.tables, at)
		} else {
			s.tables[at] = true
		}
		return changed && stood
	}
	return false
}

// look reads which tables and base chains stand. The connection must be in no group. nil: it could
// not be read.
func look(asking *netlink.Conn) *seen {
	for range maxLooks {
		found, err := lookOnce(asking)
		if err == nil {
			return found
		}
		if !errors.Is(err, netlink.ErrInterrupted) {
			break
		}
	}
	return nil
}

// maxLooks bounds the attempts of a dump that commits interrupt.
const maxLooks = 5

// lookOnce reads two dumps, which may be of two generations: what was committed meanwhile is in the
// notifications, which come behind, and says it again.
func lookOnce(asking *netlink.Conn) (*seen, error) {
	found := &seen{tables: map[Table]bool{}, bases: map[chainID]bool{}}
	for _, kind := range []uint8{unix.NFT_MSG_GETTABLE, unix.NFT_MSG_GETCHAIN} {
		r := netlink.Netfilter(
			unix.NFNL_SUBSYS_NFTABLES,
			kind,
			unix.NFPROTO_UNSPEC,
			unix.NLM_F_DUMP,
			nil,
		)
		err := asking.Ask(context.Background(), r, func(m netlink.Message) error {
			a, err := netlink.Parse(m.Attributes)
			if n, known := notifications[uint8(m.Kind)]; known && err == nil {
				found.changesHooks(n, m.Family(), a.String(int(n.table)), &a)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}
