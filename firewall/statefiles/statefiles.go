// Package statefiles keeps small files of state in a folder so that neither a crash nor a bad disk makes them lie: each is
// written beside its name, synced and renamed into place, and carries a checksum of its content.
//
// It knows nothing of what the files mean; firewall/history and firewall/lease do. It never removes a file by itself.
package statefiles

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Folder is what a store asks of the file system; tests make single operations fail (package faulty).
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
	// Write makes a file whole or not at all.
	Write(name string, content Content) error
	// Sync makes names, and their absence, survive a power cut.
	Sync() error
	Remove(name string) error
	// Rename gives a file another name, which needs no room.
	Rename(from, to string) error
}

// Content writes what shall stand in a file, a piece at a time if it is long. Asked twice, it writes the same twice.
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

func (d disk) path(name string) string { return filepath.Join(string(d), name) }

func (d disk) Make() error { return MakeAll(string(d), 0o700) }

func (d disk) List() ([]fs.DirEntry, error) { return os.ReadDir(string(d)) }

func (d disk) Read(name string) ([]byte, error) { return os.ReadFile(d.path(name)) }

func (d disk) Open(name string) (io.ReadCloser, error) { return os.Open(d.path(name)) }

func (d disk) Write(name string, content Content) error { return Write(d.path(name), content) }

func (d disk) Size(name string) (int64, error) {
	info, err := os.Stat(d.path(name))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (d disk) Sync() error { return syncFolder(string(d)) }

func (d disk) Remove(name string) error { return os.Remove(d.path(name)) }

func (d disk) Rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Seal puts a body's checksum before it, on a line of its own: what Unseal takes off. The error is the body's.
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

// Holds reports whether a file is what Seal makes of a body that begins with a line and goes on with content, and returns that line. It
// reads piece by piece, and is true only if every bit of the file is right.
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
