package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Files says how to read the files of a policy and of its networks. A file is read only after its
// writer has finished, because half a list blocks half, and half a line is a wider network.
//
// A read lease (fcntl(2), F_SETLEASE) proves that no process has the file open for writing, and
// makes writers wait until the file is read. Leases fail on network file systems, and for files of
// another user without CAP_LEASE. There, a file counts as being written for maxUnsettledAge after
// its last write. In both cases its Fingerprint must not change while the file is read.
//
// The zero value waits for no writer and refuses files that other users may write. All functions
// are called from several goroutines.
type Files struct {
	// Patience is how long to wait for the writer of a file. After that, reading the file fails.
	Patience time.Duration
	// Waiting is called for each file that has to be waited for; nil ignores it.
	Waiting func(path string)
	// Unfinished is called for each file that wasn't read because its writer hasn't finished. again
	// is when another try may succeed without an event; it is zero if the writer must first close
	// or rename the file.
	Unfinished func(path string, again time.Time)
	// Exposed is called for files and folders that other users may write, and lets them be read, as
	// for a check on a developer's machine; nil refuses them.
	Exposed func(Problem)
}

// WriterPatience is the usual Files.Patience: more than a file takes to be read where its writer
// can't be told.
const WriterPatience = 15 * time.Second

const (
	// maxUnsettledAge is how long after its last write a file counts as being written if no lease
	// can be taken.
	maxUnsettledAge = 10 * time.Second
	// writerPoll is the interval at which a file that is being written is tried again.
	writerPoll = 20 * time.Millisecond
)

// unfinishedError says that a file is still being written.
type unfinishedError struct {
	reason string
	again  time.Time // when another try may succeed without an event; zero if the writer must act
}

func (e unfinishedError) Error() string { return e.reason }

// wholeFile is a file whose writer has finished, open for reading.
type wholeFile struct {
	*os.File
	print    Fingerprint
	hideText bool // messages must not quote the file, because a link leads to it
	leased   bool // nobody can write the file while it is open
}

// useFile processes a whole file.
type useFile func(f wholeFile) error

// read opens a file whose writer has finished and passes it to use. If the file changes meanwhile,
// read calls use again, and use must then start over.
func (r Files) read(ctx context.Context, path string, trust trust, use useFile) error {
	deadline := time.Now().Add(r.Patience)
	for first := true; ; first = false {
		err := r.tryRead(path, trust, use)
		var unfinished unfinishedError
		if !errors.As(err, &unfinished) {
			return err
		}
		if !time.Now().Before(deadline) {
			if r.Unfinished != nil {
				r.Unfinished(path, unfinished.again)
			}
			return err
		}
		if first && r.Waiting != nil {
			r.Waiting(path)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(writerPoll):
		}
	}
}

// tryRead is one attempt of read. The error is an unfinishedError if the file is being written.
func (r Files) tryRead(path string, trust trust, use useFile) error {
	way, err := r.trustedPath(path, trust)
	if err != nil {
		return err
	}
	f, before, err := r.open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // which ends the lease
	whole := wholeFile{
		File:     f,
		print:    fingerprintOf(before),
		hideText: way.links > 0 || hardLinks(before) > 1,
	}
	switch err := lease(f); {
	case err == nil:
		whole.leased = true
	case errors.Is(err, errOpenForWriting):
		return unfinishedError{reason: "a program still has it open for writing"}
	default:
		if again := unsettledUntil(before, time.Now()); !again.IsZero() {
			return unfinishedError{again: again, reason: fmt.Sprintf(
				"it was written to less than %.0f seconds ago, and whether that is finished "+
					"can't be told here (%v)",
				maxUnsettledAge.Seconds(),
				err,
			)}
		}
	}
	used := use(whole)
	after, err := f.Stat()
	if err != nil {
		return pathless{err}
	}
	if fingerprintOf(after) != whole.print {
		return unfinishedError{reason: "it changed while it was read"}
	}
	return used
}

// open opens a regular file that only root, or the user who reads it, may write.
func (r Files) open(path string) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // opening a FIFO must not block
	if err != nil {
		return nil, nil, pathless{err}
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("is not a regular file")
	}
	if err == nil {
		err = r.permit(path, refuseForeignWriters(info, path))
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// permit turns a mistake in the permissions of a path into a warning if Exposed is set.
func (r Files) permit(path string, err error) error {
	if err == nil || r.Exposed == nil {
		return err
	}
	r.Exposed(Problem{File: path, Message: err.Error(), Rule: RuleWritableFile})
	return nil
}

// unsettledUntil returns when the age of a file's last write no longer suggests that a writer is at
// work; zero if it doesn't now. A modification time in the future proves nothing, so the inode's
// change time counts then, which users can't set. If that is in the future too, the clock was set
// back.
func unsettledUntil(info fs.FileInfo, now time.Time) time.Time {
	written := info.ModTime()
	if stat, ok := info.Sys().(*unixStat); ok && written.After(now) {
		written = time.Unix(stat.Ctim.Unix())
	}
	if until := written.Add(maxUnsettledAge); !written.After(now) && now.Before(until) {
		return until
	}
	return time.Time{}
}

// errOpenForWriting: a process has the file open for writing.
var errOpenForWriting = errors.New("open for writing")

// lease takes a read lease on a file until it is closed. A process that wants to write waits until
// then. The kernel's signal about it (SIGIO) can be ignored.
func lease(f *os.File) error {
	connection, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var leased error
	err = connection.Control(func(fd uintptr) {
		_, leased = unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK)
		if errors.Is(leased, unix.EAGAIN) && !remote(int(fd)) {
			leased = errOpenForWriting
		}
	})
	return errors.Join(err, leased)
}

// remote reports whether a file may stand on another host. EAGAIN only says there that the server
// gave no delegation (fs/nfs/nfs4file.c, fs/smb/client/file.c).
func remote(fd int) bool {
	var s unix.Statfs_t
	if unix.Fstatfs(fd, &s) != nil {
		return true
	}
	switch uint32(s.Type) {
	case unix.NFS_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.SMB_SUPER_MAGIC:
		return true
	}
	return false
}
