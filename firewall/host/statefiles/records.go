package statefiles

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// Records is a folder of sealed files, a record each: the history's generations, and leases. A file
// is named by its record's ID and what it is ("000001.generation"). Whatever else stands in the
// folder is named in errors and hides no record.
type Records struct {
	Folder
	Path string // of the folder, for messages
	// Kind is what a record is, and the ending of its file's name.
	Kind string
	// IsID reports whether a text can be the ID of a record.
	IsID func(string) bool
	// MaxSize bounds a file; 0 is no bound but that of all state files.
	MaxSize int
	// Beside are the endings of other files that belong into the folder.
	Beside []string
}

// DamagedError says why the content of a file is not what was written.
type DamagedError string

func (e DamagedError) Error() string { return string(e) }

// File is the name of a record's file in the folder, and PathOf that file's path.
func (r Records) File(id string) string   { return id + "." + r.Kind }
func (r Records) PathOf(id string) string { return filepath.Join(r.Path, r.File(id)) }

// IDs lists the records, readable or not, in order of their names. foreign has an error for each
// file that does not belong here; leftovers of a crash begin with a dot and are passed over. In a
// folder that isn't there are no records.
func (r Records) IDs() (ids []string, foreign []error, err error) {
	entries, err := r.List()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		name := e.Name()
		id, ending, _ := strings.Cut(name, ".")
		switch {
		case id == "" || slices.Contains(r.Beside, ending):
		case ending == r.Kind && r.IsID(id) && e.Type().IsRegular():
			ids = append(ids, id)
		default:
			err := fmt.Errorf("%s is no %s: move it away", filepath.Join(r.Path, name), r.Kind)
			foreign = append(foreign, err)
		}
	}
	return ids, foreign, nil
}

// Body reads a record. The error is a DamagedError, or wraps fs.ErrNotExist if there is none, or
// another one of reading.
func (r Records) Body(id string) ([]byte, error) {
	content, err := r.Read(r.File(id))
	if err != nil {
		return nil, err
	}
	if r.MaxSize > 0 && len(content) > r.MaxSize {
		return nil, DamagedError(fmt.Sprintf("it has %d bytes", len(content)))
	}
	body, whole := Unseal(content)
	if !whole {
		return nil, DamagedError("its checksum is wrong")
	}
	return body, nil
}
