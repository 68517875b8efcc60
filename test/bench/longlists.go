package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// longList is a host that lets in a long list, and the program that prints what is in its kernel.
type longList struct {
	what string
	list func(n int) []netip.Prefix
	// part is the share of the measured prefixes: to list one set takes the kernel time that grows
	// with the square of its length.
	part float64
	load func(j *job, list []netip.Prefix) error
	dump []string
	six  bool
}

var longLists = []longList{
	{what: "hosts of IPv4", list: sameLength(32), part: 1, load: (*job).loadOwn, dump: listRuleset},
	{what: "/24 of IPv4", list: sameLength(24), part: 1, load: (*job).loadOwn, dump: listRuleset},
	{what: "CIDRs of IPv4", list: mixedLengths, part: 1, load: (*job).loadOwn, dump: listRuleset},
	{what: "hosts of an IPv6 network", list: hostsOfIPv6("2001:db8::/64"), part: 1,
		load: (*job).loadOwn, dump: listRuleset, six: true},
	{what: "hosts of all IPv6", list: hostsOfIPv6("2000::/4"), part: 1, load: (*job).loadOwn,
		dump: listRuleset, six: true},
	{what: "hosts in an ipset (hash:ip)", list: sameLength(32), part: 0.4,
		load: loadIPSet("hash:ip"), dump: []string{"ipset", "save"}},
	{what: "CIDRs in an ipset (hash:net)", list: mixedLengths, part: 0.4,
		load: loadIPSet("hash:net"), dump: []string{"ipset", "save"}},
	{what: "hosts in a set of nft", list: sameLength(32), part: 0.4, load: (*job).loadSet,
		dump: listRuleset},
}

var listRuleset = []string{"nft", "-j", "list", "ruleset"}

// longListsOf measures audit, explain and import of a host that lets in a long list. They are
// measured beside the program that lists the same kernel's sets.
func longListsOf(x longList) func(*job) error {
	return func(j *job) error {
		if missing := uninstalled([]string{x.dump[0], "iptables-nft"}); missing != "" {
			j.leaveOut(fmt.Sprintf("audits of %s, since %s is not installed", x.what, missing))
			return nil
		}
		list := x.list(int(float64(j.prefixes) * x.part))
		if err := x.load(j, list); err != nil {
			return err
		}
		network, at := "tcp4", "0.0.0.0:9090"
		if x.six {
			network, at = "tcp6", "[::]:9090"
		}
		if _, err := j.world.Host.Listen(network, at); err != nil {
			return err
		}
		from := list[len(list)/2].Addr().String()
		what := shortCount(len(list)) + " " + x.what
		for _, verb := range []struct {
			what string
			args func(round int) []string
		}{
			{"audit", func(int) []string { return []string{"audit", "--no-probe"} }},
			{"audit -o json", func(int) []string { return []string{"audit", "--no-probe", "-o", "json"} }},
			{"explain", func(int) []string {
				return []string{"explain", "--from", from, "--port", "9090"}
			}},
			{"import", func(round int) []string {
				return []string{
					"import", "--folder", filepath.Join(j.dir, fmt.Sprint("import", round)),
				}
			}},
		} {
			if err := j.besideDump(verb.what+" of "+what, x.dump, verb.args); err != nil {
				return err
			}
		}
		return nil
	}
}

