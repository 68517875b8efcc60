package lease

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// folder is what a Store asks of the file system; tests make single operations fail.
type folder interface {
	// make makes the folder, if it is missing, to stay.
	make() error
	// list returns the entries, ordered by name; a folder that is missing is fs.ErrNotExist.
	list() ([]fs.DirEntry, error)
	read(name string) ([]byte, error)
	// write makes a file whole or not at all: written beside the name, synced, renamed.
	write(name string, content []byte) error
	// sync makes names, and their absence, survive a power cut.
	sync() error
	remove(name string) error
}

// disk is the folder at a path. Files are readable for their owner alone.
type disk string

func (d disk) path(name string) string { return filepath.Join(string(d), name) }

func (d disk) make() error {
	if _, err := os.Stat(string(d)); err == nil {
		return nil
	}
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(string(d)))
}

func (d disk) list() ([]fs.DirEntry, error) { return os.ReadDir(string(d)) }

func (d disk) read(name string) ([]byte, error) { return os.ReadFile(d.path(name)) }

func (d disk) write(name string, content []byte) error {
	// The temporary file stands beside its target and begins with a dot: what a crash leaves
	// of it is no lease.
	return renameio.WriteFile(d.path(name), content, 0o600, renameio.WithTempDir(string(d)), renameio.WithStaticPermissions(0o600))
}

func (d disk) sync() error { return syncFolder(string(d)) }

func (d disk) remove(name string) error { return os.Remove(d.path(name)) }

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
