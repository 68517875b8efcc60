package statefiles

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"
)

// A file is written under a name of its own beside its target. A writer that is killed leaves
// it there, and it may have megabytes. So its writer locks it as long as he lives, and what nobody
// has locked is a leftover: the next Write in the folder removes it.

// temporaryName is a dot, the name of the target, which has an ending, and a number.
var temporaryName = regexp.MustCompile(`^\..+\.[a-z]+[0-9]+$`)

// temporary makes a file beside a name, locked until it is closed.
func (f folder) temporary(target string) (*os.File, string, error) {
	for range 100 {
		name := fmt.Sprintf(".%s%d", target, rand.Uint32())
		file, err := f.openRegular(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		var s unix.Stat_t
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			err = unix.Fstat(int(file.Fd()), &s)
		}
		if err == nil && s.Nlink > 0 {
			return file, name, nil
		}
		_ = file.Close() // somebody cleaned up before it was locked
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, "", f.fail("lock", name, errors.Join(err, f.remove(name)))
		}
	}
	return nil, "", f.fail("open", target, fs.ErrExist)
}

// clean removes the leftovers in a folder. What can't be removed does no harm; it is tried again.
func (f folder) clean() {
	entries, err := f.list()
	if err != nil {
		return
	}
	for _, e := range entries {
		if !temporaryName.MatchString(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		file, err := f.openRegular(e.Name(), os.O_RDONLY, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = f.remove(e.Name())
		}
		_ = file.Close()
	}
}

// Clean removes what killed processes have left in a folder and in those below it.
func Clean(path string) {
	f, err := openFolder(path)
	if err != nil {
		return
	}
	defer f.close()
	f.clean()
	entries, _ := f.list()
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if below, err := openFolder(filepath.Join(path, e.Name())); err == nil {
			below.clean()
			below.close()
		}
	}
}
