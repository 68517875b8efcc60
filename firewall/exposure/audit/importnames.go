package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/iana"
)

// receiver is the program or IPVS service that takes a port's packets on this host.
type receiver struct {
	process, unit, container string
	there                    bool
	// pid distinguishes interpreters, whose names don't identify the service; 0 where the name
	// does, and without a receiver.
	pid int
}

// receivers are the listeners and IPVS services that take packets from outside, by port.
func (s *survey) receivers() map[portKey]receiver {
	out := map[portKey]receiver{}
	for _, l := range s.listeners {
		k := portKey{l.Protocol, l.Port}
		if l.Loopback() || out[k].process != "" {
			continue
		}
		x := exposureOf(l, "")
		b := receiver{process: x.Process, unit: x.Unit, container: x.Container, there: true}
		if b.hasGenericName() && !slices.Contains(multiplexers, b.process) {
			b.pid = x.PID
		}
		out[k] = b
	}
	for _, v := range s.IPVS {
		k := portKey{v.Protocol, v.At.Port()}
		if !out[k].there {
			out[k] = receiver{there: true}
		}
	}
	return out
}

// String names the receiver for people: "sshd (ssh.service)".
func (b receiver) String() string {
	words := b.process
	if extra := cmp.Or(b.container, b.unit); extra != "" && extra != b.process {
		if words == "" {
			return extra
		}
		words += " (" + extra + ")"
	}
	return words
}

// hasGenericName reports whether the program's name doesn't identify the service.
func (b receiver) hasGenericName() bool {
	program := strings.TrimRight(b.process, "0123456789.")
	return program == "" || slices.Contains(interpreters, program)
}

// multiplexers listen for other programs: one process holds ports of several services.
var multiplexers = []string{"systemd", "init", "inetd", "xinetd"}

// interpreters run other programs: their name doesn't identify a service.
var interpreters = []string{"python", "perl", "ruby", "java", "node", "nodejs", "php", "bash", "sh",
	"dash", "busybox", "deno", "bun", "dotnet", "mono", "lua", "tclsh", "systemd", "init", "inetd",
	"xinetd", "socat", "docker-proxy"}

// nameOf names a service after its program, unit or port.
func nameOf(b receiver, ports []firewall.PortRange, purpose string) string {
	if !b.hasGenericName() && toName(b.process) != "" {
		return toName(b.process)
	}
	if unit, _, _ := strings.Cut(b.unit, "."); unit != "" && !strings.HasPrefix(unit, "session") &&
		!strings.HasPrefix(unit, "user") {
		return toName(unit)
	}
	first := ports[0]
	if !first.Protocol.HasPorts() {
		return first.Protocol.String()
	}
	if name := iana.UsualName(first.First); name != "" && first.First == first.Last {
		return name
	}
	if name := toName(purpose); name != "" && len(name) <= 24 {
		return name
	}
	return fmt.Sprintf("%s-%d", first.Protocol, first.First)
}

// maxName leaves room for a suffix that makes the name unique.
const maxName = 30

// toName keeps the characters that a name may have.
func toName(text string) string {
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

// freeName is the first of some names that isn't taken, or the last with a number.
func freeName(taken map[string]bool, names ...string) string {
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
