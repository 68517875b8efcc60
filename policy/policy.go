package policy

import (
	"net/netip"
	"net/url"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/policydiff"
)

// Policy is what the administrator wrote, read and checked. It holds external networks by
// reference; Compile loads their content.
type Policy struct {
	// Origin names the files that were read, or is EmbeddedOrigin.
	Origin string
	// Boot is what boot does when nothing can be loaded: "closed" or "open".
	Boot   string
	Daemon DaemonConfig
	Tests  []Test
	// Accepts are findings of audit that are known and wanted.
	Accepts []Accept

	files       []file // the files it was read from
	unlisted    firewall.Unlisted
	unlistedAt  Location // zero if the policy leaves the key out
	refuse      firewall.Refuse
	established firewall.Established
	essentials  firewall.Essentials
	direct      []string // interfaces with containers behind them, closed from outside
	networks    map[string]*network
	services    []service
}

// Defaults of keys that the policy does not have.
const (
	defaultPort     = 9090
	defaultMaxLease = 24 * time.Hour
	// DefaultPoll is that of DaemonConfig.Poll.
	DefaultPoll = 10 * time.Second
)

// DaemonConfig is the part of the policy that configures the daemon.
type DaemonConfig struct {
	Protect  string // "auto", "always" or "never"
	Metrics  string // loopback address and port; "" serves no metrics
	MaxLease time.Duration
	Poll     time.Duration
	Follow   string // one of the Follow constants
}

// The values of DaemonConfig.Follow: which changes on disk the daemon applies without a command.
const (
	FollowNetworks = "networks" // files, addresses and names of networks; not the policy's files
	FollowAll      = "all"      // networks and the policy's own files
	FollowNone     = "none"     // nothing
)

// ServiceInfo is what the policy says about a service and the kernel doesn't enforce.
type ServiceInfo struct {
	Location    Location `json:"location"`
	Owner       string   `json:"owner,omitempty"`
	Environment string   `json:"environment,omitempty"`
	Purpose     string   `json:"purpose,omitempty"`
	Runbook     string   `json:"runbook,omitempty"`
	TLS         string   `json:"tls,omitempty"`
	Health      string   `json:"health,omitempty"`
}

// service is one entry of the key services.
type service struct {
	info    ServiceInfo
	nameAt  Location
	portsAt []Location // of each range in enforced.Ports
	// portAssumed is true if the service has no port and defaultPort is assumed.
	portAssumed bool
	// allowAt and exceptAt are the locations of the lists, or of the service's name if it has no
	// such key.
	allowAt, exceptAt Location
	// uncertain is true when mistakes in the file may hide the intended ports, interfaces or
	// addresses.
	uncertain bool
	// enforced holds everything but the sources, which Compile adds.
	enforced firewall.Service
	allow    []source
	except   []source
	// lines are its keys but for allow and except.
	lines []policydiff.Line
}

// source is one entry of allow, except or a network: either a prefix or the name of a network.
type source struct {
	at      Location
	prefix  netip.Prefix // invalid if network is set
	network string
	expires time.Time // zero: never
}

// network is one entry of the key networks: a list in the policy, or content from elsewhere.
type network struct {
	name    string
	at      Location
	entries []source // the list in the policy

	sourceAt       Location // of the value of file, url or dns
	file, url, dns string   // exactly one is set for an external network
	refresh        time.Duration
	selects        *selectPath // what to take from JSON; nil if the content is a list of lines
	sha256         string      // lower case
	max            int         // entries
	maxShrink      int         // percent
}

// external reports whether the content of the network lives outside the policy.
func (n *network) external() bool { return n.file != "" || n.url != "" || n.dns != "" }

// redactedURL is the URL without its password.
func (n *network) redactedURL() string {
	u, err := url.Parse(n.url)
	if err != nil {
		return n.url
	}
	return u.Redacted()
}

// sourceForPeople says where an external network comes from, without its password.
func (n *network) sourceForPeople() string {
	if n.url != "" {
		return "url " + n.redactedURL()
	}
	return n.source()
}

// source says where an external network comes from.
func (n *network) source() string {
	switch {
	case n.file != "":
		return "file " + n.file
	case n.url != "":
		return "url " + n.url
	}
	return "dns " + n.dns
}

// cacheKey identifies cached content: where it comes from and what is selected from it.
func (n *network) cacheKey() string {
	if n.selects != nil {
		return n.source() + " select " + n.selects.text
	}
	return n.source()
}

// Limits and intervals of external networks that the policy does not set.
const (
	defaultMaxEntries = 1_000_000
	defaultURLRefresh = 24 * time.Hour
	defaultDNSRefresh = 5 * time.Minute
)

// builtIn holds the networks that every policy has. private is RFC 1918, RFC 4193 and link-local
// (RFC 3927, RFC 4291 §2.5.6).
var builtIn = map[string]address.Set{
	"any": address.Must("0.0.0.0/0", "::/0"),
	"private": address.Must(
		"10.0.0.0/8",
		"172.16.0.0/12",
		"192.168.0.0/16",
		"169.254.0.0/16",
		"fc00::/7",
		"fe80::/10",
	),
	"loopback": address.Must("127.0.0.0/8", "::1/128"),
}

// BuiltInName returns the name of the built-in network that equals set, or "" if none does.
func BuiltInName(set address.Set) string {
	for name, known := range builtIn {
		if set.Equal(known) {
			return name
		}
	}
	return ""
}
