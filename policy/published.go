package policy

// PublishedList is a list that a provider publishes, and how a policy reads it.
type PublishedList struct {
	Name   string // for the network in a policy
	What   string // whose addresses it has
	URL    string // "" if its address changes
	File   string // where it was downloaded to, if URL is ""
	Select string // the JSON path of the addresses; "" if the list is lines
}

// PublishedLists are common published lists, for the manual. A test reads a sample of each.
var PublishedLists = []PublishedList{
	{"aws", "Amazon Web Services, both families",
		"https://ip-ranges.amazonaws.com/ip-ranges.json", "",
		`$['prefixes','ipv6_prefixes'][*]['ip_prefix','ipv6_prefix']`},
	{"aws-ipv4", "Amazon Web Services, IPv4 alone",
		"https://ip-ranges.amazonaws.com/ip-ranges.json", "",
		`$.prefixes[*].ip_prefix`},
	{"cloudfront", "One service of Amazon's, such as CloudFront",
		"https://ip-ranges.amazonaws.com/ip-ranges.json", "",
		`$['prefixes','ipv6_prefixes'][?@.service=='CLOUDFRONT']['ip_prefix','ipv6_prefix']`},
	{"google", "Google", "https://www.gstatic.com/ipranges/goog.json", "",
		`$.prefixes[*]['ipv4Prefix','ipv6Prefix']`},
	{"gcp-europe-west1", "One region of Google Cloud",
		"https://www.gstatic.com/ipranges/cloud.json", "",
		`$.prefixes[?@.scope=='europe-west1']['ipv4Prefix','ipv6Prefix']`},
	{"azure-front-door", "One service tag of Azure, from the file, new each week, that is linked " +
		"at https://www.microsoft.com/en-us/download/details.aspx?id=56519",
		"", "networks/azure.json",
		`$.values[?@.name=='AzureFrontDoor.Backend'].properties.addressPrefixes[*]`},
	{"github", "GitHub's webhooks and Actions", "https://api.github.com/meta", "",
		`$['hooks','actions'][*]`},
	{"cloudflare-ipv4", "Cloudflare, IPv4 (IPv6 is at ips-v6)",
		"https://www.cloudflare.com/ips-v4", "", ""},
	{"cloudflare", "Cloudflare, both families", "https://api.cloudflare.com/client/v4/ips", "",
		`$.result['ipv4_cidrs','ipv6_cidrs'][*]`},
	{"fastly", "Fastly", "https://api.fastly.com/public-ip-list", "",
		`$['addresses','ipv6_addresses'][*]`},
	{"spamhaus-drop", "Spamhaus DROP (IPv6 is at drop_v6.json)",
		"https://www.spamhaus.org/drop/drop_v4.json", "",
		`$.cidr`},
	{"spamhaus-drop-text", "Spamhaus DROP as text", "https://www.spamhaus.org/drop/drop.txt", "",
		""},
}

// Network returns the list as an entry of the key networks.
func (p PublishedList) Network() string {
	text := p.Name + ":\n  url: " + p.URL
	if p.File != "" {
		text = p.Name + ":\n  file: " + p.File
	}
	if p.Select != "" {
		text += "\n  select: " + yamlScalar(p.Select)
	}
	return text
}
