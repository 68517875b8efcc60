// Package rawsockets lists the protocols without ports for which programs of this host listen on
// raw sockets, such as VRRP for keepalived, and OSPF and PIM for routing daemons. It reads
// /proc/net/raw and raw6.
package rawsockets

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// Here is the calling thread's network namespace in /proc.
var Here = os.DirFS("/proc/thread-self/net")

// Protocols lists the protocols, sorted and without duplicates. It leaves out ICMP and protocols
// with ports, because raw sockets only copy what other sockets receive. A kernel without IPv6 has
// no raw6.
func Protocols(net fs.FS) ([]firewall.Protocol, error) {
	var out []firewall.Protocol
	for _, name := range []string{"raw", "raw6"} {
		list, err := read(net, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// read reads one table: a heading, then a line for each socket, "slot: ADDRESS:PROTOCOL …" in
// hexadecimal (raw_sock_seq_show in net/ipv4/raw.c).
func read(net fs.FS, name string) (out []firewall.Protocol, err error) {
	file, err := net.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	for first := true; lines.Scan(); first = false {
		words := strings.Fields(lines.Text())
		if first || len(words) < 2 {
			continue
		}
		number, err := strconv.ParseUint(words[1][strings.LastIndexByte(words[1], ':')+1:], 16, 16)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is no raw socket", name, lines.Text())
		}
		// ParseProtocol refuses IPPROTO_RAW (255); such sockets only send.
		p, err := firewall.ParseProtocol(strconv.FormatUint(number, 10))
		if err == nil && p != firewall.Ping {
			out = append(out, p)
		}
	}
	return out, lines.Err()
}
