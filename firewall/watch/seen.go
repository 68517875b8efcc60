package watch

import (
	"context"
	"errors"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// seen remembers which tables and base chains stand. The kernel does not say of what kind a deleted
// chain was, nor whether a table that it reports is a new one.
type seen struct {
	tables map[Table]bool
	bases  map[chainID]bool
}

// chainID names a chain for as long as it lives, whatever it is called.
type chainID struct {
	Table
	handle uint64
}

// changesHooks takes in a message, and reports whether it changes what Event.Hooks is about.
// Without a memory, what may do so counts.
func (s *seen) changesHooks(n notification, family uint8, table string, attrs *netlink.Attributes) bool {
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
		// A table that stays is only reported when its flags change.
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

// maxLooks is how often a dump is begun anew because somebody commits meanwhile.
const maxLooks = 5

// lookOnce reads two dumps, which may be of two generations: what was committed meanwhile is in the
// notifications, which come behind, and says it again.
func lookOnce(asking *netlink.Conn) (*seen, error) {
	found := &seen{tables: map[Table]bool{}, bases: map[chainID]bool{}}
	for _, kind := range []uint8{unix.NFT_MSG_GETTABLE, unix.NFT_MSG_GETCHAIN} {
		r := netlink.Netfilter(unix.NFNL_SUBSYS_NFTABLES, kind, unix.NFPROTO_UNSPEC, unix.NLM_F_DUMP, nil)
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
