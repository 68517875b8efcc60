package main

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

// versioned are those whose version counts, and the arguments that make them tell it.
var versioned = []struct {
	name string
	args []string
}{
	{
		"nft",
		[]string{"--version"},
	}, {"ipset", []string{"--version"}}, {"iptables-nft", []string{"--version"}}, {"iptables-legacy", []string{"--version"}},
}

// readMachine describes this machine.
func readMachine(ctx context.Context) Machine {
	m := Machine{
		Processor: "unknown",
		Cores:     runtime.NumCPU(),
		Go:        runtime.Version(),
		Versions:  map[string]string{},
	}
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
	for _, p := range versioned {
		m.Versions[p.name] = programVersion(ctx, p.name, p.args)
	}
	return m
}

// processor finds the name in /proc/cpuinfo.
func processor(cpuinfo []byte) string {
	for s := bufio.NewScanner(bytes.NewReader(cpuinfo)); s.Scan(); {
		if name, value, ok := strings.Cut(s.Text(), ":"); ok &&
			strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// programVersion runs a program for the first line that it prints; "" if it isn't installed.
func programVersion(ctx context.Context, name string, args []string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil && len(out) == 0 {
		return ""
	}
	return firstNumber(string(out))
}

// firstNumber finds the version in "nftables v1.0.6 (Lester Gooch #5)".
func firstNumber(s string) string {
	for _, word := range strings.Fields(s) {
		word = strings.TrimSuffix(strings.TrimPrefix(word, "v"), ",")
		if word != "" && word[0] >= '0' && word[0] <= '9' {
			return word
		}
	}
	return "unknown"
}
