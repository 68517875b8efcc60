package exposure

import "strings"

// owners are the names that identify a program's tables, chains and comments. They are names that
// only the program itself makes up: a wrong guess about an administrator's own chain would be worse
// than none.
var owners = []struct {
	prefix, owner string
}{
	{"portgrave", "portgrave"}, {"PORTGRAVE", "portgrave"},
	{"ufw-", "ufw"}, {"ufw6-", "ufw"},
	{"firewalld", "firewalld"},
	{"DOCKER", "docker"}, {"docker-bridges", "docker"},
	{"KUBE-", "kube-proxy"}, {"kube-proxy", "kube-proxy"},
	{"f2b-", "fail2ban"}, {"fail2ban-", "fail2ban"},
	{"LIBVIRT_", "libvirt"}, {"libvirt_", "libvirt"},
	{"CNI-", "cni"}, {"NETAVARK", "netavark"}, {"netavark", "netavark"},
	{"cali-", "calico"}, {"CILIUM_", "cilium"}, {"OLD_CILIUM_", "cilium"},
	{
		"ts-",
		"tailscale",
	}, {"crowdsec", "crowdsec"}, {"FLANNEL-", "flannel"}, {"sshguard", "sshguard"},
}

func ownerOf(name string) string {
	for _, o := range owners {
		if strings.HasPrefix(name, o.prefix) {
			return o.owner
		}
	}
	return ""
}

// Owner is the program that likely wrote the chain, by its name or its table's; "" if unknown.
func (c *Chain) Owner() string {
	if o := ownerOf(c.Name); o != "" {
		return o
	}
	if c.Table != nil {
		return ownerOf(c.Table.Name)
	}
	return ""
}

// Owner is the program that likely wrote the rule: the owner of its chain or, in a chain without an
// owner such as INPUT, the owner of the chain that it leads to; "" if neither is known.
func (r *Rule) Owner() string {
	if r.Chain != nil {
		if o := r.Chain.Owner(); o != "" {
			return o
		}
	}
	for _, s := range r.Statements {
		if v, ok := s.(Verdict); ok && v.Chain != "" {
			if o := ownerOf(v.Chain); o != "" {
				return o
			}
		}
	}
	return ""
}
