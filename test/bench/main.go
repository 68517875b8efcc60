// Command bench measures Portgrave beside its peers, in one run: the control path (how long it
// takes until a list is in the kernel, changed in it, read back), the packet path (what the rules
// cost a packet), and other work that must not take long. It writes tables, JSON, plots, and the
// section of the README beside it. The absolute times of a machine mean little; their ratios do.
// Run it with make bench.
//
// The control path: Portgrave and its peers load and change lists in turn, each run as an
// administrator would run it, from the start of the program to its end. They are compared with the
// kernel alone: the same list in one interval set, as messages that were encoded before the clock
// starts, in one batch, sent by one system call. Every way to load a set pays that time.
//
// The packet path: two lab worlds stand side by side, one without rules and one with them. Sender
// and receiver are one thread on one core. It sends a burst, the kernel carries each packet through
// the host's hooks before the call returns (a veth pair does not wait), and the thread reads what
// has arrived. So a rate counts the work of both sides. UDP packets are frames that were made
// before, from sources in the last hundredth of the list; each source was answered once, so that
// its packets belong to a connection. TCP connects are full ones, accepted and reset. Turns are
// short, and the median burst of a turn counts, so that other load on the machine disturbs few of
// them.
//
// The rest: check and plan of large policies, audits, and how long a host is open after somebody
// has flushed its rules under the daemon.
//
// Rules, packets and daemons live in network namespaces of their own; the namespace it is called in
// is never changed. What takes longer than it may is killed, noted, and not tried again. Peers that
// are not installed are left out, and the report says so.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "short lists and few rounds, in two minutes")
	flag.StringVar(&o.portgrave, "portgrave", "./portgrave", "the program to measure")
	flag.StringVar(&o.format, "o", "text", "what to print: text or json")
	flag.StringVar(&o.out, "out", "", "folder to write table.md, plot.svg and summary.svg to")
	flag.StringVar(&o.readme, "readme", "", "README whose section is to be replaced")
	flag.StringVar(&o.only, "only", "", "control, packets or jobs: measure only these")
	flag.Parse()
	if flag.NArg() > 0 || o.format != "text" && o.format != "json" {
		flag.Usage()
		os.Exit(3)
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "bench: needs root for network namespaces: sudo make bench")
		os.Exit(4)
	}
	if err := raisePriority(); err != nil {
		fmt.Fprintln(
			os.Stderr,
			"bench: no priority over other programs, so they will blur what is measured:",
			err,
		)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures and writes what was asked for.
func run(ctx context.Context, o options) error {
	r, err := measure(
		ctx,
		o,
		func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
	)
	if err != nil {
		return errors.Join(
			show(r, o),
			err,
		) // what was measured until then took long; but it is no result to keep
	}
	return errors.Join(show(r, o), write(r, o))
}

func show(r Report, o options) error {
	if o.format == "json" {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	_, err := fmt.Print(r.Text())
	return err
}

// write writes the files. The README links to the folder from where it stands.
func write(r Report, o options) error {
	if o.out != "" {
		if err := os.MkdirAll(o.out, 0o755); err != nil {
			return err
		}
		for name, content := range map[string][]byte{
			"table.md":    []byte(r.Markdown("plot.svg")),
			"plot.svg":    r.SVG(),
			"summary.svg": r.Summary(),
		} {
			if err := os.WriteFile(filepath.Join(o.out, name), content, 0o644); err != nil {
				return err
			}
		}
	}
	if o.readme == "" {
		return nil
	}
	before, err := os.ReadFile(o.readme)
	if err != nil {
		return err
	}
	folder, err := filepath.Rel(filepath.Dir(o.readme), o.out)
	if err != nil {
		return err
	}
	after, err := r.Readme(string(before), folder)
	if err != nil {
		return fmt.Errorf("%s: %w", o.readme, err)
	}
	return os.WriteFile(o.readme, []byte(after), 0o644)
}

// raisePriority gives this process and all that it starts the highest priority, peers and kernel
// alike. New threads inherit it from those that exist now.
func raisePriority() error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, id, -20); err != nil {
			return os.NewSyscallError("setpriority", err)
		}
	}
	return nil
}
