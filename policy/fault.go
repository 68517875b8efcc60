package policy

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"slices"

	"golang.org/x/sys/unix"
)

// Faults are not mistakes in a policy: the disk, the network or the kernel failed while it was
// read, or while a network of it was loaded that has no last good content. The policy may be valid,
// so a command that meets only faults says that it failed.

// faults are the errors of system calls that say so. Others are about the path that somebody named:
// there is no such file, it is a folder, or it is closed to the reader.
var faults = []error{
	unix.EIO, unix.EREMOTEIO, unix.EUCLEAN, unix.EBADMSG, unix.ESTALE, unix.ETIMEDOUT, unix.ENOLINK,
	unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.ENOBUFS,
}

func isFault(err error) bool {
	return slices.ContainsFunc(faults, func(f error) bool { return errors.Is(err, f) })
}

// isTransport reports whether a network could not be asked for, or its answer broke off. A name that
// doesn't exist is none, nor an answer with an error or another content: these may be mistakes.
func isTransport(err error) bool {
	var refused *net.OpError
	var name *net.DNSError
	switch {
	case errors.As(err, &name):
		return !name.IsNotFound
	case errors.As(err, &refused), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, io.ErrUnexpectedEOF):
		return true
	}
	return isFault(err)
}

// Faults reports whether faults alone keep the policy from being read.
func (p Problems) Faults() bool {
	return len(p) > 0 && !slices.ContainsFunc(p, func(x Problem) bool { return !x.fault })
}

// unreadable reports a file or a folder that can't be read.
func (r *reporter) unreadable(l Location, err error) {
	r.at(l, "%s", withoutPath(err))
	r.markFault(isFault(err))
}

// markFault says whether the last problem is a fault. Where problems are dropped, there are
// mistakes enough.
func (r *reporter) markFault(is bool) {
	if r.dropped == 0 && len(r.list) > 0 {
		r.list[len(r.list)-1].fault = is
	}
}

// pathless is an error without the path that the caller prints anyway.
type pathless struct{ error }

func (e pathless) Error() string { return withoutPath(e.error) }

func (e pathless) Unwrap() error { return e.error }

// withoutPath returns the text of an error without the path that the caller prints anyway.
func withoutPath(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return "can't be read: " + p.Err.Error()
	}
	return err.Error()
}
