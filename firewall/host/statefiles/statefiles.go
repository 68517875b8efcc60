// Package statefiles keeps small files of state in a folder so that neither a crash nor a bad disk
// makes them lie: each is written beside its name, synced and renamed into place, and carries a
// checksum of its content.
//
// It knows nothing of what the files mean; firewall/history and firewall/lease do. What a killed
// process has left of its writing it removes, and no other file by itself. A folder may belong to a
// user whom root must not trust: see walk.go.
package statefiles

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Folder is what a store asks of the file system; tests make single operations fail (package
// faulty).
type Folder interface {
	// Make makes the folder, if it is missing, to stay.
	Make() error
	// List returns the entries, ordered by name; a folder that is missing is fs.ErrNotExist.
	List() ([]fs.DirEntry, error)
	Read(name string) ([]byte, error)
	// Open is for files that are better not read at once.
	Open(name string) (io.ReadCloser, error)
	// Size is how long a file is.
	Size(name string) (int64, error)
	// Stamp tells whether a file is still the same.
	Stamp(name string) (Stamp, error)
	// Write makes a file whole or not at all.
	Write(name string, content Content) error
	// Sync makes names, and their absence, survive a power cut.
	Sync() error
	Remove(name string) error
	// Rename gives a file another name, which needs no room.
	Rename(from, to string) error
}

// Content writes what shall stand in a file, a piece at a time if it is long. Asked twice, it
// writes the same twice.
type Content func(io.Writer) error

// Bytes is content that is at hand.
func Bytes(b []byte) Content {
	return func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}
}

// At is the folder at a path. Files are readable for the folder's owner alone.
func At(path string) Folder { return disk(path) }

type disk string

// maxSize is far more than the largest State takes. A file of holes may claim any size, and have us
// die of it.
const maxSize = 1 << 30

func (d disk) path(name string) string { return filepath.Join(string(d), name) }

func (d disk) Make() error { return MakeAll(string(d), 0o700) }

func (d disk) List() ([]fs.DirEntry, error) {
	f, err := openFolder(string(d))
	if err != nil {
		return nil, err
	}
	defer f.close()
	return f.list()
}

func (d disk) Read(name string) ([]byte, error) {
	f, err := OpenToRead(d.path(name))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxSize {
		why := fmt.Errorf("it has %d bytes, more than any file of state: move it away", info.Size())
		return nil, &fs.PathError{Op: "read", Path: d.path(name), Err: why}
	}
	var b bytes.Buffer
	b.Grow(int(info.Size()) + bytes.MinRead)
	_, err = b.ReadFrom(io.LimitReader(f, maxSize))
	return b.Bytes(), err
}

func (d disk) Open(name string) (io.ReadCloser, error) {
	f, err := OpenToRead(d.path(name))
	if err != nil {
		return nil, err // and no File that is nil
	}
	return f, nil
}

func (d disk) Write(name string, content Content) error { return Write(d.path(name), content) }

// Stamp is a version of a file. Files are replaced and never rewritten, so each version is another
// inode; and any change to one all the same changes one of the times.
type Stamp struct {
	Inode             uint64
	Size              int64
	Modified, Changed int64 // nanoseconds since 1970
}

// IsZero reports whether it is that of no file.
func (s Stamp) IsZero() bool { return s == Stamp{} }

func (d disk) Size(name string) (int64, error) {
	s, err := d.Stamp(name)
	return s.Size, err
}

func (d disk) Stamp(name string) (Stamp, error) {
	f, err := openFolder(string(d))
	if err != nil {
		return Stamp{}, err
	}
	defer f.close()
	var s unix.Stat_t
	if err := unix.Fstatat(f.fd, name, &s, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return Stamp{}, f.fail("stat", name, err)
	}
	return Stamp{s.Ino, s.Size, s.Mtim.Nano(), s.Ctim.Nano()}, nil
}

func (d disk) Sync() error {
	f, err := openFolder(string(d))
	if err != nil {
		return err
	}
	defer f.close()
	return f.sync()
}

func (d disk) Rename(from, to string) error {
	f, err := openFolder(string(d))
	if err != nil {
		return err
	}
	defer f.close()
	if err := unix.Renameat(f.fd, from, f.fd, to); err != nil {
		return f.fail("rename", from, err)
	}
	return nil
}

func (d disk) Remove(name string) error {
	f, err := openFolder(string(d))
	if err != nil {
		return err
	}
	defer f.close()
	return f.remove(name)
}

// Seal puts a body's checksum before it, on a line of its own: what Unseal takes off. The error is
// the body's.
func Seal(body Content) (Content, error) {
	sum := sha256.New()
	if err := body(sum); err != nil {
		return nil, err
	}
	line := checksum(sum.Sum(nil)) + "\n"
	return func(w io.Writer) error {
		if _, err := io.WriteString(w, line); err != nil {
			return err
		}
		return body(w)
	}, nil
}

// Holds reports whether a file is what Seal makes of a body that begins with a line and goes on
// with content, and returns that line. It reads piece by piece, and is true only if every bit of
// the file is right.
func Holds(file io.Reader, content Content) (line []byte, ok bool, err error) {
	in := bufio.NewReaderSize(file, 64<<10)
	sum, err := in.ReadString('\n')
	if err != nil {
		return nil, false, err
	}
	if line, err = in.ReadBytes('\n'); err != nil {
		return nil, false, err
	}
	hash := sha256.New()
	hash.Write(line)
	if err := content(io.MultiWriter(hash, &expecting{in: in})); errors.Is(err, errDiffers) {
		return line, false, nil
	} else if err != nil {
		return line, false, err
	}
	_, err = in.ReadByte()
	return line, err == io.EOF && sum == checksum(hash.Sum(nil))+"\n", nil
}

// expecting fails with errDiffers unless what is written to it is what comes from in.
type expecting struct {
	in     io.Reader
	buffer []byte
}

var errDiffers = errors.New("the content differs")

func (e *expecting) Write(b []byte) (int, error) {
	if len(e.buffer) < len(b) {
		e.buffer = make([]byte, len(b))
	}
	got := e.buffer[:len(b)]
	if _, err := io.ReadFull(e.in, got); err == io.EOF || err == io.ErrUnexpectedEOF {
		return 0, errDiffers
	} else if err != nil {
		return 0, err
	}
	if !bytes.Equal(got, b) {
		return 0, errDiffers
	}
	return len(b), nil
}

// SealBytes is what Seal makes of a short body.
func SealBytes(body []byte) []byte {
	var b bytes.Buffer
	content, _ := Seal(Bytes(body)) // bytes, a hash and a buffer never fail
	_ = content(&b)
	return b.Bytes()
}

// Unseal returns the body of what Seal made; false if a bit of it is another.
func Unseal(content []byte) (body []byte, ok bool) {
	line, body, found := bytes.Cut(content, []byte("\n"))
	sum := sha256.Sum256(body)
	return body, found && string(line) == checksum(sum[:])
}

func checksum(sum []byte) string { return "sha256:" + hex.EncodeToString(sum) }
