package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/iana"
)

// behind is who takes a port's packets on this host.
type behind struct {
	process, unit, container string
	there                    bool
	// pid tells interpreters apart, whose names say nothing; 0 where the name is enough, or where
	// nobody takes the packets.
	pid int
}

// behindPorts are those who take packets from outside, by port: listeners, and services of IPVS.
func (s *survey) behindPorts() map[portKey]behind {
	out := map[portKey]behind{}
	for _, l := range s.listeners {
		k := portKey{l.Protocol, l.Port}
		if l.Loopback() || out[k].process != "" {
			continue
		}
		x := exposureOf(l, "")
		b := behind{process: x.Process, unit: x.Unit, container: x.Container, there: true}
		if b.nameless() && !slices.Contains(multiplexers, b.process) {
			b.pid = x.PID
		}
		out[k] = b
	}
	for _, v := range s.IPVS {
		k := portKey{v.Protocol, v.At.Port()}
		if !out[k].there {
			out[k] = behind{there: true}
		}
	}
	return out
}

// String names somebody for people: "sshd (ssh.service)".
func (b behind) String() string {
	words := b.process
	if extra := cmp.Or(b.container, b.unit); extra != "" && extra != b.process {
		if words == "" {
			return extra
		}
		words += " (" + extra + ")"
	}
	return words
}

// nameless reports whether the program says nothing about the service.
func (b behind) nameless() bool {
	program := strings.TrimRight(b.process, "0123456789.")
	return program == "" || slices.Contains(interpreters, program)
}

// multiplexers listen for others: one process of theirs holds ports of several services.
var multiplexers = []string{"systemd", "init", "inetd", "xinetd"}

// interpreters run programs of many kinds: their name says nothing about a service.
var interpreters = []string{"python", "perl", "ruby", "java", "node", "nodejs", "php", "bash", "sh",
	"dash", "busybox", "deno", "bun", "dotnet", "mono", "lua", "tclsh", "systemd", "init", "inetd",
	"xinetd", "socat", "docker-proxy"}

// nameOf is what a service of some ports is called: after the program, the unit or the port.
func nameOf(b behind, ports []firewall.PortRange, purpose string) string {
	if !b.nameless() && word(b.process) != "" {
		return word(b.process)
	}
	if unit, _, _ := strings.Cut(b.unit, "."); unit != "" && !strings.HasPrefix(unit, "session") &&
		!strings.HasPrefix(unit, "user") {
		return word(unit)
	}
	first := ports[0]
	if !first.Protocol.HasPorts() {
		return first.Protocol.String()
	}
	if name := iana.UsualName(first.First); name != "" && first.First == first.Last {
		return name
	}
	if name := word(purpose); name != "" && len(name) <= 24 {
		return name
	}
	return fmt.Sprintf("%s-%d", first.Protocol, first.First)
}

// maxName leaves room behind a name for what tells it from others.
const maxName = 30

// word is a text as a name can have it; "" if nothing is left.
func word(text string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() == maxName {
			break
		}
	}
	name := strings.Trim(b.String(), "-")
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		return ""
	}
	return name
}

// free is the first of some names that nobody has, or the last with a number.
func free(taken map[string]bool, names ...string) string {
	for _, n := range names {
		if n != "" && !taken[n] {
			taken[n] = true
			return n
		}
	}
	for i := 2; ; i++ {
		n := fmt.Sprintf("%s-%d", names[len(names)-1], i)
		if !taken[n] {
			taken[n] = true
			return n
		}
	}
}
