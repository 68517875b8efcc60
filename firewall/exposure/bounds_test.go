package exposure

import (
	"bufio"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// askHostile runs TestHostileAlone in a process of its own, for one ruleset.
const askHostile = "PORTGRAVE_TEST_HOSTILE"

// maxPeak is the most memory of a process for one hostile ruleset, in KiB: the ruleset itself, the
// test, and 160 MiB.
const maxPeak = 224 << 10

// A question stays within its budget of work and memory. The memory is measured in a process of its
// own, with a limit that protects the machine.
func TestHostileRulesetsAreBounded(t *testing.T) {
	// Without the race detector, which needs several times the memory.
	program := filepath.Join(t.TempDir(), "exposure.test")
	if out, err := exec.Command("go", "test", "-c", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name := range hostile() {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(program, "-test.run=^TestHostileAlone$", "-test.v")
			cmd.Env = append(os.Environ(), askHostile+"="+name)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out[max(0, len(out)-4000):])
			}
			if !strings.Contains(string(out), "--- PASS: TestHostileAlone") {
				t.Fatalf("it did not run: %s", out)
			}
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "peak") {
					t.Log(strings.TrimSpace(line))
				}
			}
		})
	}
}

// TestHostileAlone is the part of TestHostileRulesetsAreBounded that runs in a process of its own.
func TestHostileAlone(t *testing.T) {
	make, ok := hostile()[os.Getenv(askHostile)]
	if !ok {
		return
	}
	limit := unix.Rlimit{Cur: 4 << 30, Max: 4 << 30}
	if err := unix.Setrlimit(unix.RLIMIT_AS, &limit); err != nil {
		t.Fatal(err)
	}
	debug.SetGCPercent(50)
	b := build()
	make(b)
	b.rs.MarkDynamic()
	for _, host := range []*Host{nil, smallHost(true)} {
		e := NewEvaluator(b.rs, host)
		w := e.newWalk(tcp80)
		w.run()
		if w.tooFar && len(w.undecided) == 0 {
			t.Error("it went too far, and nothing is undecided")
		}
		answer := w.answer() // which may exceed the budget while following answers
		certain, possible := answer.Through()
		if !certain.Minus(possible).Empty() {
			t.Errorf("%v are certain, and not possible", certain.Minus(possible))
		}
		if w.work > e.maxWork+e.maxWork/4 {
			t.Errorf("%d steps, where %d are the most", w.work, e.maxWork)
		}
		if len(w.doubts) > 2*maxInterned {
			t.Errorf("%d lists of unknowns", len(w.doubts))
		}
		t.Logf("%d steps, too far: %v, %d pieces", w.work, w.tooFar, len(answer.Pieces))
		if _, err := e.Explain(tcp80, netip.MustParseAddr("10.0.0.1")); err != nil {
			t.Fatal(err)
		}
	}
	peak := peakMemory(t)
	t.Logf("peak: %d MiB", peak>>10)
	if peak > maxPeak {
		t.Errorf("%d KiB of memory at its peak, where %d are the most", peak, maxPeak)
	}
}

// peakMemory is the process's peak memory, in KiB.
func peakMemory(t *testing.T) int {
	t.Helper()
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no VmHWM in /proc/self/status")
	return 0
}
