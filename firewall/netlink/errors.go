package netlink

import (
	"errors"
	"fmt"

	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

var (
	// ErrMalformed: bytes don't fit netlink's own framing. A message or attribute is shorter than
	// its header, or longer than what holds it, or the datagram is larger than the buffer.
	ErrMalformed = errors.New("netlink: malformed message")
	// ErrInterrupted: the objects changed during a dump (NLM_F_DUMP_INTR), so entries may be
	// missing.
	ErrInterrupted = errors.New("the kernel's objects changed while they were read")
	// ErrNoAnswer: the kernel took a batch and its answer was lost. Only reading back tells.
	ErrNoAnswer = errors.New("the kernel did not say what became of the transaction")

	errTooLong = errors.New("netlink: an attribute of more than 64 KiB")
)

// Refusal is the kernel's refusal of one message of a batch.
type Refusal struct {
	Sequence uint32 // of the message
	Err      error
}

func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap returns the kernel's error.
func (r *Refusal) Unwrap() error { return r.Err }

// Explain wraps what an administrator can act on: missing rights are firewall.ErrPermission, and a
// batch for another generation of nf_tables is firewall.ErrConflict.
func Explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (%w)", firewall.ErrPermission, err)
	case errors.Is(err, unix.ERESTART):
		return fmt.Errorf("%w (%w)", firewall.ErrConflict, err)
	}
	return err
}

// Unsupported wraps the answer of a kernel that lacks a subsystem in firewall.ErrUnsupported. It
// returns other errors as they are.
//
// EINVAL and EOPNOTSUPP are from nfnetlink_rcv_msg (net/netfilter/nfnetlink.c), for a subsystem or
// a message that it does not know. So this is for requests that are valid.
func Unsupported(subsystem string, err error) error {
	switch {
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT),
		errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: it has no %s (%w)", firewall.ErrUnsupported, subsystem, err)
	}
	return err
}

// Absent reports whether the kernel, or this namespace, lacks what was asked for: what Unsupported
// knows, a diag handler (ENOENT from inet_diag_lock_handler, net/ipv4/inet_diag.c), a device.
func Absent(err error) bool {
	return errors.Is(Unsupported("", err), firewall.ErrUnsupported) ||
		errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)
}
