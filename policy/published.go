package policy

// PublishedList is a list that others publish, and how a policy reads it.
type PublishedList struct {
	What   string // whose addresses
	URL    string // where it is
	Select string // what to select of it; "" if it is lines
}

// PublishedLists are lists that many hosts want, for the manual. A test reads a sample of each.
var PublishedLists = []PublishedList{
	{"Amazon Web Services, both families", "https://ip-ranges.amazonaws.com/ip-ranges.json",
		`$['prefixes','ipv6_prefixes'][*]['ip_prefix','ipv6_prefix']`},
	{"Amazon Web Services, IPv4 alone", "https://ip-ranges.amazonaws.com/ip-ranges.json",
		`$.prefixes[*].ip_prefix`},
	{"One service of Amazon's, such as CloudFront", "https://ip-ranges.amazonaws.com/ip-ranges.json",
		`$['prefixes','ipv6_prefixes'][?@.service=='CLOUDFRONT']['ip_prefix','ipv6_prefix']`},
	{"Google", "https://www.gstatic.com/ipranges/goog.json",
		`$.prefixes[*]['ipv4Prefix','ipv6Prefix']`},
	{"One region of Google Cloud", "https://www.gstatic.com/ipranges/cloud.json",
		`$.prefixes[?@.scope=='europe-west1']['ipv4Prefix','ipv6Prefix']`},
	{"One service tag of Azure; Microsoft's page names the file of the week, so download it to a file",
		"https://www.microsoft.com/en-us/download/details.aspx?id=56519",
		`$.values[?@.name=='AzureFrontDoor.Backend'].properties.addressPrefixes[*]`},
	{"GitHub's webhooks and Actions", "https://api.github.com/meta",
		`$['hooks','actions'][*]`},
	{"Cloudflare, IPv4 (IPv6 is at ips-v6)", "https://www.cloudflare.com/ips-v4",
		""},
	{"Cloudflare, both families", "https://api.cloudflare.com/client/v4/ips",
		`$.result['ipv4_cidrs','ipv6_cidrs'][*]`},
	{"Fastly", "https://api.fastly.com/public-ip-list",
		`$['addresses','ipv6_addresses'][*]`},
	{"Spamhaus DROP (IPv6 is at drop_v6.json)", "https://www.spamhaus.org/drop/drop_v4.json",
		`$.cidr`},
	{"Spamhaus DROP as text", "https://www.spamhaus.org/drop/drop.txt",
		""},
}

// Network is the list as a policy names it.
func (p PublishedList) Network() string {
	if p.Select == "" {
		return `{url: "` + p.URL + `"}`
	}
	return `{url: "` + p.URL + `", select: ` + inYAML(p.Select) + `}`
}
