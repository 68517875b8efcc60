package audit

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/portgrave/portgrave/firewall/address"
)

var testNetworks = map[string]address.Set{
	"any":        allFamily,
	"private":    address.Must("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
	"office":     address.Must("203.0.113.0/24", "2001:db8:10::/48"),
	"vpn":        address.Must("10.8.0.0/16"),
	"monitoring": address.Must("10.20.0.0/16"),
	"lab":        address.Must("10.20.66.0/24"),
}

func TestNames(t *testing.T) {
	n := NewNamer(testNetworks)
	net := func(name string) address.Set { return testNetworks[name] }
	for want, s := range map[string]address.Set{
		"nobody":                              {},
		"everywhere":                          allFamily,
		"everywhere (IPv6)":                   allV6,
		"vpn, office (IPv4)":                  address.Must("203.0.113.0/24", "10.8.0.0/16"),
		"office":                              net("office"),
		"everywhere except office":            allFamily.Minus(net("office")),
		"everywhere except monitoring (IPv4)": allV4.Minus(net("monitoring")),
		"private, office":                     net("private").Union(net("office")),
		"monitoring except lab":               net("monitoring").Minus(net("lab")),
		"office, 198.51.100.7":                net("office").Union(address.Must("198.51.100.7/32")),
		"everywhere except 64.0.0.0/3":        allFamily.Minus(address.Must("64.0.0.0/3")),
		"office (IPv4)":                       address.Must("203.0.113.0/24"),
		"203.0.113.0/25":                      address.Must("203.0.113.0/25"), // a part of office
		"203.0.112.0/23":                      address.Must("203.0.112.0/23"), // more than office
		"198.51.0.0/16 except 198.51.7.0/24": address.Must("198.51.0.0/16").
			Minus(address.Must("198.51.7.0/24")),
		"1.0.0.0/8, 3.0.0.0/8, 5.0.0.0/8, … (5 in all)": address.Must(
			"1.0.0.0/8", "3.0.0.0/8", "5.0.0.0/8", "7.0.0.0/8", "9.0.0.0/8"),
	} {
		if got := n.Words(s); got != want {
			t.Errorf("%v is %q, not %q", s.FirstStrings(min(s.Len(), 5)), got, want)
		}
	}
}

// What is said is exactly the sources, whatever they are made of.
// A network that is called like everything or nothing would say something false.
func TestNamesThatMisleadAreNotUsed(t *testing.T) {
	n := NewNamer(map[string]address.Set{
		"everywhere": address.Must("10.0.0.0/8"),
		"nobody":     address.Must("11.0.0.0/8"),
	})
	for _, want := range []string{"10.0.0.0/8", "11.0.0.0/8"} {
		if got := n.Words(address.Must(want)); got != want {
			t.Errorf("%s is called %s", want, got)
		}
	}
}

func TestNamesAreExact(t *testing.T) {
	pieces := []address.Set{allV4, allV6, address.Must("198.51.100.7/32"), address.Must("::1/128"),
		address.Must("10.20.66.0/25"), address.Must("203.0.113.0/25"), address.Must("10.0.0.0/9")}
	for _, s := range testNetworks {
		pieces = append(pieces, s)
	}
	n := NewNamer(testNetworks)
	rapid.Check(t, func(t *rapid.T) {
		var s address.Set
		for _, i := range rapid.SliceOfN(rapid.IntRange(0, 2*len(pieces)-1), 1, 6).Draw(t, "") {
			if i < len(pieces) {
				s = s.Union(pieces[i])
			} else {
				s = s.Minus(pieces[i-len(pieces)])
			}
		}
		words := n.Words(s)
		if strings.Contains(words, "…") || words == "nobody" {
			return
		}
		if got := meaning(words); !got.Equal(s) {
			t.Fatalf("%q for %v", words, s.Strings())
		}
	})
}

// meaning reads words of a Namer.
func meaning(words string) address.Set {
	only := allFamily
	if list, v4 := strings.CutSuffix(words, " (IPv4)"); v4 {
		words, only = list, allV4
	} else if list, v6 := strings.CutSuffix(words, " (IPv6)"); v6 {
		words, only = list, allV6
	}
	base, except, _ := strings.Cut(words, " except ")
	all := func(list string) (out address.Set) {
		for word := range strings.SplitSeq(list, ", ") {
			set, known := testNetworks[word]
			switch p, err := netip.ParsePrefix(word); {
			case word == Everywhere:
				set = allFamily
			case known, word == "":
			case err == nil:
				set = address.Must(p.String())
			default:
				a := netip.MustParseAddr(word)
				set = address.Must(netip.PrefixFrom(a, a.BitLen()).String())
			}
			out = out.Union(set)
		}
		return out
	}
	return all(base).Minus(all(except)).Intersect(only)
}

// A million sources take no time.
func TestNamesOfLongLists(t *testing.T) {
	var b address.Builder
	for i := range 1_000_000 {
		_ = b.Add(netip.PrefixFrom(netip.AddrFrom4(
			[4]byte{byte(11 + i>>19), byte(i >> 11), byte(i >> 3), byte(i<<5) | 1}), 32))
	}
	huge := b.Set()
	networks := map[string]address.Set{"huge": huge}
	for name, s := range testNetworks {
		networks[name] = s
	}
	n := NewNamer(networks)
	start := time.Now()
	if got := n.Words(huge); got != "huge" {
		t.Errorf("it is %q", got)
	}
	if got := n.Words(huge.Union(testNetworks["vpn"])); !strings.HasSuffix(got, " in all)") {
		t.Errorf("it is %q", got)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
}

// A thousand services and networks, each another one, are named in time.
func TestNamesOfManyNetworks(t *testing.T) {
	networks := map[string]address.Set{}
	var sets []address.Set
	for i := range 1000 {
		s := address.Must(fmt.Sprintf("10.%d.%d.0/24", i/250, i%250))
		networks[fmt.Sprintf("net-%d", i)] = s
		sets = append(sets, s.Union(address.Must("192.0.2.0/24")))
	}
	n := NewNamer(networks)
	start := time.Now()
	for i, s := range sets {
		if got, want := n.Words(s), fmt.Sprintf("net-%d, 192.0.2.0/24", i); got != want {
			t.Fatalf("%q, not %q", got, want)
		}
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
}
