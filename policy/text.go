package policy

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
)

// file is one file of a policy as it was read.
type file struct {
	Path    string `json:"path"`
	Content []byte `json:"content"`
	DropIn  bool   `json:"drop_in,omitempty"`
	named   string // the path as it was given; "" if the file was not read from disk
}

// newFile stores a file under its absolute path, so that relative paths in it keep their meaning.
func newFile(f policyFile, content []byte) file {
	path := f.path
	if whole, err := filepath.Abs(path); err == nil {
		path = whole
	}
	return file{path, content, f.shape.words == dropInShape.words, f.path}
}

// FirstFile is the first file of the policy, as it was named.
func (p *Policy) FirstFile() string {
	if len(p.files) == 0 {
		return p.Origin
	}
	if named := p.files[0].named; named != "" {
		return named
	}
	return p.files[0].Path
}

// Text returns the files of a policy that Read has read, for ReadText. Policies with equal Text are
// equal; the content of external networks is not part of it.
func (p *Policy) Text() []byte {
	text, _ := json.Marshal(p.files) // bytes and strings always encode
	return text
}

// ReadText reads a policy from its Text, whatever its files contain by now.
func ReadText(text []byte) (*Policy, error) {
	var files []file
	if err := json.Unmarshal(text, &files); err != nil {
		return nil, fmt.Errorf("the policy's text can't be understood: %w", err)
	}
	d := newDecoder()
	var origins []string
	for _, f := range files {
		shape := policyShape
		if f.DropIn {
			shape = dropInShape
		}
		origins = append(origins, f.Path)
		d.file(f.Path, f.Content, shape)
	}
	d.policy.files = files
	return d.finish(strings.Join(origins, ", "))
}

// AsNamed is a problem that ReadText, or a Compile after it, has found, with the file named as it
// was for Read.
func (p *Policy) AsNamed(x Problem) Problem {
	for _, f := range p.files {
		if f.Path == x.File && f.named != "" {
			x.File = f.named
		}
	}
	return x
}