// besideDump measures a verb and a program that lists the same, in turn.
func (j *job) besideDump(what string, dump []string, args func(round int) []string) error {
	j.progress("%s", what)
	row := JobRow{What: what}
	for i := range j.rounds {
		var listed Run
		err := j.world.Host.Do(func() (err error) {
			o := RunOptions{Limit: setupTimeout, Discard: true}
			listed, err = timeProgram(j.ctx, o, dump[0], dump[1:]...)
			return err
		})
		if err != nil {
			return err
		}
		r, err := j.run("long.yaml", jobLimit, args(i)...)
		if errors.Is(err, errTimeout) {
			row.Note = fmt.Sprintf("> %v", jobLimit)
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		row.Seconds, row.Peak = append(row.Seconds, r.Took.Seconds()), max(row.Peak, r.Peak)
		row.OverDump = append(row.OverDump, r.Took.Seconds()/max(listed.Took.Seconds(), 1e-3))
	}
	j.report.Jobs = append(j.report.Jobs, row)
	return nil
}

// loadOwn loads a list as Portgrave does.
func (j *job) loadOwn(list []netip.Prefix) error {
	policy := fmt.Sprintf("version: 1\nnetworks:\n  list: {file: long.txt, max: %d}\nservices:\n"+
		"  - {name: metrics, port: 9090, allow: [list]}\n", 2*len(list))
	err := j.write(map[string]string{"long.txt": string(networkFile(list)), "long.yaml": policy})
	if err != nil {
		return err
	}
	_, err = j.run("long.yaml", setupTimeout, "apply", "--force")
	return err
}

// loadScript hands a script to a program, with a policy that says nothing about the list.
func (j *job) loadScript(script string, program ...string) error {
	policy := "version: 1\nservices:\n  - {name: metrics, port: 9090, allow: [private]}\n"
	if err := j.write(map[string]string{"script": script, "long.yaml": policy}); err != nil {
		return err
	}
	return j.world.Host.Do(func() error {
		o := RunOptions{
			Limit: setupTimeout,
			Stdin: filepath.Join(j.dir, "script"),
			Env:   environment(j.dir),
		}
		_, err := timeProgram(j.ctx, o, program[0], program[1:]...)
		return err
	})
}

// loadIPSet loads a list into an ipset that a rule of iptables looks up.
func loadIPSet(kind string) func(*job, []netip.Prefix) error {
	return func(j *job, list []netip.Prefix) error {
		var sets strings.Builder
		fmt.Fprintf(&sets, "create long %s maxelem %d\n", kind, 2*len(list))
		for _, p := range list {
			fmt.Fprintf(&sets, "add long %v\n", p)
		}
		if err := j.loadScript(sets.String(), "ipset", "restore"); err != nil {
			return err
		}
		const rules = "*filter\n:INPUT DROP [0:0]\n" +
			"-A INPUT -p tcp --dport 9090 -m set --match-set long src -j ACCEPT\nCOMMIT\n"
		return j.loadScript(rules, "iptables-nft-restore", "--noflush")
	}
}

// loadSet loads a list into a set of nft, with intervals.
func (j *job) loadSet(list []netip.Prefix) error {
	var s strings.Builder
	s.WriteString("table inet others {\nset long { type ipv4_addr; flags interval; elements = {\n")
	for _, p := range list {
		fmt.Fprintf(&s, "%v,\n", p)
	}
	s.WriteString("} }\nchain in { type filter hook input priority 0; policy drop;\n" +
		"tcp dport 9090 ip saddr @long accept\n}\n}\n")
	return j.loadScript(s.String(), "nft", "-f", "-")
}

func mixedLengths(n int) []netip.Prefix { return NewLists(IPv4, n).Initial }

// sameLength draws prefixes of one length that don't touch.
func sameLength(bits int) func(n int) []netip.Prefix {
	return func(n int) []netip.Prefix {
		r := rand.New(rand.NewPCG(3, uint64(n)))
		size, total := uint64(1)<<(32-bits), uint64(0)
		for _, z := range zones {
			total += z[1] - z[0]
		}
		step := total / uint64(n+len(zones)) / size * size
		out := make([]netip.Prefix, 0, n)
		for _, z := range zones {
			for from := z[0]; from+step <= z[1] && len(out) < n; from += step {
				at := from + r.Uint64N(max(step/size-1, 1))*size
				out = append(out, prefixOf(IPv4, at, bits))
			}
		}
		return out
	}
}

// hostsOfIPv6 draws addresses of a network that don't touch.
func hostsOfIPv6(network string) func(n int) []netip.Prefix {
	return func(n int) []netip.Prefix {
		r := rand.New(rand.NewPCG(4, uint64(n)))
		within := netip.MustParsePrefix(network)
		base := within.Addr().As16()
		out := make([]netip.Prefix, 0, n)
		for range n {
			a := base
			binary.BigEndian.PutUint64(a[8:], r.Uint64()&^1)
			if within.Bits() < 64 {
				high := binary.BigEndian.Uint64(base[:]) | r.Uint64()>>within.Bits()
				binary.BigEndian.PutUint64(a[:], high)
			}
			out = append(out, netip.PrefixFrom(netip.AddrFrom16(a), 128))
		}
		slices.SortFunc(out, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
		return slices.Compact(out)
	}
}
