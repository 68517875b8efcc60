// Package machine says what a benchmark ran on: processor, cores, kernel, versions of the programs that it is compared with. It only reads.
package machine

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is what a result depends on.
type Machine struct {
	Processor string            `json:"processor"`
	Cores     int               `json:"cores"`
	Kernel    string            `json:"kernel"`
	MemoryMiB uint64            `json:"memory_mib"`
	Go        string            `json:"go"`
	Versions  map[string]string `json:"versions"` // of programs, by name; "" is: not installed
}

// programs are those whose version counts, and the arguments that make them tell it.
var programs = []struct {
	name string
	args []string
}{
	{"nft", []string{"--version"}}, {"ipset", []string{"--version"}}, {"iptables-nft", []string{"--version"}}, {"iptables-legacy", []string{"--version"}},
}

// Read describes this machine.
func Read(ctx context.Context) Machine {
	m := Machine{Processor: "unknown", Cores: runtime.NumCPU(), Go: runtime.Version(), Versions: map[string]string{}}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if name := processor(b); name != "" {
			m.Processor = name
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	var i unix.Sysinfo_t
	if unix.Sysinfo(&i) == nil {
		m.MemoryMiB = uint64(i.Totalram) * uint64(i.Unit) >> 20
	}
	for _, p := range programs {
		m.Versions[p.name] = version(ctx, p.name, p.args)
	}
	return m
}

// processor finds the name in /proc/cpuinfo.
func processor(cpuinfo []byte) string {
	for s := bufio.NewScanner(bytes.NewReader(cpuinfo)); s.Scan(); {
		if name, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// version runs a program for the first line that it prints; "" if it isn't installed.
func version(ctx context.Context, name string, args []string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil && len(out) == 0 {
		return ""
	}
	return number(string(out))
}

// number finds the version in "nftables v1.0.6 (Lester Gooch #5)".
func number(s string) string {
	for _, word := range strings.Fields(s) {
		word = strings.TrimSuffix(strings.TrimPrefix(word, "v"), ",")
		if word != "" && word[0] >= '0' && word[0] <= '9' {
			return word
		}
	}
	return "unknown"
}
