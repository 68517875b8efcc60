package packages

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// version is the version of the test packages, with a fixed time.
var version = []string{"VERSION=v1.2.3-test", "PACKAGE_VERSION=1.2.3+test",
	"SOURCE_DATE_EPOCH=1790000000"}

// command runs a program and returns its output.
func command(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	// a cold compiler cache on a busy machine
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// source copies the files that the packages are built from into a folder: every file of the module
// that is or might be under version control. Reading them here also tells go test when a cached
// result is out of date.
func source(t *testing.T, to string) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{".git", "bin", "testdata"}, d.Name()) {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		if name == "portgrave" || !d.Type().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		mode := os.FileMode(0o600)
		if info, err := d.Info(); err == nil && info.Mode()&0o100 != 0 {
			mode = 0o700
		}
		return os.WriteFile(filepath.Join(to, name), content, mode)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// packageDir is the folder of packages that all tests share.
var packageDir = sync.OnceValues(func() (string,
	error) {
	return os.MkdirTemp("", "portgrave-packages-")
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := packageDir(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

var buildOnce sync.Once

// packages returns the folder of packages. The first caller builds them.
func packages(t *testing.T) string {
	t.Helper()
	dir, err := packageDir()
	if err != nil {
		t.Fatal(err)
	}
	buildOnce.Do(func() { command(t, version, "bash", "build.sh", dir) })
	return dir
}

// findPackage returns the only package that matches a pattern.
func findPackage(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(packages(t), pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("packages %s: %v %v", pattern, found, err)
	}
	return found[0]
}

func sum(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(content))
}

// TestSameBytes builds the packages again from a copy of the source in another folder, with other
// modes and another time zone, and expects the same bytes.
func TestSameBytes(t *testing.T) {
	first := packages(t)
	folder := filepath.Join(t.TempDir(), "in", "a folder", "elsewhere")
	source(t, folder)
	again := t.TempDir()
	command(t, append(version, "TZ=Asia/Tokyo", "LC_ALL=C.UTF-8", "HOSTNAME=elsewhere"), "bash",
		"-c", `umask 077 && exec bash "$0" "$@"`,
		filepath.Join(folder, "systemd", "packages", "build.sh"), again, runtime.GOARCH)
	made, err := os.ReadDir(again)
	if err != nil || len(made) != 2 {
		t.Fatalf("a .deb and a .rpm were to be built, not %v (%v)", made, err)
	}
	for _, f := range made {
		a, b := sum(t, filepath.Join(first, f.Name())), sum(t, filepath.Join(again, f.Name()))
		t.Logf("%s %s", a, f.Name())
		if a != b {
			t.Errorf("%s differs when it is built elsewhere: %s", f.Name(), b)
		}
	}
}

// TestLintian expects no errors, and only warnings that are overridden with a reason.
func TestLintian(t *testing.T) {
	out := command(t, nil, "lintian", "--allow-root", "--fail-on", "none", "--show-overrides",
		findPackage(t, "portgrave_*_"+runtime.GOARCH+".deb"))
	t.Log(out)
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "E: ") || strings.HasPrefix(line, "W: ") {
			t.Errorf("lintian: %s", line)
		}
	}
	if !strings.Contains(out, "O: portgrave: statically-linked-binary [usr/bin/portgrave]") {
		t.Errorf("lintian has not looked at the binary:\n%s", out)
	}
}

// TestContents checks the files that both kinds of packages must contain.
func TestContents(t *testing.T) {
	want := []string{
		"/etc/portgrave/policy.yaml", "/usr/bin/portgrave", "/usr/lib/systemd/system/portgrave-boot.service", "/usr/lib/systemd/system/portgrave.service",
		"/usr/lib/sysusers.d/portgrave.conf", "/usr/lib/tmpfiles.d/portgrave.conf", "/usr/share/man/man8/portgrave.8.gz", "/usr/share/man/man5/portgrave-policy.5.gz",
		"/usr/share/bash-completion/completions/portgrave", "/usr/share/fish/vendor_completions.d/portgrave.fish", "/_portgrave", "/usr/share/portgrave/policy.schema.json",
	}
	for _, arch := range []string{"x86_64", "aarch64"} {
		rpm := findPackage(t, "portgrave-*."+arch+".rpm")
		if out := command(t, nil, "rpm", "-K", rpm); !strings.Contains(out, "digests OK") {
			t.Errorf("rpm -K: %s", out)
		}
		if got := command(t, nil, "rpm", "-qp", "--qf", "%{name} %{version} %{arch} %{license}",
			rpm); got != "portgrave 1.2.3+test "+arch+" Apache-2.0" {
			t.Errorf("the rpm says of itself %q", got)
		}
		if got := strings.TrimSpace(command(t, nil, "rpm", "-qpc",
			rpm)); got != "/etc/portgrave/policy.yaml" {
			t.Errorf("configuration files of the rpm: %q", got)
		}
		checkLists(t, rpm, command(t, nil, "rpm", "-qpl", rpm), want)
	}
	for arch, machine := range map[string]string{"amd64": "x86-64", "arm64": "ARM aarch64"} {
		deb := findPackage(t, "portgrave_*_"+arch+".deb")
		checkLists(t, deb, command(t, nil, "dpkg-deb", "-c", deb), want)
		dir := t.TempDir()
		command(t, nil, "dpkg-deb", "-R", deb, dir)
		if got, _ := os.ReadFile(filepath.Join(dir, "DEBIAN",
			"conffiles")); string(got) != "/etc/portgrave/policy.yaml\n" {
			t.Errorf("configuration files of the deb: %q", got)
		}
		program := command(t, nil, "file", "-b", filepath.Join(dir, "usr", "bin", "portgrave"))
		for _, word := range []string{machine, "statically linked", "stripped"} {
			if !strings.Contains(program, word) || strings.Contains(program, "not stripped") {
				t.Errorf("the program for %s is no %s one: %s", arch, word, program)
			}
		}
		if arch == runtime.GOARCH {
			if got := command(t, nil, filepath.Join(dir, "usr", "bin", "portgrave"),
				"--version"); !strings.Contains(got, "v1.2.3-test") {
				t.Errorf("the program says it is %s", got)
			}
		}
	}
}

func checkLists(t *testing.T, name, list string, want []string) {
	t.Helper()
	for _, path := range want {
		if !strings.Contains(list, path+"\n") {
			t.Errorf("%s lacks %s:\n%s", name, path, list)
		}
	}
}

// TestLife installs, upgrades, removes and purges a package with each backend; see testdata/deb.sh
// and testdata/rpm.sh.
func TestLife(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: not root: packages are installed into a copy of the machine, in " +
			"namespaces")
	}
	folder := t.TempDir()
	place := func(from, pattern, as string, mode os.FileMode) {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(from, pattern))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s in %s: %v %v", pattern, from, found, err)
		}
		content, err := os.ReadFile(found[0])
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, as), content, mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	first, next, unpacked := packages(t), t.TempDir(), t.TempDir()
	command(t,
		[]string{"VERSION=v1.2.4-test", "PACKAGE_VERSION=1.2.4+test",
			"SOURCE_DATE_EPOCH=1790000001"}, "bash", "build.sh", next, runtime.GOARCH)
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	place(first, "*_"+runtime.GOARCH+".deb", "first.deb", 0o644)
	place(next, "*.deb", "second.deb", 0o644)
	place(first, "*."+arch+".rpm", "first.rpm", 0o644)
	place(next, "*.rpm", "second.rpm", 0o644)
	place("testdata", "common.sh", "common.sh", 0o644)
	command(t, nil, "dpkg-deb", "-x", filepath.Join(folder, "first.deb"), unpacked)
	place(unpacked, "usr/bin/portgrave", "portgrave", 0o755)
	for _, c := range [][]string{
		{"deb.sh", "nftables"}, {"deb.sh", "iptables"}, {"rpm.sh", "nftables"},
	} {
		t.Run(strings.Join(c, " "), func(t *testing.T) {
			t.Parallel()
			t.Log(onMachine(t, folder, c[0], c[1]))
		})
	}
}

// onMachine runs a script of testdata on a copy of this machine; see testdata/machine.sh.
func onMachine(t *testing.T, debs, script string, args ...string) string {
	t.Helper()
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	return command(t, nil, "unshare",
		append([]string{"--mount", "--net", "--pid", "--ipc", "--uts", "--fork",
			"--kill-child=KILL",
			"sh", filepath.Join(here, "machine.sh"), t.TempDir(), debs, own, filepath.Join(here, script)}, args...)...)
}
