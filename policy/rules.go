package policy

// Rule is a kind of warning. Its ID is stable, because reports and pipelines refer to it.
type Rule struct {
	ID   string
	Text string // what it warns about
	// Host is true if the warning depends on the host that reads the policy. It says nothing about
	// a policy that is meant for another host.
	Host bool
	// Grave is true if the policy hardly does what its writer thinks.
	Grave bool
}

// The IDs of Rules.
const (
	RuleNobodyAllowed      = "nobody-allowed"
	RuleExceptWithoutAllow = "except-without-allow"
	RuleUnusedNetwork      = "unused-network"
	RuleMissingFile        = "missing-file"
	RuleRedundantEntry     = "redundant-entry"
	RuleAnyBesideOthers    = "any-beside-others"
	RulePortAssumed        = "port-assumed"
	RuleOtherPortAssumed   = "other-port-assumed"
	RuleAdminPortOpen      = "admin-port-open"
	RuleExpiredEntry       = "expired-entry"
	RuleExpiredAccept      = "expired-accept"
	RuleEmptyNetwork       = "empty-network"
	RuleStaleNetwork       = "stale-network"
	RuleUnspecifiedSource  = "unspecified-source"
	RuleDHCPSource         = "dhcp-source"

	RuleSSHUnreachable   = "ssh-unreachable"
	RuleWritableFile     = "writable-file"
	RuleMissingInterface = "missing-interface"
	RuleMissingAddress   = "missing-address"
	RuleInterfaceInVRF   = "interface-in-vrf"
	RuleRawSocket        = "raw-socket"
	RuleUnreadableHost   = "unreadable-host"
	RuleBackendLimit     = "backend-limit"
)

// Rules lists all kinds of warnings; those that depend on the host come last.
var Rules = []Rule{
	{ID: RuleNobodyAllowed, Text: "a service lets nobody in: allow is empty, or what it has is " +
		"expired, empty or in except"},
	{ID: RuleExceptWithoutAllow, Text: "a service has except and an empty allow, from which it " +
		"takes nothing away"},
	{ID: RuleUnusedNetwork, Text: "no service uses a network"},
	{ID: RuleMissingFile, Text: "the file of an unused network can't be found"},
	{ID: RuleRedundantEntry, Text: "an entry of a list is contained in another one"},
	{ID: RuleAnyBesideOthers, Text: "a list has any, which is everyone, and other entries"},
	{ID: RulePortAssumed, Text: "a service leaves port out, so that 9090 is assumed"},
	{ID: RuleOtherPortAssumed, Grave: true, Text: "a service leaves port out, so that 9090 " +
		"is assumed, and bears the name of another port's service"},
	{ID: RuleAdminPortOpen, Text: "a port that gives control of the host, or of its data, is " +
		"open to everyone"},
	{ID: RuleExpiredEntry, Text: "an entry has expired"},
	{ID: RuleExpiredAccept, Text: "the time of an accepted finding is over, and it counts again"},
	{ID: RuleEmptyNetwork, Text: "a network has nobody in it"},
	{ID: RuleStaleNetwork, Text: "a network's source fails, and the network keeps its last good " +
		"content"},
	{ID: RuleUnspecifiedSource, Text: "0.0.0.0 or :: is used as if it were everybody"},
	{ID: RuleDHCPSource, Text: "a DHCP service does not allow 0.0.0.0, from where its clients ask"},

	{ID: RuleSSHUnreachable, Host: true, Grave: true, Text: "this host's SSH server listens, and " +
		"unlisted: deny keeps everybody from it"},
	{ID: RuleWritableFile, Host: true, Text: "others than root may write a file or folder; plan, " +
		"apply and the daemon refuse it"},
	{ID: RuleMissingInterface, Host: true, Text: "this host lacks an interface that a service " +
		"names"},
	{ID: RuleMissingAddress, Host: true, Text: "this host lacks an address that a service names"},
	{ID: RuleInterfaceInVRF, Host: true, Text: "an interface is in a VRF, and iptables sees the " +
		"VRF's name only"},
	{ID: RuleRawSocket, Host: true, Text: "a program listens on a raw socket for what " +
		"unlisted: deny refuses"},
	{ID: RuleUnreadableHost, Host: true, Text: "this host's networks can't be listed"},
	{ID: RuleBackendLimit, Host: true, Text: "iptables enforces a setting with a difference"},
}

// RuleOf returns the rule of a warning.
func RuleOf(p Problem) (Rule, bool) {
	for _, r := range Rules {
		if r.ID == p.Rule {
			return r, true
		}
	}
	return Rule{}, false
}
