package policy

import (
	"net/netip"
	"net/url"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// Policy is what the administrator wrote, read and checked. Networks that live elsewhere are not
// loaded yet; Compile does that.
type Policy struct {
	// Origin names the files that were read, or "embedded default".
	Origin string
	// Boot is what boot does when nothing can be loaded: "closed" or "open".
	Boot   string
	Daemon DaemonConfig
	Tests  []Test

	files       []file // what it was read from
	unlisted    firewall.Unlisted
	refuse      firewall.Refuse
	established firewall.Established
	essentials  firewall.Essentials
	direct      []string // interfaces with containers behind them, closed to new packets from outside
	networks    map[string]*network
	services    []service
}

// What is in force where the policy doesn't say.
const (
	defaultPort     = 9090
	defaultMaxLease = 24 * time.Hour
	// DefaultPoll is that of DaemonConfig.Poll.
	DefaultPoll = 10 * time.Second
)

// DaemonConfig is the daemon's part of the policy.
type DaemonConfig struct {
	Protect  string // "auto", "always" or "never"
	Metrics  string // loopback address and port; "" is off
	MaxLease time.Duration
	Poll     time.Duration
	Follow   string // one of those below
}

// What the daemon follows by itself: puts in force when it changes.
const (
	FollowNetworks = "networks" // files, addresses and names of networks; the policy only when asked
	FollowAll      = "all"      // the policy's own files, too
	FollowNone     = "none"     // nothing
)

// ServiceInfo is what the policy says about a service beyond what is enforced.
type ServiceInfo struct {
	Location    Location `json:"location"`
	Owner       string   `json:"owner,omitempty"`
	Environment string   `json:"environment,omitempty"`
	Purpose     string   `json:"purpose,omitempty"`
	Runbook     string   `json:"runbook,omitempty"`
	TLS         string   `json:"tls,omitempty"`
	Health      string   `json:"health,omitempty"`
}

// service is one entry of services.
type service struct {
	info    ServiceInfo
	portsAt []Location // of each of enforced.Ports
	// unclear is set when ports, interfaces or addresses may not be what was meant, because of
	// mistakes.
	unclear bool
	// enforced has everything but the sources.
	enforced firewall.Service
	allow    []source
	except   []source
}

// source is one entry of allow, except or a network: a prefix or a network's name.
type source struct {
	at      Location
	prefix  netip.Prefix // valid, or
	network string
	expires time.Time // zero: never
}

// network is one entry of networks: a list, or content from elsewhere.
type network struct {
	name    string
	at      Location
	entries []source // a list

	file, url, dns string // exactly one is set if it is no list
	refresh        time.Duration
	selects        *selectPath // of JSON; nil if its list is lines
	sha256         string      // lower case
	max            int
	maxShrink      int // percent
}

// external reports whether the network's content lives outside the policy.
func (n *network) external() bool { return n.file != "" || n.url != "" || n.dns != "" }

// shownURL is the url without the password that may be in it.
func (n *network) shownURL() string {
	u, err := url.Parse(n.url)
	if err != nil {
		return n.url
	}
	return u.Redacted()
}

// shown is where an external network comes from, for people.
func (n *network) shown() string {
	if n.url != "" {
		return "url " + n.shownURL()
	}
	return n.place()
}

// place is where an external network comes from.
func (n *network) place() string {
	switch {
	case n.file != "":
		return "file " + n.file
	case n.url != "":
		return "url " + n.url
	}
	return "dns " + n.dns
}

// origin is the key of an external network's cache: where it comes from, and what is taken of it.
func (n *network) origin() string {
	if n.selects != nil {
		return n.place() + " select " + n.selects.text
	}
	return n.place()
}

// What external networks are held to unless the policy says otherwise.
const (
	defaultMaxEntries = 1_000_000
	defaultURLRefresh = 24 * time.Hour
	defaultDNSRefresh = 5 * time.Minute
)

// builtIn are the networks that every policy has. private is RFC 1918, RFC 4193 and link-local
// (RFC 3927, RFC 4291 §2.5.6).
var builtIn = map[string]firewall.Prefixes{
	"any": firewall.MustPrefixes("0.0.0.0/0", "::/0"),
	"private": firewall.MustPrefixes(
		"10.0.0.0/8",
		"172.16.0.0/12",
		"192.168.0.0/16",
		"169.254.0.0/16",
		"fc00::/7",
		"fe80::/10",
	),
	"loopback": firewall.MustPrefixes("127.0.0.0/8", "::1/128"),
}

// BuiltInName is the built-in network that a set is; "" if it is none of them.
func BuiltInName(set firewall.Prefixes) string {
	for name, known := range builtIn {
		if set.Equal(known) {
			return name
		}
	}
	return ""
}
