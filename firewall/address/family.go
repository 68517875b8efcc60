package address

// Family is IPv4 or IPv6.
type Family uint8

const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// Families lists both, IPv4 first.
var Families = []Family{IPv4, IPv6}

// String is "ipv4" or "ipv6", the spelling of the JSON contract.
func (f Family) String() string {
	if f == IPv6 {
		return "ipv6"
	}
	return "ipv4"
}

// Bits is the length of an address.
func (f Family) Bits() int {
	if f == IPv6 {
		return 128
	}
	return 32
}
