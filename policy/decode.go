package policy

import (
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// decoder turns checked nodes into a Policy. It continues after mistakes, to find all of them.
type decoder struct {
	report reporter
	policy *Policy
	names  map[string]Location // services by name
	// incomplete is true if a file could not be read, so that names may be defined there.
	incomplete bool
	// portsUncertain is true if mistakes may hide some ports of services.
	portsUncertain bool
	testTargets    []testTarget
}

// testTarget is a service that a test names.
type testTarget struct {
	name string
	at   Location
}

func newDecoder() *decoder {
	return &decoder{names: map[string]Location{}, policy: &Policy{
		Boot: "closed",
		Daemon: DaemonConfig{
			Protect:  "auto",
			MaxLease: defaultMaxLease,
			Poll:     DefaultPoll,
			Follow:   FollowNetworks,
		},
		unlisted:    firewall.UnlistedIgnore,
		refuse:      firewall.RefuseDrop,
		established: firewall.EstablishedCut,
		essentials:  firewall.DefaultEssentials,
		networks:    map[string]*network{},
	}}
}

func (d *decoder) file(name string, content []byte, s mapping) {
	root := parseYAML(name, content, &d.report)
	if root == nil {
		d.incomplete = true
		return
	}
	check(root, s, &d.report)
	if root.kind != kindMapping {
		d.portsUncertain = d.portsUncertain || root.kind != kindNull
		return
	}
	for _, f := range root.fields {
		d.portsUncertain = d.portsUncertain || !s.knows(f.key) // it may be services, misspelt
	}
	p := d.policy
	setText(root, "unlisted", &p.unlisted)
	if n := root.get("unlisted"); n != nil {
		p.unlistedAt = n.at
	}
	setText(root, "refuse", &p.refuse)
	setText(root, "established", &p.established)
	setText(root, "boot", &p.Boot)
	if e := root.get("essentials"); e != nil && e.kind == kindMapping {
		if p.unlisted != firewall.UnlistedDeny {
			d.report.at(
				e.at,
				"essentials has a meaning only with unlisted: deny; "+
					"with ignore nothing of it is closed",
			)
		}
		for _, f := range e.fields {
			bit, err := firewall.ParseEssential(f.key)
			switch {
			case err != nil || f.value.kind != kindBool: // check has reported it
			case f.value.text == "false":
				p.essentials &^= bit
			default:
				p.essentials |= bit
			}
		}
	}
	if n := root.get("daemon"); n != nil {
		setText(n, "protect", &p.Daemon.Protect)
		setText(n, "metrics", &p.Daemon.Metrics)
		d.duration(n, "max_lease", &p.Daemon.MaxLease)
		d.duration(n, "poll", &p.Daemon.Poll)
		setText(n, "follow", &p.Daemon.Follow)
	}
	if n := root.get("networks"); n != nil {
		for _, f := range n.fields {
			d.network(f, filepath.Dir(name))
		}
	}
	if n := root.get("direct"); n != nil {
		p.direct = d.direct(n.get("interfaces"))
	}
	d.services(root.get("services"))
	for _, n := range itemsOf(root.get("tests")) {
		d.test(n)
	}
	for _, n := range itemsOf(root.get("accept")) {
		d.accept(n)
	}
}

func (d *decoder) duration(n *node, key string, to *time.Duration) {
	v := n.get(key)
	if v == nil || v.kind != kindString || !durationPattern.MatchString(v.text) {
		return
	}
	parsed, err := parseDuration(v.text)
	if err != nil || parsed <= 0 {
		d.report.at(
			v.at,
			"%q: the duration must be longer than nothing and shorter than 290 years",
			v.text,
		)
		return
	}
	*to = parsed
}

// parseDuration is time.ParseDuration with "d" for days of 24 hours.
func parseDuration(s string) (time.Duration, error) {
	var total time.Duration
	for s != "" {
		i := strings.IndexAny(s, "dhms")
		end := i + 1
		if strings.HasPrefix(s[i:], "ms") {
			end++
		}
		part := s[:end]
		s = s[end:]
		factor := time.Duration(1)
		if number, days := strings.CutSuffix(part, "d"); days {
			part, factor = number+"h", 24
		}
		x, err := time.ParseDuration(part)
		if err != nil {
			return 0, err
		}
		if y := x * factor; y/factor != x || total+y < total {
			return 0, strconv.ErrRange
		} else {
			total += y
		}
	}
	return total, nil
}

func (d *decoder) network(f field, dir string) {
	n := &network{name: f.key, at: f.at, max: defaultMaxEntries, maxShrink: defaultMaxShrink}
	if _, taken := builtIn[f.key]; taken {
		d.report.at(f.at, "network %q is built in; choose another name", f.key)
		return
	}
	if looksLikeAddress(f.key) {
		d.report.at(
			f.at,
			"the name %q would be read as an address where it is used; choose another",
			f.key,
		)
		return
	}
	if first, twice := d.policy.networks[f.key]; twice {
		d.report.at(f.at, "network %q is defined twice, first at %s", f.key, first.at)
		return
	}
	d.policy.networks[f.key] = n
	if f.value.kind == kindList {
		n.entries = d.sources(f.value)
		return
	}
	v := f.value
	setText(v, "file", &n.file)
	n.sourceAt = n.at
	for _, key := range []string{"file", "url", "dns"} {
		n.sourceAt = locationIn(v, key, n.sourceAt)
	}
	setText(v, "url", &n.url)
	setText(v, "dns", &n.dns)
	setText(v, "sha256", &n.sha256)
	n.sha256 = strings.ToLower(n.sha256)
	if u, err := url.Parse(n.url); n.url != "" && (err != nil || u.Hostname() == "") &&
		httpsPattern.MatchString(n.url) {
		d.report.at(v.get("url").at, "%q is not a URL that can be asked", n.url)
	}
	if n.file != "" && !filepath.IsAbs(n.file) {
		n.file = filepath.Join(dir, n.file)
	}
	if v.kind == kindMapping && n.url == "" {
		for _, key := range []string{"sha256", "max"} {
			if x := v.get(key); x != nil && !(key == "max" && n.file != "") {
				d.report.at(x.at, "%s has a meaning only for a network with a url", key)
			}
		}
	}
	if x := v.get("refresh"); x != nil && n.file != "" {
		d.report.at(x.at, "a file is read each time; refresh has a meaning only for url and dns")
	}
	d.selects(v, n)
	n.refresh = defaultURLRefresh
	if n.dns != "" {
		n.refresh = defaultDNSRefresh
	}
	d.duration(v, "refresh", &n.refresh)
	if x := v.get("max"); x != nil {
		if limit, ok := decimal(x); ok {
			n.max = limit
		}
	}
	if x := v.get("max_shrink"); x != nil && x.kind == kindString &&
		percentPattern.MatchString(x.text) {
		// percentPattern allows only numbers that fit.
		n.maxShrink, _ = strconv.Atoi(strings.TrimSuffix(x.text, "%"))
	}
}

// selects reads the JSON path of a network.
func (d *decoder) selects(v *node, n *network) {
	x := v.get("select")
	if x == nil || x.kind != kindString || x.text == "" {
		return // check has reported it
	}
	if n.dns != "" {
		d.report.at(x.at, "select has a meaning only for a network with a file or a url")
	}
	path, err := parseSelect(x.text)
	if err != nil {
		d.report.at(x.at, "%v", err)
		return
	}
	n.selects = path
}

// source reads an address, a CIDR, a network's name, or a mapping with one of them.
func (d *decoder) source(n *node) (source, bool) {
	s := source{at: n.at}
	value := n
	if n.kind == kindMapping {
		if value = n.get("cidr"); value == nil {
			return s, false
		}
		x := n.get("expires")
		if x != nil && x.kind == kindString && expiryPattern.MatchString(x.text) {
			end, err := parseExpiry(x.text)
			if err != nil {
				d.report.at(x.at, "%q is not a date that exists", x.text)
				return s, false
			}
			if end.After(time.Date(endOfExpiries, time.January, 1, 0, 0, 0, 0, time.UTC)) {
				d.report.at(
					x.at,
					"%q is too far away: write a date before %d, or leave expires out",
					x.text,
					endOfExpiries,
				)
				return s, false
			}
			s.expires = end
		}
	}
	if value.kind != kindString || value.text == "" {
		return s, false
	}
	prefix, err := parseSource(value.text)
	switch {
	case err == nil:
		s.prefix = prefix
	case value.text == "*":
		d.report.at(value.at, "%v%s", err, networkHint(value.text))
		return s, false
	case looksLikeAddress(value.text) || !namePattern.MatchString(value.text):
		d.report.at(value.at, "%v", err)
		return s, false
	default:
		s.network = value.text
		s.at = value.at
	}
	return s, true
}

// endOfExpiries is the year from which on an expiry is refused: a time.Duration ends after 292
// years, and the kernel's timeouts after 584 (nf_msecs_to_jiffies64 in
// net/netfilter/nf_tables_api.c).
const endOfExpiries = 2200

// parseExpiry reads a date, which means the end of that day in UTC, or an RFC 3339 time.
func parseExpiry(s string) (time.Time, error) {
	if day, err := time.Parse(time.DateOnly, s); err == nil {
		return day.AddDate(0, 0, 1), nil
	}
	return time.Parse(time.RFC3339, strings.ToUpper(strings.Replace(s, " ", "T", 1)))
}

func (d *decoder) services(n *node) {
	// A mapping in place of the list is probably a service.
	d.portsUncertain = d.portsUncertain || n != nil && n.kind == kindMapping
	for _, x := range itemsOf(n) {
		d.service(x)
	}
}

func (d *decoder) service(n *node) {
	if n.kind != kindMapping {
		d.portsUncertain = true
		return
	}
	s := service{info: ServiceInfo{Location: n.at}, lines: serviceLines(n)}
	e := &s.enforced
	e.Log = firewall.LogDenied
	setText(n, "name", &e.Name)
	setText(n, "log", &e.Log)
	setText(n, "owner", &s.info.Owner)
	setText(n, "environment", &s.info.Environment)
	setText(n, "purpose", &s.info.Purpose)
	setText(n, "runbook", &s.info.Runbook)
	setText(n, "tls", &s.info.TLS)
	setText(n, "health", &s.info.Health)
	if first, twice := d.names[e.Name]; twice && e.Name != "" {
		d.report.at(n.get("name").at, "service %q is defined twice, first at %s", e.Name, first)
		d.portsUncertain = true
		return
	} else if x := n.get("name"); x != nil {
		d.names[e.Name] = x.at
	}
	before := d.report.count()
	e.Ports, s.portsAt = d.ports(n)
	d.portsUncertain = d.portsUncertain || d.report.count() > before ||
		hasMistakes(n, "port", "protocol")
	e.Interfaces = d.interfaces(n.get("interfaces"))
	e.Addresses = d.addresses(n.get("addresses"))
	s.uncertain = e.Name == "" || d.report.count() > before ||
		hasMistakes(n, "name", "port", "protocol", "interfaces", "addresses")
	e.Rate = d.rate(n.get("rate"))
	s.nameAt = locationIn(n, "name", n.at)
	s.portAssumed = n.get("port") == nil && len(e.Ports) > 0 && e.Ports[0].Protocol.HasPorts()
	s.allowAt = locationIn(n, "allow", s.nameAt)
	s.exceptAt = locationIn(n, "except", s.nameAt)
	s.allow, s.except = d.sources(n.get("allow")), d.sources(n.get("except"))
	d.policy.services = append(d.policy.services, s)
}

// sources reads a list of sources; check has reported other kinds.
func (d *decoder) sources(n *node) (list []source) {
	if n == nil || n.kind != kindList {
		return nil
	}
	for _, x := range n.items {
		if s, ok := d.source(x); ok {
			list = append(list, s)
		}
	}
	return list
}

// hasMistakes reports whether mistakes in a service may hide the value of some keys. Such a service
// is not checked for clashes.
func hasMistakes(n *node, keys ...string) bool {
	var r reporter
	for _, f := range n.fields {
		i := slices.IndexFunc(serviceShape.keys, func(k key) bool { return k.name == f.key })
		if i < 0 {
			return true // it may be a misspelt port
		}
		if slices.Contains(keys, f.key) {
			check(f.value, serviceShape.keys[i].shape, &r)
		}
	}
	return r.count() > 0
}

func (d *decoder) portRange(n *node) (first, last uint16, ok bool) {
	if n.kind != kindInteger && n.kind != kindString ||
		n.kind == kindString && !portPattern.MatchString(n.text) {
		return 0, 0, false
	}
	from, to, isRange := strings.Cut(n.text, "-")
	if !isRange {
		to = from
	}
	a, erra := strconv.ParseUint(from, 10, 16)
	b, errb := strconv.ParseUint(to, 10, 16)
	switch {
	case n.kind == kindInteger && (erra != nil || a == 0):
		return 0, 0, false // check has reported it
	case erra != nil || errb != nil || a == 0 || b == 0:
		d.report.at(n.at, "%q: a port is a number from 1 to 65535", n.text)
		return 0, 0, false
	case a > b:
		d.report.at(n.at, "%q: the range is reversed; write %d-%d", n.text, b, a)
		return 0, 0, false
	}
	return uint16(a), uint16(b), true
}

func (d *decoder) interfaces(n *node) (out []string) {
	for _, x := range itemsOf(n) {
		if x.kind != kindString || x.text == "" {
			continue
		}
		if err := firewall.CheckInterfacePattern(x.text); err != nil {
			hint := interfaceHint(x.text)
			if n.kind == kindList {
				hint = withoutBrackets(hint)
			}
			d.report.at(x.at, "%v%s", err, hint)
			continue
		}
		out = append(out, x.text)
	}
	return out
}

// direct reads interfaces with containers behind them. "*" would include the uplink, so it is
// refused.
func (d *decoder) direct(n *node) (out []string) {
	for _, x := range itemsOf(n) {
		if x.kind == kindString && x.text == "*" {
			d.report.at(
				x.at,
				`"*" is every interface, the uplink among them; name those that lead to `+
					`containers, such as "docker0"`,
			)
		}
	}
	return d.interfaces(n)
}

func (d *decoder) addresses(n *node) address.Set {
	var list []netip.Prefix
	for _, x := range itemsOf(n) {
		if x.kind != kindString || x.text == "" {
			continue
		}
		p, err := parseHinted(x.text, localHint)
		switch {
		case err != nil:
			d.report.at(x.at, "%v", err)
		case !p.IsSingleIP():
			d.report.at(x.at, "%q: addresses takes addresses of this host, not networks", x.text)
		default:
			list = append(list, p)
		}
	}
	out, _ := address.New(list...) // parsePrefix has refused what NewPrefixes refuses
	return out
}

func (d *decoder) rate(n *node) *firewall.Rate {
	if n == nil || n.kind != kindMapping {
		return nil
	}
	x := n.get("per_source")
	if x == nil || x.kind != kindString || !ratePattern.MatchString(x.text) {
		return nil
	}
	count, unit, _ := strings.Cut(x.text, "/")
	number, _ := strconv.ParseUint(count, 10, 32) // ratePattern allows nine digits, which fit
	units := map[string]time.Duration{
		"second": time.Second,
		"minute": time.Minute,
		"hour":   time.Hour,
		"day":    24 * time.Hour,
	}
	r := &firewall.Rate{Count: uint32(number), Burst: uint32(number), Per: units[unit]}
	if b := n.get("burst"); b != nil {
		if burst, ok := decimal(b); ok && burst > 0 {
			r.Burst = uint32(burst)
		}
	}
	if b := n.get("ipv6_prefix"); b != nil {
		if bits, ok := decimal(b); ok && bits > 0 && bits <= 128 {
			r.IPv6Prefix = uint8(bits)
		}
	}
	return r
}
