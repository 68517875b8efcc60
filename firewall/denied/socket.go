package denied

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/portgrave/portgrave/firewall"
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

// How the kernel gathers reports before it wakes us: until there are so many, or they fill the buffer, or the
// first has waited so long. A report takes about 300 bytes. The buffer is a little less than 32 KiB, so that with
// the kernel's own part (struct skb_shared_info) it still fits eight pages, which the kernel finds also in an interrupt.
const (
	batch       = 100
	batchBuffer = 32<<10 - 1<<10
	batchWait   = 200 * time.Millisecond
)

// socketBuffer is what the kernel may hold for us, and doubles (SO_RCVBUF in socket(7)): about a quarter of a second
// of 100 000 packets a second. What does not fit is dropped and counted.
const socketBuffer = 4 << 20

// readBuffer holds any datagram: the kernel never makes one larger than batchBuffer, unless one report is larger.
const readBuffer = 64 << 10

// ErrTaken: the kernel gives a group to one listener at a time.
var ErrTaken = fmt.Errorf("another program already listens to NFLOG group %d", firewall.NFLOGGroup)

// socket is a netlink socket bound to our NFLOG group of the namespace in which it was opened. Closing it ends
// the binding: the kernel then makes no reports any more.
type socket struct {
	file *os.File
	raw  syscall.RawConn

	// attempt is receive's work in a form that does not allocate each time; it fills the rest.
	attempt func(fd uintptr) bool
	buffer  []byte
	n       int
	from    unix.Sockaddr
	err     error
}

func openSocket() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("opening a netfilter netlink socket: %w", mapErrno(err))
	}
	s := &socket{file: os.NewFile(uintptr(fd), "nflog"), buffer: make([]byte, readBuffer)}
	if err := s.prepare(fd); err != nil {
		_ = s.file.Close()
		return nil, fmt.Errorf("listening to NFLOG group %d: %w", firewall.NFLOGGroup, err)
	}
	return s, nil
}

func (s *socket) prepare(fd int) (err error) {
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer) != nil {
		// In a user namespace the system's limit holds: more is lost, and counted.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, socketBuffer); err != nil {
			return err
		}
	}
	// A full buffer shall not be an error of the next read: the sequence numbers tell more, and without the error
	// the kernel goes on with the first free byte instead of waiting until the buffer is empty (netlink_overrun,
	// net/netlink/af_netlink.c).
	if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, 1); err != nil {
		return err
	}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		return err
	}
	s.attempt = func(fd uintptr) bool {
		// With MSG_TRUNC the kernel tells the datagram's size also where it did not fit.
		s.n, s.from, s.err = unix.Recvfrom(int(fd), s.buffer, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		return !errors.Is(s.err, unix.EAGAIN) && !errors.Is(s.err, unix.EINTR)
	}
	return s.bindGroup()
}

// bindGroup asks for our group. It is one message, so no packet is reported in another form than we want.
func (s *socket) bindGroup() error {
	mode := binary.BigEndian.AppendUint32(nil, firewall.NFLOGSize)
	mode = append(mode, copyPacket, 0)
	attrs := appendAttr(nil, configCommand, []byte{commandBind})
	attrs = appendAttr(attrs, configMode, mode)
	attrs = appendAttr(attrs, configBuffer, binary.BigEndian.AppendUint32(nil, batchBuffer))
	attrs = appendAttr(attrs, configTimeout, binary.BigEndian.AppendUint32(nil, uint32(batchWait/(10*time.Millisecond))))
	attrs = appendAttr(attrs, configThreshold, binary.BigEndian.AppendUint32(nil, batch))
	attrs = appendAttr(attrs, configFlags, binary.BigEndian.AppendUint16(nil, flagSeq))
	err := s.ask(messageConfig, attrs)
	switch {
	case errors.Is(err, unix.EBUSY):
		return ErrTaken
	case errors.Is(err, unix.EPERM):
		// It says so as well if the group is somebody else's (nfulnl_recv_config, net/netfilter/nfnetlink_log.c). A message
		// that the subsystem never accepts tells the two apart: privileges are checked first (nfnetlink_rcv).
		if !errors.Is(s.ask(messagePacket, nil), unix.EPERM) {
			return ErrTaken
		}
	}
	return mapErrno(err)
}

// ask sends one message about our group and waits for the kernel's acknowledgement. Packets that are
// reported meanwhile have sequence numbers, so they are missed and counted later.
func (s *socket) ask(kind uint16, attrs []byte) error {
	const sequence = 1
	m := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+nfgenmsgLen+len(attrs)))
	m = binary.NativeEndian.AppendUint16(m, unix.NFNL_SUBSYS_ULOG<<8|kind)
	m = binary.NativeEndian.AppendUint16(m, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	m = binary.NativeEndian.AppendUint32(m, sequence)
	m = binary.NativeEndian.AppendUint32(m, 0)
	m = append(m, unix.AF_UNSPEC, unix.NFNETLINK_V0)
	m = binary.BigEndian.AppendUint16(m, firewall.NFLOGGroup) // nfgenmsg.res_id
	m = append(m, attrs...)
	var err error
	if cerr := s.raw.Control(func(fd uintptr) {
		err = unix.Sendto(int(fd), m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}); cerr != nil {
		return cerr
	}
	for err == nil {
		var answer []byte
		if answer, err = s.receive(); err != nil {
			break
		}
		answered := false
		derr := eachMessage(answer, func(kind uint16, data []byte) {
			if kind != unix.NLMSG_ERROR || answered || len(data) < 4 {
				return
			}
			answered = true
			if code := -int32(binary.NativeEndian.Uint32(data)); code != 0 {
				err = unix.Errno(code)
			}
		})
		if derr != nil {
			return derr
		}
		if answered {
			break
		}
	}
	return err
}

func appendAttr(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofNlAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, -len(value)&3)...) // NLA_ALIGNTO
}

// receive waits for a datagram of the kernel, until the file's read deadline. What it returns is valid until the next call.
func (s *socket) receive() ([]byte, error) {
	for {
		if err := s.raw.Read(s.attempt); err != nil {
			return nil, err
		}
		if s.err != nil {
			return nil, s.err
		}
		// Only the kernel has port 0. Another program may send to us, if it has CAP_NET_ADMIN.
		if from, ok := s.from.(*unix.SockaddrNetlink); !ok || from.Pid != 0 {
			continue
		}
		return s.buffer[:min(s.n, len(s.buffer))], nil
	}
}

// interfaceName is the name of an interface in the socket's namespace.
func (s *socket) interfaceName(index uint32) (name string, err error) {
	if cerr := s.raw.Control(func(fd uintptr) { name, err = interfaceName(int(fd), index) }); cerr != nil {
		return "", cerr
	}
	return name, err
}

// mapErrno wraps what an administrator can act on.
func mapErrno(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (%w)", firewall.ErrPermission, err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EINVAL):
		// EINVAL: netfilter has no such subsystem (nfnetlink_rcv_msg, net/netfilter/nfnetlink.c).
		return fmt.Errorf("this kernel has no nfnetlink_log (%w)", err)
	}
	return err
}
