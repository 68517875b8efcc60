package xt

import (
	"bufio"
	"bytes"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// readSets reads what `ipset save` prints: a create line for each set, and an add line for each of its elements.
// Sets that do not bear a name of ours are passed over.
//
//	create NAME TYPE family inet hashsize 1024 maxelem 65536 timeout 0 bucketsize 12 initval 0x…
//	add NAME 10.0.0.0/8 timeout 3599
func readSets(r *ruleset, out []byte, now time.Time) error {
	lines := bufio.NewScanner(bytes.NewReader(out))
	var s *set
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		// The interactive mode, which saves many sets in one run, prints its prompt before what it was asked for.
		for strings.HasPrefix(line, prompt) {
			line = strings.TrimSpace(strings.TrimPrefix(line, prompt))
		}
		verb, rest, _ := strings.Cut(line, " ")
		name, rest, _ := strings.Cut(rest, " ")
		switch {
		case line == "":
		case verb == "create":
			s = newSet(name, strings.Fields(rest))
			if s != nil {
				r.sets[name] = s
			}
		case verb == "add" && s != nil && s.name == name:
			if e, ok := readElement(rest, s.kind, now); ok {
				s.elements = append(s.elements, e)
			} else {
				s.odd++
			}
		case verb == "add":
		default:
			return fmt.Errorf("ipset save, line %d: %q is neither create nor add", number, line)
		}
	}
	for _, s := range r.sets {
		slices.SortFunc(s.elements, compareElements)
	}
	return lines.Err()
}

const prompt = "ipset>"

// newSet reads a create line: nil for a set that does not bear a name of ours. A set of another shape than its name says gets no kind.
func newSet(name string, header []string) *set {
	if !setNames.MatchString(name) {
		return nil
	}
	s := &set{name: name, service: serviceOf(name), kind: setKind(name[len(baseChain)+1]), family: firewall.IPv4}
	if name[len(baseChain)+2] == '6' {
		s.family = firewall.IPv6
	}
	want := strings.Fields(createWords(s.kind, s.family))
	// Sizes are the kernel's business: it makes sets larger by itself.
	sizes := map[string]bool{"hashsize": true, "maxelem": true, "bucketsize": true, "initval": true}
	var have []string
	for i := 0; i < len(header); i++ {
		if sizes[header[i]] {
			i++
			continue
		}
		have = append(have, header[i])
	}
	if !slices.Equal(want, have) {
		s.kind = 0
	}
	return s
}

// createWords is the type of a set and what must be said at its creation, sizes aside, as ipset prints it.
func createWords(k setKind, f firewall.Family) string {
	words := "hash:net"
	if k == kindHosts {
		words = "hash:ip"
	}
	if f == firewall.IPv6 {
		words += " family inet6"
	} else {
		words += " family inet"
	}
	if k == kindUntil {
		words += " timeout 0"
	}
	return words
}

func readElement(s string, k setKind, now time.Time) (element, bool) {
	address, options, _ := strings.Cut(s, " ")
	p, ok := parsePrefix(address)
	if !ok || p.Masked() != p {
		return element{}, false
	}
	e := element{prefix: p}
	if options == "" {
		return e, k != kindUntil
	}
	seconds, only := strings.CutPrefix(options, "timeout ")
	n, err := strconv.ParseInt(seconds, 10, 32)
	if !only || err != nil {
		return element{}, false
	}
	if n > 0 { // 0: never ends
		e.until = now.Add(time.Duration(n) * time.Second)
	}
	return e, true
}

// mostElements is every set's maxelem. It costs nothing: memory follows hashsize and the elements.
const mostElements = 1 << 24

// createLine creates a set with room for n elements from the start, so that loading it never stops to rehash. A
// bucket holds twelve elements at most before the kernel doubles hashsize (AHASH_MAX_SIZE, net/netfilter/ipset/ip_set_hash_gen.h).
func createLine(name string, k setKind, f firewall.Family, n int) string {
	size := max(64, 1<<bits.Len(uint(n/4)))
	words := strings.TrimSuffix(createWords(k, f), " timeout 0")
	line := fmt.Sprintf("create %s %s hashsize %d maxelem %d", name, words, size, mostElements)
	if k == kindUntil {
		line += " timeout 0"
	}
	return line + "\n"
}

// appendElements writes one line for each element: "add NAME 10.0.0.0/8 timeout 60".
func appendElements(b []byte, verb, name string, list []element, now time.Time) []byte {
	for _, e := range list {
		b = append(b, verb...)
		b = append(b, ' ')
		b = append(b, name...)
		b = append(b, ' ')
		b = appendPrefix(b, e.prefix)
		if verb == "add" && !e.until.IsZero() {
			left := min(max(e.until.Sub(now), time.Second), longestTimeout)
			b = append(b, " timeout "...)
			b = strconv.AppendInt(b, int64(left/time.Second), 10)
		}
		b = append(b, '\n')
	}
	return b
}

func appendPrefix(b []byte, p netip.Prefix) []byte {
	if p.IsSingleIP() {
		return p.Addr().AppendTo(b)
	}
	return p.AppendTo(b)
}
