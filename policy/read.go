package policy

import (
	"context"
	_ "embed"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// DefaultPath is the folder that holds the policy of a host.
const DefaultPath = "/etc/portgrave"

//go:embed default.yaml
var defaultYAML []byte

//go:embed example.yaml
var exampleYAML []byte

// EmbeddedOrigin is the Policy.Origin of the policy that applies if nobody wrote one.
const EmbeddedOrigin = "embedded default"

// ExampleYAML is a policy that shows most of the language, for the manual.
func ExampleYAML() []byte { return slices.Clone(exampleYAML) }

// DefaultYAML is the policy in force on a host without a policy: port 9090 is open to private
// networks, and nothing else is touched.
func DefaultYAML() []byte { return slices.Clone(defaultYAML) }

// Options says which policy to read, and how.
type Options struct {
	// Path is a policy file, or a folder with policy.yaml and policy.d/*.yaml; "" means
	// DefaultPath, and the embedded default if nothing is there.
	Path string
	// Files says how to read the files.
	Files Files
}

// Read reads and checks a policy. The error is either Problems, with every mistake of every file,
// or names the file that can't be read and why. Read leaves external networks to Compile.
func Read(opts Options) (*Policy, error) {
	d, origin, err := decode(opts)
	if err != nil {
		return nil, err
	}
	return d.finish(origin)
}

// decode reads the files of a policy, and also returns their names. The decoder holds the mistakes
// in the files; decode returns an error only if it can't list the files.
func decode(opts Options) (d *decoder, origin string, err error) {
	path, optional := opts.Path, false
	if path == "" {
		path, optional = DefaultPath, true
	}
	files, err := opts.Files.policyFiles(path, optional)
	if err != nil {
		return nil, "", err
	}
	d = newDecoder()
	if len(files) == 0 {
		origin = EmbeddedOrigin
		d.file(origin, DefaultYAML(), policyShape)
		d.policy.files = []file{{Path: origin, Content: DefaultYAML()}}
		return d, origin, nil
	}
	var origins []string
	for _, f := range files {
		origins = append(origins, f.path)
		content, err := opts.Files.content(f.path, maxFileBytes)
		if err != nil {
			d.report.unreadable(Location{File: f.path}, err)
			d.incomplete = true
			continue
		}
		d.file(f.path, content, f.shape)
		d.policy.files = append(d.policy.files, newFile(f, content))
	}
	return d, strings.Join(origins, ", "), nil
}

// Parse reads and checks one policy document that is in memory already. Messages use name as the
// document's file, and relative paths in the document start from the folder of name.
func Parse(name string, content []byte) (*Policy, error) {
	d := newDecoder()
	d.file(name, content, policyShape)
	d.policy.files = []file{newFile(policyFile{name, policyShape}, content)}
	return d.finish(name)
}

type policyFile struct {
	path  string
	shape mapping
}

// policyFiles lists the files to read, in order. If optional, finding none is not an error.
func (r Files) policyFiles(path string, optional bool) ([]policyFile, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && optional:
		return nil, nil
	case err != nil:
		return nil, Problems{{File: path, Message: withoutPath(err), fault: isFault(err)}}
	case !info.IsDir():
		dir := filepath.Dir(path)
		if err := r.permit(dir, refuseReplaceable(dir)); err != nil {
			return nil, Problems{{File: dir, Message: err.Error()}}
		}
		return []policyFile{{path, policyShape}}, nil
	}
	var files []policyFile
	var found reporter
	for _, dir := range []struct {
		path  string
		shape mapping
		takes func(name string) bool
	}{
		{path, policyShape, func(name string) bool {
			return name == "policy.yaml" || name == "policy.yml"
		}},
		{filepath.Join(path, "policy.d"), dropInShape, func(name string) bool {
			return name[0] != '.' // editors leave hidden files
		}},
	} {
		in, err := r.filesIn(dir.path, dir.shape, dir.takes)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			found.unreadable(Location{File: dir.path}, err)
		}
		for _, f := range in {
			if strings.HasSuffix(f.path, ".yml") {
				found.at(
					Location{File: f.path},
					"policy files end in .yaml, so this one would not be read; rename it",
				)
			}
		}
		files = append(files, in...)
	}
	if len(files) == 0 && len(found.list) == 0 && !optional {
		found.at(Location{File: path}, "the folder holds neither policy.yaml nor policy.d/*.yaml")
	}
	return files, found.problems()
}

// filesIn lists the possible policy files of one folder, in name order.
func (r Files) filesIn(dir string, s mapping, takes func(name string) bool) ([]policyFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	var files []policyFile
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); takes(e.Name()) && (ext == ".yaml" || ext == ".yml") {
			files = append(files, policyFile{filepath.Join(dir, e.Name()), s})
		}
	}
	return files, r.permit(dir, refuseForeignWriters(info, dir))
}

// content reads one policy file. It returns at most limit+1 bytes, so that the caller notices a
// longer file.
func (r Files) content(path string, limit int64) (content []byte, err error) {
	err = r.read(context.Background(), path, trustLinks, func(f wholeFile) error {
		var err error
		if content, err = io.ReadAll(io.LimitReader(f, limit+1)); err != nil {
			return pathless{err}
		}
		return nil
	})
	return content, err
}

// ReadFrom reads and checks one policy document from a stream, such as standard input. Messages use
// name as the document's file, and relative paths in it start from the current folder.
func ReadFrom(r io.Reader, name string) (*Policy, error) {
	content, err := io.ReadAll(io.LimitReader(r, maxFileBytes+1))
	if err != nil {
		return nil, Problems{{File: name, Message: withoutPath(err), fault: isFault(err)}}
	}
	return Parse(name, content)
}
