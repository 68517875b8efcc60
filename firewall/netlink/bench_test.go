package netlink

import (
	"testing"

	mdlayher "github.com/mdlayher/netlink"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"golang.org/x/sys/unix"
)

// BenchmarkDump reads a set of 100 000 elements, with the buffer of a Conn and with the page that
// others offer, and through mdlayher/netlink.
func BenchmarkDump(b *testing.B) {
	const elements = 100_000
	backendtest.Isolate(b)
	c, err := Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if err := c.SetBuffers(64<<20, 1<<20); err != nil {
		b.Fatal(err)
	}
	if err := c.Batch(repaint(c, nil, "red", elements)); err != nil {
		b.Fatal(err)
	}
	attributes := func(e *Encoder) {
		e.String(unix.NFTA_SET_ELEM_LIST_TABLE, "t")
		e.String(unix.NFTA_SET_ELEM_LIST_SET, "red")
	}
	n := 0
	count := func(attributes []byte) error {
		a, err := Parse(attributes)
		if err != nil {
			return err
		}
		return Each(
			a.Bytes(unix.NFTA_SET_ELEM_LIST_ELEMENTS),
			func(uint16, []byte) error { n++; return nil },
		)
	}
	request := Netfilter(
		unix.NFNL_SUBSYS_NFTABLES,
		unix.NFT_MSG_GETSETELEM,
		unix.NFPROTO_INET,
		unix.NLM_F_DUMP,
		attributes,
	)
	measure := func(name string, dump func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				n = 0
				if err := dump(); err != nil || n != elements {
					b.Fatalf("%d elements, %v", n, err)
				}
			}
		})
	}
	ask := func(c *Conn) error {
		return c.Ask(b.Context(), request, func(m Message) error { return count(m.Attributes) })
	}
	measure("32KiB", func() error { return ask(c) })
	// What a socket once offered counts, so this is another one.
	page, err := Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = page.Close() }()
	page.buffer = page.buffer[:4<<10]
	measure("page", func() error { return ask(page) })
	theirs, err := mdlayher.Dial(
		unix.NETLINK_NETFILTER,
		&mdlayher.Config{MessageBufferSize: receiveBuffer},
	)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = theirs.Close() }()
	var wanted Encoder
	attributes(&wanted)
	measure("mdlayher", func() error {
		if _, err := theirs.Send(mdlayher.Message{
			Header: mdlayher.Header{Type: mdlayher.HeaderType(request.Kind),
				Flags: mdlayher.Request | mdlayher.Dump},
			Data: append(request.Header[:4:4], wanted.Buf...),
		}); err != nil {
			return err
		}
		for m, err := range theirs.ReceiveIter() {
			if err != nil {
				return err
			}
			if err := count(m.Data[NetfilterHeader:]); err != nil {
				return err
			}
		}
		return nil
	})
}
