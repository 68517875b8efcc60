// Command kernelonly measures what the nftables backend adds to the kernel's own time. In one process after the other, each in a
// network namespace of its own, a number of sources is loaded into one interval set by a message that was built beforehand (kernel only), and by the backend, which
// then also changes, replaces and reads them back. Times are CPU times of the process, which include the kernel's work for it: others on the machine
// disturb them least. Usage: kernelonly [-rounds N] [-sources 1000,100000,1000000]
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// result is what one process measured: CPU time in milliseconds by step, and how much memory it had at most.
type result struct {
	Steps map[string]float64 `json:"steps"`
	KiB   int                `json:"kib"`
}

// kernelStep is the step that all others are compared with.
const kernelStep = "kernel only: one interval set, one batch"

var steps = []string{kernelStep, "first load, read back", "nothing to do", "one more", "1 % replaced", "all replaced", "read by a new process", "nothing to do, again"}

func main() {
	rounds := flag.Int("rounds", 3, "how often each time is taken; the median counts")
	sizes := flag.String("sources", "1000,100000,1000000", "how many sources, separated by commas")
	measure := flag.String("measure", "", "internal: kernel or backend, family and number of sources")
	flag.Parse()
	var err error
	switch {
	case os.Geteuid() != 0:
		err = errors.New("needs root for network namespaces")
	case *measure != "":
		err = child(*measure)
	default:
		err = table(*sizes, *rounds)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kernelonly:", err)
		os.Exit(1)
	}
}

func table(sizes string, rounds int) error {
	fmt.Println("| sources | step | ms | of kernel only | memory |\n|---|---|---:|---:|---:|")
	for _, size := range strings.Split(sizes, ",") {
		for _, family := range []string{"4", "6"} {
			times, memory := map[string][]float64{}, 0
			for range rounds {
				for _, what := range []string{"kernel", "backend"} {
					r, err := run(what + "," + family + "," + size)
					if err != nil {
						return err
					}
					for step, ms := range r.Steps {
						times[step] = append(times[step], ms)
					}
					if what == "backend" {
						memory = max(memory, r.KiB)
					}
				}
			}
			base := median(times[kernelStep])
			for _, step := range steps {
				ms := median(times[step])
				kib := ""
				if step == steps[1] {
					kib = fmt.Sprintf("%d MiB", memory>>10)
				}
				fmt.Printf("| %s IPv%s | %s | %.1f | %.3f | %s |\n", size, family, step, ms, ms/base, kib)
			}
		}
	}
	return nil
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// run measures in a process of its own, so that memory and garbage are that one's alone.
func run(what string) (r result, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	cmd := exec.Command(self, "-measure", what)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("%s: %w", what, err)
	}
	return r, json.Unmarshal(out, &r)
}

func child(what string) error {
	words := strings.Split(what, ",")
	if len(words) != 3 {
		return fmt.Errorf("%q is not three words", what)
	}
	n, err := strconv.Atoi(words[2])
	if err != nil {
		return err
	}
	family := firewall.IPv4
	if words[1] == "6" {
		family = firewall.IPv6
	}
	runtime.LockOSThread() // never unlocked: the process ends with this thread
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	r := result{Steps: map[string]float64{}}
	if words[0] == "kernel" {
		r.Steps[kernelStep], err = kernelOnly(family, n)
	} else {
		r.KiB, err = backend(family, n, r.Steps)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// cpu is the process's CPU time so far, the kernel's work for it included.
func cpu() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
