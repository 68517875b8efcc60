package nft

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// OwnTable reports whether a table of family inet bears a name of ours.
func OwnTable(name string) bool { return name == tableName || name == secondTable }

// Messages calls each with what makes the table that enforces a State in a kernel without it: the
// kind of each message to nf_tables (NFT_MSG_NEW*) and its attributes. The kernel lists its objects
// with the same attributes, so that what reads its dumps can read the table before it is there. The
// attributes are valid during the call only.
func Messages(s firewall.State, now time.Time, each func(kind int, attributes []byte) error) error {
	want, none := compile(s, now, layout{}), newRuleset()
	p := assemble(compare(want, none), want, none)
	var buf []byte
	for _, ops := range p.all() {
		for _, o := range ops { // one by one, so that memory holds the messages of one set only
			e, err := encodeBatch([]op{o}, 0, 0, now, buf)
			if err != nil {
				return err
			}
			buf = e.Buf
			if err := e.each(each); err != nil {
				return fmt.Errorf("%s: %w", o.what(), err)
			}
		}
	}
	return nil
}

// each calls f with the messages of a batch to nf_tables.
func (e *encoder) each(f func(kind int, attributes []byte) error) error {
	const headers = unix.NLMSG_HDRLEN + 4 // struct nlmsghdr, struct nfgenmsg
	for b := e.Buf; len(b) >= headers; {
		size := int(binary.NativeEndian.Uint32(b))
		kind := binary.NativeEndian.Uint16(b[4:])
		if kind>>8 == unix.NFNL_SUBSYS_NFTABLES {
			if err := f(int(kind&0xff), b[headers:size]); err != nil {
				return err
			}
		}
		b = b[min(len(b), (size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
	return nil
}
