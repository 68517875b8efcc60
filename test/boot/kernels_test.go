//go:build boot

package boot

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/test/debian"
	"github.com/portgrave/portgrave/test/lab"
)

// kernelTests are the tests of test/e2e that need features that many kernels lack. They have the
// build tag kernels.
const kernelTests = "^Test(VRF|IPVS|TrackingTableFull)"

// TestKernels runs tests of test/e2e in virtual machines with Debian's kernels. None may be skipped
// there. The environment variable KERNEL_TESTS replaces the pattern.
func TestKernels(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	scratch := t.TempDir()
	binary := filepath.Join(scratch, "e2e.test")
	build := exec.Command("go", "test", "-c", "-tags", "kernels", "-o", binary, "./test/e2e")
	build.Dir = "../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the end-to-end tests: %v\n%s", err, out)
	}
	disk := filepath.Join(scratch, "disk")
	writeTestImage(t, disk, scratch, binary)
	pattern := kernelTests
	if p := os.Getenv("KERNEL_TESTS"); p != "" {
		pattern = p
	}
	names := strings.Fields(output(t, binary, "-test.list", pattern))
	if len(names) == 0 {
		t.Fatalf("no test is named %s", pattern)
	}
	for _, series := range debian.Series {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			image, modules, busybox := debian.KernelOf(t, series)
			initrd := filepath.Join(t.TempDir(), "initrd")
			writeInitrdOf(
				t,
				initrd,
				modules,
				busybox,
				"printf %s '"+pattern+"' >$1/usr/local/lib/test/pattern",
			)
			m := launch(
				t,
				exec.CommandContext(context.Background(), "sh",
					emulatorArgs(image, initrd, disk, "on", "1024")...),
			)
			result := m.await("done").text
			output := m.output()
			if result != "0" || strings.Contains(output, "--- SKIP") {
				t.Errorf("the tests ended with %s; the machine wrote:\n%s", result, output)
			}
			for _, name := range names {
				if !strings.Contains(output, "--- PASS: "+name+" ") {
					t.Errorf("%s did not pass", name)
				}
			}
			for _, l := range strings.Split(output, "\n") {
				if strings.Contains(l, "--- ") {
					t.Log(strings.TrimSpace(l))
				}
			}
		})
	}
}

// output runs a program and returns what it printed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s %q: %v", name, args, err)
	}
	return string(out)
}
