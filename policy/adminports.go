package policy

import (
	"math"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// adminPort is a port that nobody means to open to the whole internet, or almost nobody. Web
// servers, mail, DNS, VPNs and the like are not among them: they are for everyone.
type adminPort struct {
	protocols   []firewall.Protocol
	first, last uint16
	name        string
}

var (
	overTCP    = []firewall.Protocol{firewall.TCP}
	overUDP    = []firewall.Protocol{firewall.UDP}
	overEither = []firewall.Protocol{firewall.TCP, firewall.UDP}
)

// adminPorts lists the ports whose service gives control of the host, or of all data in it.
var adminPorts = []adminPort{
	// A login. Passwords are guessed around the clock, and rsh trusts the sender's address.
	{overTCP, 22, 22, "SSH"},
	{overTCP, 23, 23, "Telnet"},
	{overTCP, 512, 514, "rexec, rlogin and rsh"},
	{overEither, 3389, 3389, "RDP"},
	{overTCP, 5900, 5903, "VNC"},

	// Orders to the host, or what is known of it. Docker's and the kubelet's ports start programs
	// as root, and etcd holds every secret of a cluster.
	{overEither, 111, 111, "rpcbind"},
	{overUDP, 161, 161, "SNMP"},
	{overTCP, 2375, 2375, "Docker without TLS"},
	{overTCP, 2379, 2380, "etcd"},
	{overTCP, 10250, 10250, "the kubelet"},

	// Files.
	{overTCP, 445, 445, "SMB"},
	{overEither, 2049, 2049, "NFS"},

	// Databases. Several ask for no password unless they are configured to, and memcached over
	// UDP answers with many times the size of the question, to a forged sender.
	{overTCP, 1433, 1433, "SQL Server"},
	{overTCP, 1521, 1521, "Oracle"},
	{overTCP, 3306, 3306, "MySQL"},
	{overTCP, 5432, 5432, "PostgreSQL"},
	{overTCP, 5984, 5984, "CouchDB"},
	{overTCP, 6379, 6379, "Redis"},
	{overTCP, 9042, 9042, "Cassandra"},
	{overTCP, 9200, 9200, "Elasticsearch"},
	{overTCP, 9300, 9300, "Elasticsearch's cluster"},
	{overEither, 11211, 11211, "memcached"},
	{overTCP, 27017, 27019, "MongoDB"},
}

// adminPortsIn lists the adminPorts in a range.
func adminPortsIn(r firewall.PortRange) (found []adminPort) {
	for _, a := range adminPorts {
		for _, p := range a.protocols {
			if r.Overlaps(firewall.PortRange{Protocol: p, First: a.first, Last: a.last}) {
				found = append(found, a)
			}
		}
	}
	return found
}

// unicastV6 has all IPv6 addresses that the internet uses (RFC 4291 §2.4).
var unicastV6 = address.Must("2000::/3")

// isEveryone reports whether a set has at least half of all IPv4 addresses, or of the IPv6
// addresses in use. So an entry of except doesn't hide that the rest of the world gets in.
func isEveryone(s address.Set) bool {
	var v4, v6 float64 // the shares
	for p := range s.Family(address.IPv4) {
		v4 += share(p.Bits())
	}
	for p := range s.Intersect(unicastV6).Family(address.IPv6) {
		v6 += share(p.Bits() - 3)
	}
	return v4 >= 0.5 || v6 >= 0.5
}

// share is the part of a network that a subnet has whose prefix is some bits longer.
func share(bits int) float64 { return math.Ldexp(1, -bits) }
