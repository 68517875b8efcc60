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

// Files says how the files of a policy and of its networks are read. A file is read when its writer
// has finished, never half: half a list blocks half, and half a line is a wider network.
//
// A read lease (fcntl(2), F_SETLEASE) proves that nobody has the file open for writing, and keeps
// everybody from opening it so while it is read. Where none can be had, on file systems of other
// hosts and for files of another user without CAP_LEASE, a file that was written to less than
// youngFile ago counts as being written. In both cases size and time of the last write must be the
// same before and after.
//
// The zero value waits for nobody and refuses what others may write.
type Files struct {
	// Patience is how long to wait for the writer of a file. After that, reading the file fails.
	Patience time.Duration
	// Waiting hears of each file that has to be waited for; nil ignores it. Like the other
	// functions, it is called from several goroutines.
	Waiting func(path string)
	// Unfinished hears of each file that wasn't read because its writer hasn't finished. again is
	// when another try may succeed by itself; zero if it takes the writer's end, which closes or
	// renames the file.
	Unfinished func(path string, again time.Time)
	// Exposed hears of files and folders that others may write, which are then read all the same,
	// such as by a check on a developer's machine; nil refuses them.
	Exposed func(Problem)
}

// WriterPatience is the usual Files.Patience: more than a file takes to be read where its writer
// can't be told.
const WriterPatience = 15 * time.Second

const (
	// youngFile is how long after the last write a file counts as being written where no lease can
	// be had.
	youngFile = 10 * time.Second
	// writerPoll is how often a file that is being written is looked at again.
	writerPoll = 20 * time.Millisecond
)

// unfinishedError says that a file is still being written.
type unfinishedError struct {
	reason string
	again  time.Time // when another try may succeed by itself; zero if it takes the writer's end
}

func (e unfinishedError) Error() string { return e.reason }

// useFile is what is done with a file that is whole. secret: what stands in it must not be repeated
// in messages, since a link leads to it.
type useFile func(f *os.File, size int64, secret bool) error

// read opens a file whose writer has finished, and hands it to use with its size. use may be called
// again, and must then begin anew.
func (r Files) read(ctx context.Context, path string, trust trust, use useFile) error {
	deadline := time.Now().Add(r.Patience)
	for first := true; ; first = false {
		err := r.try(path, trust, use)
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

// try is one attempt at read. The error is an unfinishedError if the file is being written.
func (r Files) try(path string, trust trust, use useFile) error {
	way, err := r.trusted(path, trust)
	if err != nil {
		return err
	}
	f, before, err := r.open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // which ends the lease
	switch err := lease(f); {
	case err == nil:
	case errors.Is(err, errOpenForWriting):
		return unfinishedError{reason: "a program still has it open for writing"}
	default:
		if again := youngUntil(before, time.Now()); !again.IsZero() {
			return unfinishedError{again: again, reason: fmt.Sprintf(
				"it was written to less than %.0f seconds ago, and whether that is finished can't be told here (%v)",
				youngFile.Seconds(),
				err,
			)}
		}
	}
	used := use(f, before.Size(), way.links > 0 || hardLinks(before) > 1)
	after, err := f.Stat()
	if err != nil {
		return errors.New(plain(err))
	}
	if after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
		return unfinishedError{reason: "it changed while it was read"}
	}
	return used
}

// open opens a regular file that only root, or the user who reads it, may write.
func (r Files) open(path string) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO must not make us wait
	if err != nil {
		return nil, nil, errors.New(plain(err))
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("is not a regular file")
	}
	if err == nil {
		err = r.permit(path, owned(info, path))
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// permit turns what is wrong about who may write a path into a warning, where that is enough.
func (r Files) permit(path string, err error) error {
	if err == nil || r.Exposed == nil {
		return err
	}
	r.Exposed(Problem{File: path, Message: err.Error()})
	return nil
}

// youngUntil is when a file no longer counts as being written for its age; zero if it doesn't. A
// time in the future says nothing, so the inode's own is taken, which nobody can set; if that is in
// the future too, the clock was set back.
func youngUntil(info fs.FileInfo, now time.Time) time.Time {
	written := info.ModTime()
	if stat, ok := info.Sys().(*unixStat); ok && written.After(now) {
		written = time.Unix(stat.Ctim.Unix())
	}
	if until := written.Add(youngFile); !written.After(now) && now.Before(until) {
		return until
	}
	return time.Time{}
}

// errOpenForWriting: somebody has the file open for writing.
var errOpenForWriting = errors.New("open for writing")

// lease takes a read lease on a file. Closing the file gives it back. If somebody wants to write
// meanwhile, he waits until then; the kernel's signal about that (SIGIO) is nothing to us.
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

// remote reports whether a file stands on another host, or may: there EAGAIN only says that the
// server gave no delegation (fs/nfs/nfs4file.c, fs/smb/client/file.c).
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
