package watch

import (
	"encoding/binary"
	"errors"

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
func (s *seen) changesHooks(n notification, family uint8, table string, attrs []byte) bool {
	at := Table{family, table}
	switch n.kind {
	case kindChain:
		base := attribute(attrs, unix.NFTA_CHAIN_HOOK) != nil
		if s == nil {
			return n.deleted || base
		}
		id := chainID{at, handleOf(attrs)}
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
		changed := !n.deleted && number(attribute(attrs, unix.NFTA_TABLE_USE)) > 0
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

func handleOf(attrs []byte) uint64 {
	if b := attribute(attrs, unix.NFTA_CHAIN_HANDLE); len(b) == 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// look reads which tables and base chains stand. The socket must be in no group. nil: it could not
// be read.
func (s socket) look() *seen {
	for range maxLooks {
		found, err := s.lookOnce()
		if err == nil {
			return found
		}
		if !errors.Is(err, errInterrupted) {
			break
		}
	}
	return nil
}

// maxLooks bounds the attempts of a dump that commits interrupt.
const maxLooks = 5

// errInterrupted: a commit came in between, so that the dump may lack what stood throughout.
var errInterrupted = errors.New("netlink: the dump was interrupted")

// lookOnce reads two dumps, which may be of two generations: what was committed meanwhile is in the
// notifications, which come behind, and says it again.
func (s socket) lookOnce() (*seen, error) {
	found := &seen{tables: map[Table]bool{}, bases: map[chainID]bool{}}
	for _, kind := range []uint16{unix.NFT_MSG_GETTABLE, unix.NFT_MSG_GETCHAIN} {
		err := s.dump(kind, func(m message) {
			if n, known := notifications[m.kind]; known {
				found.changesHooks(n, m.family, string(text(attribute(m.attrs, n.table))), m.attrs)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// maxDump bounds the datagrams of one dump.
const maxDump = 10_000

// dump asks for all objects of a kind. Commits that come in between are in the notifications as
// well.
func (s socket) dump(kind uint16, take func(message)) error {
	request := make([]byte, messageHeader)
	binary.NativeEndian.PutUint32(request, messageHeader)
	binary.NativeEndian.PutUint16(request[4:], unix.NFNL_SUBSYS_NFTABLES<<8|kind)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	if err := unix.Sendto(s.fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buffer, interrupted := make([]byte, datagramBuffer), false
	for range maxDump {
		answer, err := s.receive(buffer)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		for m, err := range messages(answer) {
			if err != nil {
				return err
			}
			take(m)
		}
		torn, ended, errno := endOf(answer)
		interrupted = interrupted || torn
		switch {
		case errno != 0:
			return errno
		case ended && interrupted:
			return errInterrupted
		case ended:
			return nil
		}
	}
	return errMalformed
}

// endOf tells what the headers of a dump's datagram say: whether a commit has torn the dump,
// whether it ends here, and the error it ends with, which NLMSG_DONE may carry as well as
// NLMSG_ERROR.
func endOf(b []byte) (torn, ended bool, errno unix.Errno) {
	for len(b) >= unix.NLMSG_HDRLEN {
		length := int(binary.NativeEndian.Uint32(b))
		kind, flags := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint16(b[6:])
		torn = torn || flags&unix.NLM_F_DUMP_INTR != 0
		if kind == unix.NLMSG_DONE || kind == unix.NLMSG_ERROR {
			ended = true
			if len(b) >= unix.NLMSG_HDRLEN+4 {
				errno = unix.Errno(-int32(binary.NativeEndian.Uint32(b[unix.NLMSG_HDRLEN:])))
			}
		}
		if length < unix.NLMSG_HDRLEN {
			break
		}
		b = b[min(len(b), aligned(length)):]
	}
	return torn, ended, errno
}
