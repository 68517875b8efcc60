package policy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// makeFolder makes a policy folder. The names may have one folder in them.
func makeFolder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, path, content)
	}
	return dir
}

// problemsOf reads a path with mistakes, and returns the problems without the folder's name.
func problemsOf(t *testing.T, dir, path string) string {
	t.Helper()
	p, err := Read(Options{Path: path})
	var problems Problems
	if p != nil || !errors.As(err, &problems) {
		t.Fatalf("read %+v, error %v", p, err)
	}
	return strings.ReplaceAll(err.Error(), dir, "DIR")
}

func TestReadFolder(t *testing.T) {
	dir := makeFolder(t, map[string]string{
		"policy.yaml":             "version: 1\nunlisted: deny\nnetworks: {office: [203.0.113.0/24, branch]}\n",
		"policy.d/20-web.yaml":    "version: 1\nservices:\n  - {name: web, port: 443, allow: [office]}\ntests:\n  - {from: 198.51.100.1, to: web, expect: allow}\n",
		"policy.d/10-branch.yaml": "networks: {branch: [198.51.100.0/24], files: {file: lists/a.txt}}\n",
		"policy.d/.hidden.yaml":   "nonsense",
		"policy.d/notes.txt":      "nonsense",
	})
	p, err := Read(Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	expect(
		t,
		"origin",
		strings.ReplaceAll(p.Origin, dir, "DIR"),
		"DIR/policy.yaml, DIR/policy.d/10-branch.yaml, DIR/policy.d/20-web.yaml",
	)
	expect(t, "file", p.networks["files"].file, filepath.Join(dir, "policy.d/lists/a.txt"))
	c, err := p.Compile(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r := c.RunTests(testClock()); len(r) != 1 || !r[0].OK {
		t.Errorf("tests: %+v", r)
	}
}

func TestReadDropInsAlone(t *testing.T) {
	dir := makeFolder(t, map[string]string{"policy.d/a.yaml": "services: [{name: web}]\n"})
	if _, err := Read(Options{Path: dir}); err != nil {
		t.Fatal(err)
	}
}

// TestReadReportsAllMistakes checks that mistakes of all files are reported together, by location.
func TestReadReportsAllMistakes(t *testing.T) {
	dir := makeFolder(t, map[string]string{
		"policy.yaml":       "version: 1\nnetworks: {a: [10.0.0.1/8]}\nservices:\n  - {name: web, port: 443}\n",
		"policy.d/1.yaml":   "boot: open\nnetworks: {a: []}\nservices:\n  - {name: web, port: 80}\n",
		"policy.d/2.yaml":   "version: 3\nservices:\n  - {name: other, port: 443, allow: [b]}\n",
		"policy.d/3.yaml":   "unlistd: deny\n",
		"policy.d/4.yml":    "version: 1\n",
		"policy.d/5.yaml/x": "",
	})
	expect(
		t,
		"problems",
		problemsOf(t, dir, dir),
		"DIR/policy.d/4.yml: policy files end in .yaml, so this one would not be read; rename it",
	)
	os.Remove(filepath.Join(dir, "policy.d/4.yml"))
	expect(t, "problems", problemsOf(t, dir, dir), strings.Join([]string{
		`DIR/policy.d/1.yaml:1:1: "boot" holds for the whole host, so it belongs in policy.yaml, not in a drop-in`,
		`DIR/policy.d/1.yaml:2:12: network "a" is defined twice, first at DIR/policy.yaml:2:12`,
		`DIR/policy.d/1.yaml:4:12: service "web" is defined twice, first at DIR/policy.yaml:4:12`,
		`DIR/policy.d/2.yaml:1:10: 3 is not 1, the version of the language`,
		`DIR/policy.d/2.yaml:3:25: service "other" claims tcp/443, which service "web" claims too (DIR/policy.yaml:4:23); give each its own interfaces or addresses`,
		`DIR/policy.d/3.yaml:1:1: unknown key "unlistd" in a drop-in (did you mean "unlisted"?); known are version, networks, services, tests, accept`,
		`DIR/policy.d/5.yaml: is not a regular file`,
		`DIR/policy.yaml:2:16: "10.0.0.1/8" has host bits set; write 10.0.0.0/8 for the network, or 10.0.0.1 for the one address`,
	}, "\n"))
}

func TestReadNothing(t *testing.T) {
	dir := t.TempDir()
	expect(
		t,
		"problems",
		problemsOf(t, dir, filepath.Join(dir, "x")),
		"DIR/x: can't be read: no such file or directory",
	)
	expect(
		t,
		"problems",
		problemsOf(t, dir, dir),
		"DIR: the folder holds neither policy.yaml nor policy.d/*.yaml",
	)
	for _, path := range []string{dir, filepath.Join(dir, "absent")} {
		files, err := Files{}.policyFiles(path, true)
		if err != nil || len(files) != 0 {
			t.Errorf("%s: %v, %v", path, files, err)
		}
	}
	if err := os.Symlink("/nowhere", filepath.Join(dir, "policy.yaml")); err != nil {
		t.Fatal(err)
	}
	expect(
		t,
		"problems",
		problemsOf(t, dir, dir),
		"DIR/policy.yaml: can't be read: no such file or directory",
	)
}

func TestReadUnusualFiles(t *testing.T) {
	dir := makeFolder(t, nil)
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, "problems", problemsOf(t, dir, fifo), "DIR/fifo: is not a regular file")
	expect(t, "problems", problemsOf(t, dir, "/dev/zero"), "/dev/zero: is not a regular file")
	for name, c := range map[string]struct{ content, message string }{
		"nul":    {"version: 1\x00\n", "this is not text: a policy is YAML in UTF-8"},
		"latin":  {"version: 1 # \xe9t\xe9\n", "this is not text: a policy is YAML in UTF-8"},
		"utf-16": {"\xff\xfev\x00e\x00", "this is not text: a policy is YAML in UTF-8"},
		"elf":    {"\x7fELF\x02\x01\x01", "this is not text: a policy is YAML in UTF-8"},
		"large":  {"version: 1\n#" + strings.Repeat("x", maxFileBytes), "the file is larger than 10 MiB; put long lists of networks into network files"},
		"many":   {"version: 1\nnetworks: {a: [" + strings.Repeat("1,", maxMarks), "the file has too many values; put long lists of networks into network files"},
	} {
		path := filepath.Join(dir, name)
		write(t, path, c.content)
		expect(t, name, problemsOf(t, dir, path), "DIR/"+name+": "+c.message)
	}
	path := filepath.Join(dir, "bom")
	write(t, path, "\xef\xbb\xbfversion: 1\n")
	if _, err := Read(Options{Path: path}); err != nil {
		t.Error(err)
	}
}

// TestWritablePoliciesAreRefused: anyone who can change the policy can open every port.
func TestWritablePoliciesAreRefused(t *testing.T) {
	dir := makeFolder(
		t,
		map[string]string{"policy.yaml": "version: 1\n", "policy.d/a.yaml": "version: 1\n"},
	)
	main, dropIn := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "policy.d/a.yaml")
	chmod := func(path string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	const writable = "others than its owner may write it (mode %s), so anybody could open ports; run: chmod go-w "
	for _, c := range []struct {
		path       string
		bad, good  os.FileMode
		mode, name string
	}{
		{main, 0o646, 0o644, "0646", "DIR/policy.yaml"},
		{main, 0o664, 0o644, "0664", "DIR/policy.yaml"},
		{main, 0o666 | os.ModeSticky, 0o644, "0666", "DIR/policy.yaml"},
		{dropIn, 0o602, 0o600, "0602", "DIR/policy.d/a.yaml"},
		{dir, 0o777, 0o755, "0777", "DIR"},
		{filepath.Dir(dropIn), 0o775, 0o755, "0775", "DIR/policy.d"},
	} {
		chmod(c.path, c.bad)
		expect(
			t,
			"problem",
			problemsOf(t, dir, dir),
			c.name+": "+strings.Replace(writable, "%s", c.mode, 1)+c.name,
		)
		chmod(c.path, c.good)
		if _, err := Read(Options{Path: dir}); err != nil {
			t.Fatal(err)
		}
	}
	chmod(dir, 0o777)
	expect(
		t,
		"problem",
		problemsOf(t, dir, main),
		"DIR: everybody may write this folder, and so replace the policy in it; run: chmod o-w DIR",
	)
	chmod(dir, 0o777|os.ModeSticky)
	for _, path := range []string{main, dir} {
		if _, err := Read(Options{Path: path}); err != nil {
			t.Error(err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: not root: only root can give files away")
	}
	if err := os.Chown(main, 12345, 0); err != nil {
		t.Fatal(err)
	}
	expect(
		t,
		"problem",
		problemsOf(t, dir, main),
		"DIR/policy.yaml: it belongs to user 12345, who could open ports with it; run: chown root DIR/policy.yaml",
	)
}

func TestDefault(t *testing.T) {
	p, err := Parse("embedded default", DefaultYAML())
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "origin", p.Origin, "embedded default")
	c, err := p.Compile(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range c.RunTests(testClock()) {
		if !r.OK {
			t.Errorf("%+v", r)
		}
	}
	s := c.State.Services
	if len(s) != 1 || !s[0].Sources.Equal(builtIn["private"]) ||
		s[0].Ports[0].String() != "tcp/9090" ||
		c.State.Unlisted != "ignore" {
		t.Errorf("the default compiles to %+v", c.State)
	}
	DefaultYAML()[0] = 'X'
	if DefaultYAML()[0] == 'X' {
		t.Error("callers can change the default")
	}
}
