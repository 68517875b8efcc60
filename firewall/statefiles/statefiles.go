// Package statefiles keeps small files of state in a folder so that neither a crash nor a bad disk makes them lie: each is
// written beside its name, synced and renamed into place, and carries a checksum of its content.
//
// It knows nothing of what the files mean; firewall/history and firewall/lease do. It never removes a file by itself.
package statefiles

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
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
	// Size is how long a file is.
	Size(name string) (int64, error)
	// Write makes a file whole or not at all.
	Write(name string, content []byte) error
	// Sync makes names, and their absence, survive a power cut.
	Sync() error
	Remove(name string) error
}

// At is the folder at a path. Files are readable for the folder's owner alone.
func At(path string) Folder { return disk(path) }

type disk string

func (d disk) path(name string) string { return filepath.Join(string(d), name) }

func (d disk) Make() error { return MakeAll(string(d), 0o700) }

func (d disk) List() ([]fs.DirEntry, error) { return os.ReadDir(string(d)) }

func (d disk) Read(name string) ([]byte, error) { return os.ReadFile(d.path(name)) }

func (d disk) Write(name string, content []byte) error { return Write(d.path(name), content) }

func (d disk) Size(name string) (int64, error) {
	info, err := os.Stat(d.path(name))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (d disk) Sync() error { return syncFolder(string(d)) }

func (d disk) Remove(name string) error { return os.Remove(d.path(name)) }

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Seal puts a body's checksum before it, on a line of its own: what Unseal takes off.
func Seal(body []byte) []byte { return append([]byte(checksum(body)+"\n"), body...) }

// Unseal returns the body of what Seal made; false if a bit of it is another.
func Unseal(content []byte) (body []byte, ok bool) {
	sum, body, found := bytes.Cut(content, []byte("\n"))
	return body, found && string(sum) == checksum(body)
}

func checksum(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
