package xtables

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// What isn't understood is undecided. But a value that no iptables takes is a mistake in the text:
// its writer meant something else.

// check notes an option that was not understood, if its value is impossible.
func (x *translator) check(o iptsave.Option) {
	if x.wrong != nil {
		return
	}
	why := ""
	switch o.Name {
	case "--sport", "--dport":
		why = wrongPorts(o.Value(), ":")
	case "--sports", "--dports", "--ports":
		for part := range strings.SplitSeq(o.Value(), ",") {
			if why = wrongPorts(part, ":"); why != "" {
				break
			}
		}
	case "--to-ports", "--on-port":
		why = wrongPorts(o.Value(), "-")
	case "--to-destination", "--to-source":
		if i := strings.LastIndexByte(o.Value(), ':'); x.family == exposure.FamilyIPv4 ||
			strings.LastIndexByte(o.Value(), ']') == i-1 {
			ports, _, _ := strings.Cut(o.Value()[i+1:], "/")
			why = wrongPorts(ports, "-")
		}
	case "-s", "-d", "--src-range", "--dst-range":
		why = wrongAddresses(o.Value())
	case "-p":
		if n, err := strconv.ParseUint(o.Value(), 10, 64); err == nil && n > 255 {
			why = fmt.Sprintf("%d isn't a protocol: the highest number is 255", n)
		}
	}
	if why != "" {
		why = firewall.Excerpt(o.Text) + ": " + why
		x.wrong = &iptsave.Error{Column: o.Column, Err: errors.New(why)}
	}
}

// wrongPorts says what is wrong about numbers of ports; "" if nothing is, or if they are names.
func wrongPorts(s, separator string) string {
	from, to, ranged := strings.Cut(s, separator)
	var ends []uint64
	for _, end := range []string{from, to} {
		n, err := strconv.ParseUint(end, 0, 64)
		if err != nil {
			continue
		}
		if n > 65535 {
			return fmt.Sprintf("%d isn't a port: the highest is 65535", n)
		}
		ends = append(ends, n)
	}
	if ranged && len(ends) == 2 && ends[0] > ends[1] {
		return fmt.Sprintf("ports %d to %d are the wrong way round", ends[0], ends[1])
	}
	return ""
}

// wrongAddresses says what is wrong about some addresses.
func wrongAddresses(s string) string {
	for part := range strings.SplitSeq(s, ",") {
		if why := exposure.WrongPrefix(part); why != "" {
			return why
		}
	}
	return ""
}

// wrongElement says what is wrong about an ipset's element: "10.0.0.0/33", "10.0.0.1,tcp:99999".
func wrongElement(text string, dimensions []string) string {
	element, _, _ := strings.Cut(text, " ")
	if why := wrongAddresses(element); why != "" {
		return why
	}
	for i, part := range strings.Split(element, ",") {
		if i < len(dimensions) && dimensions[i] == "port" {
			_, port, both := strings.Cut(part, ":")
			if !both {
				port = part
			}
			if why := wrongPorts(port, "-"); why != "" {
				return why
			}
		}
	}
	return ""
}
