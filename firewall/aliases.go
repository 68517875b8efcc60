package firewall

import (
	"net/netip"

	"github.com/portgrave/portgrave/firewall/address"
)

// The set algebra has moved to package address. These are its names of before, until every user
// calls it by its own.

type (
	Family          = address.Family
	Prefixes        = address.Set
	PrefixesBuilder = address.Builder
	Address4        = address.V4
	Address6        = address.V6
	SetIdentity     = address.Identity
	// Prefix is a CIDR with no host bits set, IPv4 or IPv6, never IPv4-mapped, never zoned.
	Prefix = netip.Prefix
)

const (
	IPv4 = address.IPv4
	IPv6 = address.IPv6
)

// Families lists both, IPv4 first.
var Families = address.Families

// NewPrefixes is address.New.
func NewPrefixes(prefixes ...Prefix) (Prefixes, error) { return address.New(prefixes...) }

// MustPrefixes is address.Must.
func MustPrefixes(cidrs ...string) Prefixes { return address.Must(cidrs...) }

// Address4Of is address.V4Of.
func Address4Of(a netip.Addr) Address4 { return address.V4Of(a) }
