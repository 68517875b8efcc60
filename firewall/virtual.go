package firewall

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
)

// VirtualService is a port of an address that the host holds for IPVS alone, such as a ClusterIP of
// kube-proxy. The kernel takes such a packet for the host's own until IPVS, behind our chains,
// sends it to a real server. Address and port together tell it apart: on a port that IPVS does not
// serve, the packet reaches whatever listens on the host.
type VirtualService struct {
	Protocol Protocol
	At       netip.AddrPort // no zone
}

// VirtualInterfaces hold addresses that are there for IPVS alone: kube-proxy's and kube-router's.
// They are known by name: a dummy interface may just as well hold addresses that the host itself
// serves.
var VirtualInterfaces = []string{"kube-ipvs0", "kube-dummy-if"}

// Compare orders services by address, protocol and port.
func (v VirtualService) Compare(o VirtualService) int {
	return cmp.Or(v.At.Addr().Compare(o.At.Addr()), cmp.Compare(v.Protocol, o.Protocol),
		cmp.Compare(v.At.Port(), o.At.Port()))
}

// Family is that of the address.
func (v VirtualService) Family() address.Family {
	if v.At.Addr().Is4() {
		return address.IPv4
	}
	return address.IPv6
}

// String is "tcp/10.96.0.1:443".
func (v VirtualService) String() string { return v.Protocol.String() + "/" + v.At.String() }

func (v VirtualService) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what String returns, and refuses what is not valid.
func (v *VirtualService) UnmarshalText(b []byte) error {
	protocol, at, _ := strings.Cut(string(b), "/")
	var out VirtualService
	var err, addressErr error
	out.Protocol, err = ParseProtocol(protocol)
	out.At, addressErr = netip.ParseAddrPort(at)
	if err := errors.Join(err, addressErr); err != nil {
		return fmt.Errorf("virtual service %q: %w", b, err)
	}
	if err := out.check(); err != nil {
		return err
	}
	*v = out
	return nil
}

func (v VirtualService) check() error {
	if a := v.At.Addr(); !v.Protocol.HasPorts() || !a.IsValid() || a.Is4In6() || a.Zone() != "" ||
		v.At.Port() == 0 {
		return fmt.Errorf("virtual service %q: it needs tcp, udp or sctp, an address and a port", v)
	}
	return nil
}

// WithVirtual is a canonical State with other virtual services, canonical too.
func (s State) WithVirtual(list []VirtualService) (State, error) {
	virtual, err := s.canonicalVirtual(list)
	s.Virtual = virtual
	return s, err
}

// EqualButVirtual reports whether two canonical States enforce the same but for services of IPVS,
// which are the host's and not the policy's.
func (s State) EqualButVirtual(o State) bool {
	s.Virtual, o.Virtual = nil, nil
	return s.Equal(o)
}

// canonicalVirtual orders virtual services. Where unlisted ports are left alone, only ports that a
// service lists matter.
func (s State) canonicalVirtual(list []VirtualService) (out []VirtualService, err error) {
	type port struct {
		protocol Protocol
		number   uint16
	}
	listed := map[port]bool{} // few ports, with many addresses each
	for _, v := range list {
		if err := v.check(); err != nil {
			return nil, err
		}
		p := port{v.Protocol, v.At.Port()}
		counts, known := listed[p]
		if !known {
			counts = s.Unlisted == UnlistedDeny || s.Listed(p.protocol, p.number)
			listed[p] = counts
		}
		if counts {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, VirtualService.Compare)
	return slices.Compact(out), nil
}

// VirtualIn are the virtual services of a family, in order.
func (s State) VirtualIn(f address.Family) []VirtualService {
	first6, _ := slices.BinarySearchFunc(
		s.Virtual,
		address.IPv6,
		func(v VirtualService, f address.Family) int {
			return cmp.Compare(v.Family(), f)
		},
	)
	if f == address.IPv4 {
		return s.Virtual[:first6:first6]
	}
	return s.Virtual[first6:]
}

// IsVirtual reports whether IPVS serves the port at this address.
func (s State) IsVirtual(p Protocol, a netip.Addr, port uint16) bool {
	if len(s.Virtual) == 0 {
		return false
	}
	v := VirtualService{p, netip.AddrPortFrom(a.Unmap().WithZone(""), port)}
	_, found := slices.BinarySearchFunc(s.Virtual, v, VirtualService.Compare)
	return found
}

// passesToIPVS reports whether a flow to a virtual service is left alone: no service lists the
// port, or it comes from the host's own workloads and no service names the address.
func (x *Index) passesToIPVS(f Flow) bool {
	if !f.Destination.IsValid() || !x.state.IsVirtual(f.Protocol, f.Destination, f.Port) {
		return false
	}
	if x.First(f.Protocol, f.Port) < 0 {
		return true
	}
	for _, i := range x.At(f.Protocol, f.Port, "", f.Destination) {
		if x.services[i].Addresses.Len() > 0 {
			return false
		}
	}
	return f.Interface != "" && slices.ContainsFunc(x.state.Inside(),
		func(p string) bool { return MatchInterface(p, f.Interface) })
}
