// Command demo shows Portgrave's main job in temporary network namespaces: a host with a listener
// on port 9090, an office that may reach it and an internet that may not, with real connections. It
// changes nothing on the machine, and removes the namespaces when it ends.
//
// With -picture FILE it also writes a picture of a terminal with the verbs that it ran.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	picture := flag.String("picture", "", "SVG file to write a picture of the verbs to")
	flag.Parse()
	switch {
	case flag.NArg() == 2 && flag.Arg(0) == "listen":
		listen(flag.Arg(1))
	case flag.NArg() == 2 && flag.Arg(0) == "connect":
		connect(flag.Arg(1))
	case flag.NArg() == 1:
		if err := demo(flag.Arg(0), *picture); err != nil {
			fmt.Fprintln(os.Stderr, "demo:", err)
			os.Exit(1)
		}
	default:
		fmt.Fprintln(os.Stderr, "usage: demo [-picture FILE] PATH-OF-PORTGRAVE")
		os.Exit(3)
	}
}

func listen(address string) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ready")
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_ = c.Close()
	}
}

func connect(address string) {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		fmt.Print("refused")
		return
	}
	_ = c.Close()
	fmt.Print("connected")
}

const policy = `version: 1
networks:
  office: [10.20.0.0/16, "fd00:20::/64"]
services:
  - name: prometheus
    port: 9090
    allow: [office]
tests:
  - {from: 10.20.0.2, to: prometheus, expect: allow}
  - {from: 203.0.113.2, to: prometheus, expect: deny}
`

// demo runs the demonstration with the program at a path. If picture names a file, it writes the
// picture of the verbs there.
func demo(portgrave, picture string) error {
	portgrave, err := filepath.Abs(portgrave)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "portgrave-demo")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.WriteFile(dir+"/policy.yaml", []byte(policy), 0o600); err != nil {
		return err
	}
	suffix := fmt.Sprintf("-pgdemo%d", os.Getpid())
	host, office, internet := "host"+suffix, "office"+suffix, "internet"+suffix
	for _, ns := range []string{host, office, internet} {
		if err := ip("netns", "add", ns); err != nil {
			return err
		}
		defer func() { _ = ip("netns", "delete", ns) }()
		if err := ip("-n", ns, "link", "set", "lo", "up"); err != nil {
			return err
		}
	}
	for i, peer := range []struct{ ns, v4, v6 string }{
		{office, "10.20.0.", "fd00:20::"},
		{internet, "203.0.113.", "2001:db8::"},
	} {
		dev := fmt.Sprintf("eth%d", i)
		for _, args := range [][]string{
			{"link", "add", "name", dev, "netns", host,
				"type", "veth", "peer", "name", "eth0", "netns", peer.ns},
			{"-n", host, "addr", "add", peer.v4 + "1/24", "dev", dev},
			{"-n", host, "addr", "add", peer.v6 + "1/64", "dev", dev, "nodad"},
			{"-n", peer.ns, "addr", "add", peer.v4 + "2/24", "dev", "eth0"},
			{"-n", peer.ns, "addr", "add", peer.v6 + "2/64", "dev", "eth0", "nodad"},
			{"-n", host, "link", "set", dev, "up"},
			{"-n", peer.ns, "link", "set", "eth0", "up"},
		} {
			if err := ip(args...); err != nil {
				return err
			}
		}
	}
	for _, route := range [][]string{
		{"route", "add", "default", "via", "203.0.113.2"},
		{"-6", "route", "add", "default", "via", "2001:db8::2"},
		{"route", "add", "10.20.0.0/16", "via", "10.20.0.2"},
	} {
		if err := ip(append([]string{"-n", host}, route...)...); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	server := exec.Command("ip", "netns", "exec", host, self, "listen", ":9090")
	out, err := server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	defer func() { _ = server.Process.Kill(); _ = server.Wait() }()
	if _, err := out.Read(make([]byte, 6)); err != nil {
		return fmt.Errorf("the listener did not start: %w", err)
	}
	show := func(title string) {
		fmt.Printf("\n== %s\n", title)
		for _, p := range []struct{ name, ns, address string }{
			{"office   IPv4", office, "10.20.0.1:9090"},
			{"office   IPv6", office, "[fd00:20::1]:9090"},
			{"internet IPv4", internet, "203.0.113.1:9090"},
			{"internet IPv6", internet, "[2001:db8::1]:9090"},
			{"the host itself", host, "127.0.0.1:9090"},
		} {
			result, _ := exec.Command("ip", "netns", "exec", p.ns, self, "connect",
				p.address).Output()
			fmt.Printf("%-16s → %-22s %s\n", p.name, p.address, result)
		}
	}
	var terminal bytes.Buffer
	verb := func(args ...string) {
		fmt.Println()
		to := io.MultiWriter(os.Stdout, &terminal)
		fmt.Fprintf(to, "$ portgrave %s\n", strings.Join(args, " "))
		cmd := exec.Command("ip", append([]string{"netns", "exec", host, portgrave}, args...)...)
		cmd.Env = append(os.Environ(), "PORTGRAVE_STATE_DIR="+dir+"/state", "SSH_CONNECTION=",
			"PORTGRAVE_CONFIG=policy.yaml")
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, to, os.Stderr
		_ = cmd.Run() // plan and drift exit with 2 if they have something to report
		terminal.WriteByte('\n')
	}
	fmt.Printf("The policy:\n%s", policy)
	show("Before: everyone reaches port 9090")
	verb("plan")
	verb("apply", "--reason", "demo")
	show("After: the office does, the internet does not, loopback always")
	verb("explain", "--from", "203.0.113.2", "--port", "9090")
	verb("status")
	if picture != "" {
		if err := os.WriteFile(picture, drawTerminal(terminal.String()), 0o644); err != nil {
			return err
		}
	}
	verb("audit")
	verb("apply")
	verb("drift")
	verb("teardown")
	show("After teardown: as before")
	return nil
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
