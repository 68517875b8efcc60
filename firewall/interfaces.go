package firewall

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Interface patterns are names ("eth0") and prefixes of names that end in "*" ("eth*"). Of any two,
// one covers the other or no name matches both, as with CIDRs. So patterns in the order of
// comparePatterns stand right behind what covers them, and what covers a pattern is found by
// looking up its prefixes.

// maxInterfaceName is IFNAMSIZ − 1 (include/uapi/linux/if.h): the longest interface name.
const maxInterfaceName = 15

// canonicalInterfaces orders patterns and drops those that another one covers. "*" covers all,
// which is the same as naming none.
func canonicalInterfaces(in []string) ([]string, error) {
	for _, p := range in {
		if err := CheckInterfacePattern(p); err != nil {
			return nil, err
		}
	}
	sorted := slices.Clone(in)
	slices.SortFunc(sorted, comparePatterns)
	var out []string
	for _, p := range sorted {
		if p == "*" {
			return nil, nil
		}
		if n := len(out); n == 0 || !interfaceCovers(out[n-1], p) {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out, nil
}

// comparePatterns puts a pattern right before those that it covers.
func comparePatterns(a, b string) int {
	x, wildA := strings.CutSuffix(a, "*")
	y, wildB := strings.CutSuffix(b, "*")
	switch c := strings.Compare(x, y); {
	case c != 0 || wildA == wildB:
		return c
	case wildA:
		return -1
	}
	return 1
}

// CheckInterfacePattern tells what is wrong with an interface name or pattern; nil if nothing.
func CheckInterfacePattern(p string) error {
	name := strings.TrimSuffix(p, "*")
	switch {
	case p == "":
		return errors.New("an interface name is empty")
	case p == "lo":
		return errors.New("interface lo: loopback traffic is never filtered")
	case len(name) > maxInterfaceName:
		return fmt.Errorf(
			"interface %q is longer than the kernel's %d characters",
			p,
			maxInterfaceName,
		)
	case strings.ContainsAny(name, "*/ \t\n\x00:\"\\"):
		return fmt.Errorf("interface %q: a name, or a prefix that ends in one *", p)
	}
	return nil
}

// MatchInterface reports whether a pattern ("eth0", "eth*") matches an interface name.
func MatchInterface(pattern, name string) bool {
	if prefix, wild := strings.CutSuffix(pattern, "*"); wild {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

// interfaceCovers reports whether every name that q matches is matched by p too.
func interfaceCovers(p, q string) bool {
	prefix, wild := strings.CutSuffix(p, "*")
	if !wild {
		return p == q
	}
	return strings.HasPrefix(strings.TrimSuffix(q, "*"), prefix)
}
