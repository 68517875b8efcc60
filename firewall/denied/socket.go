package denied

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Attributes and values of a configuration message (include/uapi/linux/netfilter/nfnetlink_log.h).
const (
	configCommand   = 1 // NFULA_CFG_CMD: struct nfulnl_msg_config_cmd
	configMode      = 2 // NFULA_CFG_MODE: struct nfulnl_msg_config_mode
	configBuffer    = 3 // NFULA_CFG_NLBUFSIZ
	configTimeout   = 4 // NFULA_CFG_TIMEOUT, in hundredths of a second
	configThreshold = 5 // NFULA_CFG_QTHRESH
	configFlags     = 6 // NFULA_CFG_FLAGS

	commandBind = 1 // NFULNL_CFG_CMD_BIND
	copyPacket  = 2 // NFULNL_COPY_PACKET
	flagSeq     = 1 // NFULNL_CFG_F_SEQ: number the messages, so that a gap tells how many were lost
)

// How the kernel gathers reports before it wakes us: until there are so many, or they fill the
// buffer, or the first has waited so long. A report takes about 300 bytes. The buffer is a little
// less than 32 KiB, so that with the kernel's own part (struct skb_shared_info) it still fits eight
// pages, which the kernel finds also in an interrupt.
const (
	batch       = 100
	batchBuffer = 32<<10 - 1<<10
	batchWait   = 200 * time.Millisecond
)

// socketBuffer is what the kernel may hold for us, and doubles (SO_RCVBUF in socket(7)): about a
// quarter of a second of 100 000 packets a second. What does not fit is dropped and counted.
const socketBuffer = 4 << 20

// ErrTaken: the kernel gives a group to one listener at a time.
var ErrTaken = fmt.Errorf("another program already listens to NFLOG group %d", firewall.NFLOGGroup)

// openGroup opens a connection that is bound to our NFLOG group of the calling thread's namespace.
// Closing it ends the binding: the kernel then makes no reports any more.
func openGroup() (*netlink.Conn, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, mapErrno(err)
	}
	if err = conn.SetBuffers(0, socketBuffer); err == nil {
		// The sequence numbers tell more than the error of an overrun.
		if err = conn.IgnoreOverruns(); err == nil {
			err = bindGroup(conn)
		}
	}
	if err != nil {
		err = fmt.Errorf("listening to NFLOG group %d: %w", firewall.NFLOGGroup, err)
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// bindGroup asks for our group. It is one message, so no packet is reported in another form than we
// want.
func bindGroup(conn *netlink.Conn) error {
	err := ask(conn, messageConfig, func(e *netlink.Encoder) {
		e.Uint8(configCommand, commandBind)
		e.Bytes(
			configMode,
			append(binary.BigEndian.AppendUint32(nil, firewall.NFLOGSize), copyPacket, 0),
		)
		e.Uint32(configBuffer, batchBuffer)
		e.Uint32(configTimeout, uint32(batchWait/(10*time.Millisecond)))
		e.Uint32(configThreshold, batch)
		e.Uint16(configFlags, flagSeq)
	})
	switch {
	case errors.Is(err, unix.EBUSY):
		return ErrTaken
	case errors.Is(err, unix.EPERM):
		// It says so as well if the group is somebody else's (nfulnl_recv_config,
		// net/netfilter/nfnetlink_log.c). A message that the subsystem never accepts tells the two
		// apart: privileges are checked first (nfnetlink_rcv).
		if !errors.Is(ask(conn, messagePacket, nil), unix.EPERM) {
			return ErrTaken
		}
	}
	return mapErrno(err)
}

// ask sends one message about our group and waits for the kernel's acknowledgement. Packets that
// are reported meanwhile have sequence numbers, so they are missed and counted later.
func ask(conn *netlink.Conn, kind uint8, attributes func(*netlink.Encoder)) error {
	r := netlink.Netfilter(unix.NFNL_SUBSYS_ULOG, kind, unix.AF_UNSPEC, unix.NLM_F_ACK, attributes)
	binary.BigEndian.PutUint16(r.Header[2:], firewall.NFLOGGroup) // nfgenmsg.res_id
	return conn.Ask(context.Background(), r, nil)
}

// mapErrno says what the kernel lacks.
func mapErrno(err error) error {
	if netlink.Absent(err) {
		return fmt.Errorf("this kernel has no nfnetlink_log (%w)", err)
	}
	return err
}
