package lease

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/pattern"
)

// Every error of this file is a mistake in what was typed, and says what to type instead.

// ParsePorts reads ports: "9090" (which is tcp), "udp/53" or "53/udp", "tcp/9000-9100" or
// "9000:9100", or the name of a protocol without ports, "vrrp"; several with commas between. They
// come back ordered and merged.
func ParsePorts(s string) ([]firewall.PortRange, error) {
	var ranges []firewall.PortRange
	for _, part := range strings.Split(s, ",") {
		r, err := parsePort(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, r)
	}
	return mergePorts(ranges)
}

func parsePort(s string) (firewall.PortRange, error) {
	r := firewall.PortRange{Protocol: firewall.TCP}
	protocol, numbers, named := strings.Cut(s, "/")
	if p, err := firewall.ParseProtocol(protocol); err == nil && !p.HasPorts() &&
		!startsWithDigit(s) {
		if named {
			return r, fmt.Errorf("%q: %s has no ports; write %s", s, p, p)
		}
		return firewall.Portless(p), nil
	}
	if !named {
		numbers = s
	} else if p, err := firewall.ParseProtocol(protocol); err == nil && !startsWithDigit(s) {
		r.Protocol = p
	} else if p, swapped := firewall.ParseProtocol(numbers); swapped == nil &&
		!startsWithDigit(numbers) && p.HasPorts() {
		r.Protocol, numbers = p, protocol
	} else if startsWithDigit(s) { // then the protocol is the other word
		return r, fmt.Errorf("%q: %w", s, cmp.Or(swapped, errNoPort))
	} else {
		return r, fmt.Errorf("%q: %w", s, err)
	}
	first, last, isRange := strings.Cut(strings.Replace(numbers, ":", "-", 1), "-")
	if !isRange {
		last = first
	}
	a, errA := parseNumber(first)
	b, errB := parseNumber(last)
	switch {
	case errors.Join(errA, errB) != nil:
		return r, fmt.Errorf(
			"%q is not a port: write 9090, udp/53 or tcp/9000-9100, with numbers from 1 to 65535",
			s,
		)
	case a > b:
		return r, fmt.Errorf("%q: the range is reversed; write %d-%d", s, b, a)
	}
	r.First, r.Last = a, b
	return r, nil
}

var errNoPort = errors.New("write a protocol and a port, such as tcp/9090")

// startsWithDigit tells a number, which is a port, from the name of a protocol. 6in4 is a name.
func startsWithDigit(s string) bool {
	return s != "" && s[0] >= '0' && s[0] <= '9' && !strings.HasPrefix(s, "6in4")
}

func parseNumber(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err == nil && (n == 0 || s[0] == '0' || s[0] == '+') {
		err = strconv.ErrSyntax
	}
	return uint16(n), err
}

// ParseSources reads addresses and CIDRs, each item one or several with commas between, into one
// set.
func ParseSources(items ...string) (address.Set, error) {
	var list []netip.Prefix
	for _, item := range items {
		for _, part := range strings.Split(item, ",") {
			p, err := parseSource(strings.TrimSpace(part))
			if err != nil {
				return address.Set{}, err
			}
			list = append(list, p)
		}
	}
	if len(list) == 0 {
		return address.Set{}, errors.New(
			"no source: write an address such as 203.0.113.7, or a CIDR",
		)
	}
	return address.New(list...)
}

func parseSource(s string) (netip.Prefix, error) {
	address, _, isPrefix := strings.Cut(s, "/")
	a, err := netip.ParseAddr(address)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf(
			"%q is not an address or a CIDR: write 203.0.113.7, 203.0.113.0/24 or 2001:db8::/48",
			s,
		)
	case a.Zone() != "":
		return netip.Prefix{}, fmt.Errorf("%q has a zone: write %s", s, a.WithZone(""))
	case a.Is4In6():
		return netip.Prefix{}, fmt.Errorf(
			"%q is an IPv4-mapped IPv6 address, which never appears on the wire: write the IPv4 address, %s",
			s,
			a.Unmap(),
		)
	case !isPrefix:
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf(
			"%q: the length of this prefix is a number from 0 to %d",
			s,
			a.BitLen(),
		)
	}
	if p.Masked() != p {
		return netip.Prefix{}, fmt.Errorf(
			"%q has host bits set: write %s for the network, or %s for the one address",
			s,
			p.Masked(),
			a,
		)
	}
	return p, nil
}

var durationPattern = pattern.New(`^([0-9]+(\.[0-9]+)?[dhms])+$`)
var durationPart = pattern.New(`[0-9.]+[dhms]`)

// ParseDuration reads a duration: as Go writes it ("90m", "1h30m", "1.5h"), and in days of 24
// hours ("2d", "1d12h").
func ParseDuration(s string) (time.Duration, error) {
	if !durationPattern.MatchString(s) {
		return 0, fmt.Errorf("%q is not a duration: write 30m, 2h, 1h30m or 2d", s)
	}
	var total time.Duration
	for _, part := range durationPart.Regexp().FindAllString(s, -1) {
		factor := time.Duration(1)
		if days, ok := strings.CutSuffix(part, "d"); ok {
			part, factor = days+"h", 24
		}
		x, err := time.ParseDuration(part)
		if err != nil || x*factor/factor != x || total+x*factor < total {
			return 0, fmt.Errorf("%q: the duration is too long", s)
		}
		total += x * factor
	}
	return total, nil
}

// Spell writes a duration as people do: "24h", not "24h0m0s".
func Spell(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
