// Command bench measures Portgrave side by side with its peers, in one run: the control path (how long until a list is in the kernel, changed in
// it, read back), the packet path (what the rules cost a packet), and the other work that must not take long. It writes a table, JSON, a plot, and the section of
// the README. A machine's absolute times mean little; their ratios do. Run it with make bench.
//
// Rules, packets and daemons live in network namespaces of their own. Peers that are not installed are left out, and the report says so.
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

	"github.com/portgrave/portgrave/test/bench/report"
	"golang.org/x/sys/unix"
)

func main() {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "short lists and few rounds, in two minutes")
	flag.StringVar(&o.portgrave, "portgrave", "./portgrave", "the program to measure")
	flag.StringVar(&o.format, "o", "text", "what to print: text or json")
	flag.StringVar(&o.out, "out", "", "folder to write table.md and plot.svg to")
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
	if err := foremost(); err != nil {
		fmt.Fprintln(os.Stderr, "bench: it can't go before other programs, so they will blur what is measured:", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench measures and writes what was asked for.
func bench(ctx context.Context, o options) error {
	r, err := measure(ctx, o, func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) })
	if err != nil {
		return errors.Join(show(r, o), err) // what was measured until then took long; but it is no result to keep
	}
	return errors.Join(show(r, o), write(r, o))
}

func show(r report.Report, o options) error {
	if o.format == "json" {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	_, err := fmt.Print(r.Text())
	return err
}

// write writes the files. The README names the folder as it was given.
func write(r report.Report, o options) error {
	if o.out != "" {
		if err := os.MkdirAll(o.out, 0o755); err != nil {
			return err
		}
		for name, content := range map[string][]byte{"table.md": []byte(r.Markdown("plot.svg")), "plot.svg": r.SVG()} {
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
	after, err := r.Readme(string(before), o.out)
	if err != nil {
		return fmt.Errorf("%s: %w", o.readme, err)
	}
	return os.WriteFile(o.readme, []byte(after), 0o644)
}

// foremost lets this process and all that it starts go before what else the machine does, kernel alone and peers alike. The threads that there are pass it on to those that
// they make.
func foremost() error {
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
