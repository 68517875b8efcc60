package policy

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// DefaultPath is the folder that holds the policy of a host.
const DefaultPath = "/etc/portgrave"

//go:embed default.yaml
var defaultYAML []byte

//go:embed example.yaml
var exampleYAML []byte

// ExampleYAML is a policy that shows most of the language, for the manual.
func ExampleYAML() []byte { return slices.Clone(exampleYAML) }

// DefaultYAML is the policy in force where there is none: port 9090 open to private networks, nothing else touched.
func DefaultYAML() []byte { return slices.Clone(defaultYAML) }

// Options say what to read.
type Options struct {
	// Path is a policy file, or a folder with policy.yaml and policy.d/*.yaml; "" means
	// DefaultPath, and the embedded default if nothing is there.
	Path string
	// Foretold hears how many bytes the files hold together, before they are understood; nil ignores it.
	Foretold func(bytes int64)
}

// Read reads and checks a policy. The error is Problems, every mistake of every file, or says
// which file can't be read and why. Networks that live outside the policy files are left to Compile.
func Read(opts Options) (*Policy, error) {
	d, origin, err := decode(opts)
	if err != nil {
		return nil, err
	}
	return d.finish(origin)
}

// decode reads the files of a policy, and tells where it came from. What is wrong in them stands in the decoder; the error says that it is unknown which
// files there are.
func decode(opts Options) (d *decoder, origin string, err error) {
	path, optional := opts.Path, false
	if path == "" {
		path, optional = DefaultPath, true
	}
	files, err := policyFiles(path, optional)
	if err != nil {
		return nil, "", err
	}
	d = newDecoder()
	if len(files) == 0 {
		origin = "embedded default"
		d.file(origin, DefaultYAML(), policyShape)
		d.policy.files = []file{{Path: origin, Content: DefaultYAML()}}
		return d, origin, nil
	}
	if opts.Foretold != nil {
		bytes := int64(0)
		for _, f := range files {
			if info, err := os.Stat(f.path); err == nil {
				bytes += min(info.Size(), maxFileBytes)
			}
		}
		opts.Foretold(bytes)
	}
	var origins []string
	for _, f := range files {
		origins = append(origins, f.path)
		content, err := readOwned(f.path, maxFileBytes)
		if err != nil {
			d.report.at(Location{File: f.path}, "%v", err)
			d.incomplete = true
			continue
		}
		d.file(f.path, content, f.shape)
		d.policy.files = append(d.policy.files, textOf(f, content))
	}
	return d, strings.Join(origins, ", "), nil
}

// Parse reads and checks one policy document that is in memory already; name stands for its file in
// messages, and relative paths in it start from name's folder.
func Parse(name string, content []byte) (*Policy, error) {
	d := newDecoder()
	d.file(name, content, policyShape)
	d.policy.files = []file{textOf(policyFile{name, policyShape}, content)}
	return d.finish(name)
}

type policyFile struct {
	path  string
	shape mapping
}

// policyFiles finds what to read, in order. With optional, nothing to read is no mistake.
func policyFiles(path string, optional bool) ([]policyFile, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && optional:
		return nil, nil
	case err != nil:
		return nil, Problems{{File: path, Message: plain(err)}}
	case !info.IsDir():
		return []policyFile{{path, policyShape}}, replaceable(filepath.Dir(path))
	}
	var files []policyFile
	var r reporter
	for _, dir := range []struct {
		path  string
		shape mapping
		takes func(name string) bool
	}{
		{path, policyShape, func(name string) bool { return name == "policy.yaml" || name == "policy.yml" }},
		{filepath.Join(path, "policy.d"), dropInShape, func(name string) bool { return name[0] != '.' }}, // editors leave hidden files
	} {
		found, err := filesIn(dir.path, dir.shape, dir.takes)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			r.at(Location{File: dir.path}, "%s", plain(err))
		}
		for _, f := range found {
			if strings.HasSuffix(f.path, ".yml") {
				r.at(Location{File: f.path}, "policy files end in .yaml, so this one would not be read; rename it")
			}
		}
		files = append(files, found...)
	}
	if len(files) == 0 && len(r.list) == 0 && !optional {
		r.at(Location{File: path}, "the folder holds neither policy.yaml nor policy.d/*.yaml")
	}
	return files, r.problems()
}

// filesIn lists, in name order, the files of one folder that may be policy files.
func filesIn(dir string, s mapping, takes func(name string) bool) ([]policyFile, error) {
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
	return files, owned(info, dir)
}

// plain is an error in words, without the path that the caller prints anyway.
func plain(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return "can't be read: " + p.Err.Error()
	}
	return err.Error()
}

// readOwned reads a regular file that only root, or the user who reads it, may write: limit bytes of it, and one more if there are more.
func readOwned(path string, limit int64) ([]byte, error) {
	f, err := openOwned(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, errors.New(plain(err))
	}
	return content, nil
}

// openOwned opens such a file.
func openOwned(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not make us wait
	if err != nil {
		return nil, errors.New(plain(err))
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("is not a regular file")
	}
	if err == nil {
		err = owned(info, path)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// replaceable refuses a folder in which anybody may put another file in the place of ours. The
// sticky bit (as on /tmp) prevents that.
func replaceable(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return Problems{{File: dir, Message: plain(err)}}
	}
	if info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return Problems{{File: dir, Message: "everybody may write this folder, and so replace the policy in it; run: chmod o-w " + dir}}
	}
	return nil
}

// owned refuses what others than root and the reading user may change: whoever can write the
// policy can open every port. A sticky folder (like /tmp) keeps others from replacing our files,
// so it may be writable; on a file the sticky bit means nothing.
func owned(info fs.FileInfo, path string) error {
	if info.Mode().Perm()&0o022 != 0 && !(info.IsDir() && info.Mode()&fs.ModeSticky != 0) {
		return fmt.Errorf("others than its owner may write it (mode %04o), so anybody could open ports; run: chmod go-w %s", info.Mode().Perm(), path)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to user %d, who could open ports with it; run: chown root %s", stat.Uid, path)
	}
	return nil
}
