package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// Request is what somebody asks for.
type Request struct {
	Ports   []firewall.PortRange
	Sources address.Set
	For     time.Duration
	// User asks, From the address of an SSH client if there is one, for Reason. A reason is
	// recorded, not demanded: at night, in the middle of an incident, one that is made up is worth
	// nothing.
	User, From, Reason string
	// Force opens ports that no service lists, and to very wide sources.
	Force bool
}

// shortest is less than anybody can use, given that the command itself and a login take a moment.
const shortest = time.Minute

// Sources wider than this are a slip of the keyboard more often than meant: /8 is the widest
// network that anybody holds (10.0.0.0/8), /16 wider than any allocation of IPv6 to one holder.
const (
	widestIPv4 = 8
	widestIPv6 = 16
)

// Grant turns a request into a lease from now on, or says everything that is wrong with it; the
// errors are mistakes of the caller. s is the State in force without leases, longest the policy's
// max_lease. A longest that is lowered later does not shorten leases that run: close them.
func (r Request) Grant(s firewall.State, longest time.Duration, now time.Time) (Lease, error) {
	opened := now.UTC().Truncate(time.Second)
	l := Lease{
		Ports:    r.Ports,
		Sources:  r.Sources,
		Opened:   opened,
		Until:    opened.Add(r.For.Truncate(time.Second)),
		User:     r.User,
		From:     r.From,
		Reason:   r.Reason,
		Unlisted: r.Force && listsNot(s, r.Ports),
	}
	switch {
	case r.For < shortest:
		return Lease{}, fmt.Errorf(
			"%s is too short: the shortest lease is %s",
			Spell(r.For),
			Spell(shortest),
		)
	case r.For > longest:
		return Lease{}, fmt.Errorf(
			"%s is too long: the policy allows leases of at most %s (daemon: max_lease)",
			Spell(r.For),
			Spell(longest),
		)
	}
	errs := []error{l.check()}
	if !r.Force {
		errs = append(errs, checkWidth(r.Sources))
	}
	if errs[0] == nil {
		l.Ports = mustMerge(l.Ports) // check has tried
		errs = append(errs, Check(s, l))
	}
	if err := errors.Join(errs...); err != nil {
		return Lease{}, err
	}
	return l, nil
}

func checkWidth(sources address.Set) error {
	var errs []error
	for p := range sources.All() {
		widest, family := widestIPv4, "IPv4"
		if p.Addr().Is6() {
			widest, family = widestIPv6, "IPv6"
		}
		switch {
		case p.Bits() == 0:
			errs = append(
				errs,
				fmt.Errorf("%s is every %s address: use --force if you mean it", p, family),
			)
		case p.Bits() < widest:
			errs = append(
				errs,
				fmt.Errorf("%s is wider than /%d: use --force if you mean it", p, widest),
			)
		}
	}
	return errors.Join(errs...)
}

// Check tells where a lease opens nothing in a State and why, and what to do; nil if it opens all
// of its ports. Grant refuses such a lease. One that was granted can come to it when the policy
// changes: then Apply passes over those ports, and this is what to warn of.
func Check(s firewall.State, l Lease) error {
	var errs []error
	var ranges []firewall.PortRange
	for _, p := range unlistedPieces(s.Services, []Lease{l}) {
		ranges = append(ranges, p.ports)
	}
	ranges, _ = mergePorts(ranges) // the error is that there are none
	for _, r := range ranges {
		switch {
		case s.Unlisted != firewall.UnlistedDeny:
			errs = append(
				errs,
				fmt.Errorf(
					"%s: no service lists it, and such ports are left alone (unlisted: ignore), so portgrave keeps nobody out of it; "+
						"a lease would have to close it for everybody but %s: list it in the policy if that is "+
						"what you want",
					r,
					strings.Join(briefly(l.Sources), ", "),
				),
			)
		case !l.Unlisted:
			errs = append(
				errs,
				fmt.Errorf(
					"%s: no service lists it: look at the number, or open it all the same with --force",
					r,
				),
			)
		case s.Essentials.Keep(r.Protocol):
			errs = append(
				errs,
				fmt.Errorf(
					"%s is open to everybody (essentials), and a lease would close it for all but %s: "+
						"list it in the policy if that is what you want",
					r,
					strings.Join(briefly(l.Sources), ", "),
				),
			)
		default:
			left := withoutDHCP(s, r)
			if len(left) != 1 || left[0] != r {
				errs = append(
					errs,
					fmt.Errorf(
						"%s: the answers to this host's DHCP clients come in on udp/%d and udp/%d, and a lease "+
							"would close these for the servers: leave them out",
						r,
						firewall.DHCPClientPort,
						firewall.DHCPv6ClientPort,
					),
				)
			}
		}
	}
	return errors.Join(errs...)
}

func listsNot(s firewall.State, ports []firewall.PortRange) bool {
	return len(unlistedPieces(s.Services, []Lease{{Ports: ports}})) > 0
}

// briefly lists sources for a sentence.
func briefly(sources address.Set) []string {
	const few = 3
	var out []string
	for p := range sources.All() {
		if len(out) == few {
			return append(out, fmt.Sprintf("… (%d in all)", sources.Len()))
		}
		out = append(out, Source(p))
	}
	return out
}

// Source writes a single address without its length.
func Source(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
