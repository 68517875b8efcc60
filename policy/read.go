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

// DefaultYAML is the policy in force where there is none: port 9090 open to private networks, nothing else touched.
func DefaultYAML() []byte { return slices.Clone(defaultYAML) }

// Options say what to read.
type Options struct {
	// Path is a policy file, or a folder with policy.yaml and policy.d/*.yaml; "" means
	// DefaultPath, and the embedded default if nothing is there.
	Path string
}

// Read reads and checks a policy. The error is Problems, every mistake of every file, or says
// which file can't be read and why. Networks that live outside the policy files are left to Compile.
func Read(opts Options) (*Policy, error) {
	files, err := policyFiles(opts)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return Parse("embedded default", DefaultYAML())
	}
	d := newDecoder()
	var origins []string
	for _, f := range files {
		origins = append(origins, f.path)
		content, err := readOwned(f.path, maxFileBytes)
		if err != nil {
			d.report.at(Location{File: f.path}, "%v", err)
			continue
		}
		d.file(f.path, content, f.shape)
	}
	return d.finish(strings.Join(origins, ", "))
}

// Parse reads and checks one policy document that is in memory already; name stands for its file in
// messages, and relative paths in it start from name's folder.
func Parse(name string, content []byte) (*Policy, error) {
	d := newDecoder()
	d.file(name, content, policyShape)
	return d.finish(name)
}

type policyFile struct {
	path  string
	shape mapping
}

func policyFiles(opts Options) ([]policyFile, error) {
	path := opts.Path
	if path == "" {
		path = DefaultPath
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && opts.Path == "":
		return nil, nil
	case err != nil:
		return nil, Problems{{File: path, Message: "can't be read: " + plain(err)}}
	case !info.IsDir():
		return []policyFile{{path, policyShape}}, nil
	}
	var files []policyFile
	main := filepath.Join(path, "policy.yaml")
	if _, err := os.Lstat(main); err == nil {
		files = append(files, policyFile{main, policyShape})
	}
	dropIns, err := filepath.Glob(filepath.Join(globQuote(path), "policy.d", "*.yaml")) // in name order
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, f := range dropIns {
		files = append(files, policyFile{f, dropInShape})
	}
	if len(files) == 0 && opts.Path != "" {
		return nil, Problems{{File: path, Message: "the folder holds neither policy.yaml nor policy.d/*.yaml"}}
	}
	for _, dir := range []string{path, filepath.Join(path, "policy.d")} {
		if err := checkOwned(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, Problems{{File: dir, Message: err.Error()}}
		}
	}
	return files, nil
}

// globQuote makes a path match itself in a glob pattern.
func globQuote(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// plain is an error without the path that the caller prints anyway.
func plain(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// readOwned reads a regular file that only root, or the user who reads it, may write.
func readOwned(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not make us wait
	if err != nil {
		return nil, errors.New("can't be read: " + plain(err))
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	if err := owned(info, path); err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, errors.New("can't be read: " + plain(err))
	}
	return content, nil
}

func checkOwned(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return owned(info, path)
}

// owned refuses what others than root and the reading user may change: whoever can write the
// policy can open every port. A sticky folder (like /tmp) keeps others from replacing our files.
func owned(info fs.FileInfo, path string) error {
	if info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("others than its owner may write it (mode %04o), so anybody could open ports; run: chmod go-w %s", info.Mode().Perm(), path)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to user %d, who could open ports; run: chown root %s", stat.Uid, path)
	}
	return nil
}
