package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// Document writes services down as a policy that compiles to them. purposes say, by name, what each
// is for; "" says nothing. Services that expire, or limit rates, are not written so: Document is
// for policies that are put together from what is found on a host.
func Document(services []firewall.Service, purposes map[string]string) string {
	var b strings.Builder
	b.WriteString("version: 1\n")
	if len(services) == 0 {
		b.WriteString("services: []\n")
		return b.String()
	}
	b.WriteString("services:\n")
	for _, s := range services {
		fmt.Fprintf(&b, "  - name: %s\n", plainOrQuoted(s.Name))
		var ports []string
		protocols := map[firewall.Protocol]bool{}
		for _, r := range s.Ports {
			protocols[r.Protocol] = true
			if !r.Protocol.HasPorts() {
				continue
			}
			if r.First == r.Last {
				ports = append(ports, strconv.Itoa(int(r.First)))
			} else {
				ports = append(ports, fmt.Sprintf("%q", fmt.Sprintf("%d-%d", r.First, r.Last)))
			}
		}
		if len(ports) > 0 {
			fmt.Fprintf(&b, "    port: %s\n", bracketed(ports))
		}
		for p := range protocols {
			if p != firewall.TCP {
				fmt.Fprintf(&b, "    protocol: %s\n", protocolText(p))
			}
		}
		if len(s.Interfaces) > 0 {
			var names []string
			for _, n := range s.Interfaces {
				names = append(names, plainOrQuoted(n))
			}
			fmt.Fprintf(&b, "    interfaces: [%s]\n", strings.Join(names, ", "))
		}
		if s.Addresses.Len() > 0 {
			fmt.Fprintf(&b, "    addresses: [%s]\n", strings.Join(sourcesOf(s.Addresses), ", "))
		}
		allow, except := s.Sources.Short()
		fmt.Fprintf(&b, "    allow: [%s]\n", strings.Join(sourcesOf(allow), ", "))
		// IPv4-mapped sources can't be written, and the kernel takes them from no wire.
		list := slices.DeleteFunc(
			sourcesOf(except),
			func(s string) bool { return strings.HasPrefix(s, `"::ffff:`) && strings.Contains(s, ".") },
		)
		if len(list) > 0 {
			fmt.Fprintf(&b, "    except: [%s]\n", strings.Join(list, ", "))
		}
		if p := purposes[s.Name]; p != "" {
			fmt.Fprintf(&b, "    purpose: %s\n", plainOrQuoted(p))
		}
	}
	return b.String()
}

func bracketed(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// sourcesOf writes prefixes as people do: an address alone, any for everything.
func sourcesOf(p firewall.Prefixes) []string {
	if p.Equal(builtIn["any"]) {
		return []string{"any"}
	}
	var out []string
	for x := range p.All() {
		s := x.String()
		if x.IsSingleIP() {
			s = x.Addr().String()
		}
		if x.Addr().Is6() {
			s = strconv.Quote(s)
		}
		out = append(out, s)
	}
	return out
}

// plainOrQuoted is a text that YAML reads as that text: in quotes, unless it is a plain word.
func plainOrQuoted(s string) string {
	plain := s != "" && (s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z') &&
		!strings.ContainsFunc(s, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._/", r))
		})
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "null", "y", "n":
		plain = false
	}
	if plain {
		return s
	}
	return strconv.Quote(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return ' '
		}
		return r
	}, s))
}
