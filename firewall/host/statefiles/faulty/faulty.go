// Package faulty makes single operations of a statefiles.Folder fail. It is imported by tests only.
package faulty

import (
	"bytes"
	"errors"
	"io"
	"io/fs"

	"github.com/portgrave/portgrave/firewall/host/statefiles"
)

// Err is what fails with.
var Err = errors.New("the disk is on fire")

// Folder is one in which an operation fails: "make", "list", "read", "write" (half a file beside
// the name), "rename" (all of it, but not under its name), "after" (written, and yet reported),
// "sync" or "remove".
type Folder struct {
	statefiles.Folder
	Operation string
	// Remains: removing fails besides.
	Remains bool
}

func (f Folder) Make() error {
	if f.Operation == "make" {
		return Err
	}
	return f.Folder.Make()
}

func (f Folder) List() ([]fs.DirEntry, error) {
	if f.Operation == "list" {
		return nil, Err
	}
	return f.Folder.List()
}

func (f Folder) Read(name string) ([]byte, error) {
	if f.Operation == "read" {
		return nil, Err
	}
	return f.Folder.Read(name)
}

func (f Folder) Open(name string) (io.ReadCloser, error) {
	if f.Operation == "read" {
		return nil, Err
	}
	return f.Folder.Open(name)
}

func (f Folder) Write(name string, content statefiles.Content) error {
	switch f.Operation {
	case "write":
		var all bytes.Buffer
		if err := content(&all); err != nil {
			return err
		}
		return errors.Join(
			Err,
			f.Folder.Write("."+name+"123", statefiles.Bytes(all.Bytes()[:all.Len()/2])),
		)
	case "rename":
		return errors.Join(Err, f.Folder.Write("."+name+"456", content))
	case "after":
		return errors.Join(Err, f.Folder.Write(name, content))
	}
	return f.Folder.Write(name, content)
}

func (f Folder) Sync() error {
	if f.Operation == "sync" {
		return Err
	}
	return f.Folder.Sync()
}

func (f Folder) Remove(name string) error {
	if f.Operation == "remove" || f.Remains {
		return Err
	}
	return f.Folder.Remove(name)
}

// Rename fails with "withdraw", and with "remove".
func (f Folder) Rename(from, to string) error {
	if f.Operation == "withdraw" || f.Operation == "remove" || f.Remains {
		return Err
	}
	return f.Folder.Rename(from, to)
}
